"""The commands that look, and spend nothing."""

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from darwin_git.cli_common import Json, print_data
from darwin_git.errors import FIXABLE, DarwinError

if TYPE_CHECKING:
    from darwin_git.wiring import Opened


@contextmanager
def _reader() -> "Iterator[Opened]":
    from darwin_git.wiring import opened

    with opened(Path.cwd()) as found:
        yield found


def status(as_json: Json = False) -> None:
    """Where the run stands."""
    from darwin_git.commands import read
    from darwin_git.report import terminal

    with _reader() as found:
        print_data(read.status(found.repository, found.history), as_json, terminal.status)


def report(as_json: Json = False) -> None:
    """What was gained, by which ideas, how sure, at what cost."""
    from darwin_git.commands import read
    from darwin_git.report import terminal

    with _reader() as found:
        print_data(read.report(found.repository, found.history), as_json, terminal.report)


def log(
    generations: Annotated[
        int | None, typer.Option("-n", min=1, help="Only the last N generations.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Every variant and what became of it."""
    from darwin_git.commands import read
    from darwin_git.report import terminal

    with _reader() as found:
        print_data(read.log(found.history, generations), as_json, terminal.log)


def show(name: str, as_json: Json = False) -> None:
    """One variant, lineage or commit: hypothesis, replicates, verdict.

    Example: darwin-git show 0003/a2-on-a1
    """
    from darwin_git.commands import read
    from darwin_git.report import terminal

    with _reader() as found:
        print_data(read.show(found.repository, found.history, name), as_json, terminal.show)


def diff(
    name: str,
    other: Annotated[str | None, typer.Argument(help="Compare with this instead.")] = None,
    as_json: Json = False,
) -> None:
    """What a variant changed, by your git diff and pager."""
    from darwin_git.commands.diff import diff as command_of
    from darwin_git.commands.diff import diff_data, run_git

    with _reader() as found:
        command = command_of(found.repository, found.history, name, other)
        if as_json:
            print(json.dumps(diff_data(command, found.repository), indent=1))
            return
    raise typer.Exit(run_git(command))


def lineage(
    agent: Annotated[str | None, typer.Argument(metavar="AGENT")] = None, as_json: Json = False
) -> None:
    """How every lineage and the champion came to be."""
    from darwin_git.commands import read
    from darwin_git.report import terminal

    with _reader() as found:
        print_data(read.lineage(found.history, agent), as_json, terminal.lineage)


def export(
    to: Annotated[Literal["csv", "json"], typer.Option(help="Format.")] = "csv",
    what: Annotated[
        Literal["replicates", "trials"], typer.Option(help="Rows; json has both.")
    ] = "replicates",
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="FILE", help="Instead of stdout.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="The same as --to json.")] = False,
) -> None:
    """Every replicate or trial as rows."""
    from darwin_git.commands import read
    from darwin_git.report.export import to_csv

    with _reader() as found:
        data = read.export(found.repository, found.history)
    json_wanted = as_json or to == "json"
    text = json.dumps(data, indent=1) + "\n" if json_wanted else to_csv(data[what])
    if out is None:
        print(text, end="")
        return
    try:
        temporary = out.with_name(f".{out.name}.{os.getpid()}")
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(out)
    except OSError as error:
        raise DarwinError(
            f"{out} cannot be written: {error.strerror}", hint="choose another file"
        ) from None
    rows = ("replicates", "trials") if json_wanted else (what,)
    print(f"{out}: " + ", ".join(f"{len(data[one])} {one}" for one in rows), file=sys.stderr)


def config(
    defaults: Annotated[bool, typer.Option(help="The documented defaults instead.")] = False,
    as_json: Json = False,
) -> None:
    """darwin.toml as it is in effect."""
    from darwin_git.commands.settings import effective
    from darwin_git.report import terminal

    print_data(effective(Path.cwd(), defaults), as_json, terminal.config)


def verify(
    commit: Annotated[str | None, typer.Argument(metavar="COMMIT")] = None, as_json: Json = False
) -> None:
    """Check references, trees, records and certificates against each other."""
    from darwin_git.commands.verify import verify as check
    from darwin_git.report import terminal

    with _reader() as found:
        data = check(found.repository, found.history, found.config.selection, commit)
        print_data(data, as_json, terminal.verify)
    if data["faults"]:
        raise typer.Exit(FIXABLE)
