"""The command line: parse, call one function, print, exit. stdout is data, stderr is progress."""

import json
import os
import signal
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TextIO, cast

import typer
import typer.core

from darwin_git import __version__, cli_image
from darwin_git.cli_common import Json, print_data, where
from darwin_git.errors import BUG, FIXABLE, INTERRUPTED, DarwinError
from darwin_git.report.pipe import StandardOutput, silence

if TYPE_CHECKING:
    from darwin_git.store.repository import Repository
    from darwin_git.wiring import Opened, Wired

FIRST = "Start here"
EVOLVE = "Evolve"
READ = "Look"
KEEP = "Keep order"


class _Group(typer.core.TyperGroup):
    """typer exits 1 in silence at every EPIPE; a child's pipe that broke is a bug of ours."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except BrokenPipeError as error:
            raise RuntimeError("a process of ours closed its pipe") from error


app = typer.Typer(
    name="darwin-git",
    cls=_Group,
    help="Evolve the training code of a GPT, with git as the only database.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)


Control = Annotated[
    str, typer.Option(help='"random": draw ideas and targets by chance, for comparison.')
]


def _version(value: bool) -> None:
    if value:
        print(f"darwin-git {__version__}")
        raise typer.Exit


@app.callback()
def options(
    folder: Annotated[
        Path, typer.Option("-C", metavar="DIR", help="Run as if started in DIR.")
    ] = Path(),
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress on stderr.")] = False,
    wait: Annotated[
        float, typer.Option(metavar="SECONDS", help="Wait for another command's lock.")
    ] = 0.0,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Options for every command."""
    where.quiet, where.wait = quiet, wait
    if not folder.is_dir():
        raise DarwinError(f"{folder} is no folder", hint="-C names a repository's folder")
    os.chdir(folder)


@contextmanager
def _reader() -> "Iterator[Opened]":
    from darwin_git.wiring import opened

    with opened(Path.cwd()) as found:
        yield found


@contextmanager
def _spender(command: str) -> "Iterator[Wired]":
    from darwin_git.report.live import Lines
    from darwin_git.wiring import wired

    with wired(Path.cwd(), Lines(quiet=where.quiet), where.wait, command) as found:
        yield found


def _mention(repository: "Repository") -> None:
    """What is no obstacle, a line each on stderr."""
    from darwin_git.commands.mentions import mentions
    from darwin_git.report.live import Lines

    tell = Lines(quiet=where.quiet)
    for text in mentions(repository):
        tell("note", text=text)


# --- start here --------------------------------------------------------------------------------


@app.command(rich_help_panel=FIRST)
def init(
    directory: Annotated[Path | None, typer.Argument(metavar="DIR")] = None,
    genome: Annotated[
        str | None, typer.Option(metavar="PATH_OR_URL", help="Adopt this repository as it is.")
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(metavar="FILE", help='Text to train on; "shakespeare" downloads one.'),
    ] = None,
    device: Annotated[Literal["cpu", "cuda"], typer.Option(help="Configure for this.")] = "cpu",
    tokenizer: Annotated[
        Literal["characters", "bytes", "gpt2", "bpe"] | None,
        typer.Option(help="How the text is cut; characters by default."),
    ] = None,
    bpe: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A table of byte pairs of your own.")
    ] = None,
    contract: Annotated[
        Literal["nanogpt", "command"] | None,
        typer.Option(help='"command": any repository, measured by --judge.'),
    ] = None,
    judge: Annotated[
        Path | None,
        typer.Option(metavar="PATH", help="Your program, outside the genome, that measures it."),
    ] = None,
    primary: Annotated[
        str, typer.Option(metavar="NAME", help="The number that counts, of those it prints.")
    ] = "",
    direction: Annotated[
        Literal["min", "max"] | None, typer.Option(help="What is better; min by default.")
    ] = None,
) -> None:
    """Make a genome repository, or adopt one.

    Example: darwin-git init first && cd first && darwin-git run -n 5

    Any other: darwin-git init --genome . --judge ../judge --primary seconds
    """
    from shlex import quote

    from darwin_git.commands.judge import asked
    from darwin_git.commands.judge import init as make_judged
    from darwin_git.commands.setup import init as make
    from darwin_git.store.repository import Repository

    judged = asked(contract, judge, primary, direction)
    if judged and (data or tokenizer or bpe):
        raise DarwinError(
            "--data, --tokenizer and --bpe are for a GPT, not for --judge",
            hint="what the judge measures with lies beside it, in its folder",
        )
    if judged is None:
        made = make(directory, genome, data, device, tokenizer, bpe)
        what, added = "corpus", " and the corpus under refs/darwin/data"
    else:
        made = make_judged(directory, genome, judged, device)
        what, added = "judge", ": look at [metric]"
    done = "adopted" if made.adopted else "made"
    branch = "a detached HEAD" if made.branch == "HEAD" else made.branch
    print(f"{done} {made.folder} on {branch}, {what} of {made.corpus_bytes:,} bytes")
    if made.adopted:
        with Repository.open(made.folder, thorough=False) as repository:
            _mention(repository)
        print(f"added darwin.toml to the work tree{added}")
    print(f"next: darwin-git -C {quote(str(made.folder))} run -n 3")


@app.command(rich_help_panel=FIRST)
def run(
    generations: Annotated[
        int | None, typer.Option("-n", metavar="N", min=1, help="At most N generations.")
    ] = None,
    for_: Annotated[
        str | None,
        typer.Option("--for", metavar="8h", help="This long, the certificate's time included."),
    ] = None,
    until: Annotated[
        str | None,
        typer.Option(metavar="07:00", help="Until then, the certificate's time included."),
    ] = None,
    control: Control = "",
    as_json: Json = False,
) -> None:
    """Baseline if missing, generations, one certificate at the end.

    Ends after -n generations or when the time of --for or --until is up,
    whichever is first; with exit code 5 where budget.device_hours is spent.
    The same command goes on where an interrupted one was.

    Example: darwin-git run --until 07:00
    """
    from datetime import datetime

    from darwin_git.commands import evolve, outcome
    from darwin_git.report import certificates

    if generations is None and for_ is None and until is None:
        raise DarwinError("run until when?", hint="give -n 5, --for 8h or --until 07:00")
    _check_control(control)
    left = evolve.deadline_of(for_, until, datetime.now().astimezone())
    began = evolve.clock()
    with _spender("run") as wired:
        if wired.history.state() is None:
            _mention(wired.repository)
        deadline = None if left is None else began + left
        done = evolve.run(wired, generations, deadline, control)
    print_data(outcome.ran(done, wired.world.metric), as_json, certificates.run)
    if done.exit_code:
        raise typer.Exit(done.exit_code)


@app.command(rich_help_panel=FIRST)
def status(as_json: Json = False) -> None:
    """Where the run stands."""
    from darwin_git.commands import read
    from darwin_git.report import terminal

    with _reader() as found:
        print_data(read.status(found.repository, found.history), as_json, terminal.status)


@app.command(rich_help_panel=FIRST)
def report(as_json: Json = False) -> None:
    """What was gained, by which ideas, how sure, at what cost."""
    from darwin_git.commands import read
    from darwin_git.report import terminal

    with _reader() as found:
        print_data(read.report(found.repository, found.history), as_json, terminal.report)


# --- evolve ------------------------------------------------------------------------------------


def _check_control(control: str) -> None:
    if control not in ("", "random"):
        raise DarwinError(f"--control {control!r} is unknown", hint="the only control is random")


@app.command(rich_help_panel=EVOLVE)
def doctor(as_json: Json = False) -> None:
    """Check git, identity, data, python, disk; say the cure for each."""
    from darwin_git.commands.doctor import examine
    from darwin_git.report import terminal

    data = examine(Path.cwd())
    print_data(data, as_json, terminal.doctor)
    if not data["healthy"]:
        raise typer.Exit(FIXABLE)


@app.command(rich_help_panel=EVOLVE)
def baseline(
    seeds: Annotated[
        int | None, typer.Option(min=2, help="Trainings; population.baseline_seeds by default.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Measure the genome at HEAD and its noise; make the population's branches."""
    from darwin_git.commands import evolve, read
    from darwin_git.report import terminal

    with _spender("baseline") as wired:
        if wired.history.state() is None:
            _mention(wired.repository)
        evolve.baseline(wired, seeds)
        print_data(read.status(wired.repository, wired.history), as_json, terminal.status)


@app.command(rich_help_panel=EVOLVE)
def step(control: Control = "", as_json: Json = False) -> None:
    """Run one generation, or finish the one that was interrupted."""
    from darwin_git.commands import evolve, read
    from darwin_git.report import terminal

    _check_control(control)
    with _spender("step") as wired:
        evolve.one_step(wired, control)
        print_data(read.log(wired.history, 1), as_json, terminal.log)


@app.command(rich_help_panel=EVOLVE)
def propose(
    ref: Annotated[str, typer.Argument(metavar="REF")],
    target: Annotated[
        str | None,
        typer.Option("--on", metavar="AGENT", help="The lineage to join; the best by default."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Measure your branch as a variant, in a generation of its own.

    It is decided like any other: adopted into the lineage where it wins. Without
    containers it needs sandbox.allow_unsandboxed = true: a process is no wall.
    """
    from darwin_git.commands import evolve, read
    from darwin_git.report import terminal

    with _spender("propose") as wired:
        evolve.propose(wired, ref, target)
        print_data(read.log(wired.history, 1), as_json, terminal.log)


@app.command(rich_help_panel=EVOLVE)
def certify(as_json: Json = False) -> None:
    """The best tip against the champion, on fresh seeds; moves the champion where it is proved."""
    from darwin_git.commands import evolve, outcome
    from darwin_git.report import certificates

    with _spender("certify") as wired:
        print_data(
            outcome.certified(evolve.certify(wired), wired.world.metric),
            as_json,
            certificates.claim,
        )


# --- look --------------------------------------------------------------------------------------


@app.command(rich_help_panel=READ)
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


@app.command(rich_help_panel=READ)
def show(name: str, as_json: Json = False) -> None:
    """One variant, lineage or commit: hypothesis, replicates, verdict.

    Example: darwin-git show 0003/a2-on-a1
    """
    from darwin_git.commands import read
    from darwin_git.report import terminal

    with _reader() as found:
        print_data(read.show(found.repository, found.history, name), as_json, terminal.show)


@app.command(rich_help_panel=READ)
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


@app.command(rich_help_panel=READ)
def lineage(
    agent: Annotated[str | None, typer.Argument(metavar="AGENT")] = None, as_json: Json = False
) -> None:
    """How every lineage and the champion came to be."""
    from darwin_git.commands import read
    from darwin_git.report import terminal

    with _reader() as found:
        print_data(read.lineage(found.history, agent), as_json, terminal.lineage)


@app.command(rich_help_panel=READ)
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


@app.command(rich_help_panel=READ)
def config(
    defaults: Annotated[bool, typer.Option(help="The documented defaults instead.")] = False,
    as_json: Json = False,
) -> None:
    """darwin.toml as it is in effect."""
    from darwin_git.commands.settings import effective
    from darwin_git.report import terminal

    print_data(effective(Path.cwd(), defaults), as_json, terminal.config)


# --- keep order --------------------------------------------------------------------------------


@app.command(rich_help_panel=KEEP)
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


@app.command(rich_help_panel=KEEP)
def prune(
    variants: Annotated[list[str] | None, typer.Argument(metavar="VARIANT")] = None,
    as_json: Json = False,
) -> None:
    """Archive stepping stones (all, or the named ones); nothing is deleted."""
    from darwin_git.commands import evolve
    from darwin_git.commands.read import schema
    from darwin_git.report import terminal

    with _spender("prune") as wired:
        gone = evolve.prune(wired, variants or [])
    print_data({"schema": schema("prune"), "archived": gone}, as_json, terminal.prune)


app.add_typer(
    cli_image.app,
    name="image",
    help="Make, list, check the training image.",
    rich_help_panel=EVOLVE,
)


# --- the one handler at the top ----------------------------------------------------------------


class Interrupted(BaseException):
    """Ctrl-C or SIGTERM. Not KeyboardInterrupt: typer turns that into exit code 1."""


def _interrupt(number: int, frame: object) -> None:
    raise Interrupted


def main() -> None:
    """Console script: every exception ends here, in words and an exit code."""
    signal.signal(signal.SIGINT, _interrupt)
    signal.signal(signal.SIGTERM, _interrupt)
    if sys.stdout is not None:
        sys.stdout = cast(TextIO, StandardOutput(sys.stdout))
    try:
        try:
            app()
        finally:
            _flush()
    except DarwinError as error:
        _complain(error.message, error.hint)
        sys.exit(error.exit_code)
    except Interrupted:
        _complain(
            "interrupted: every finished replicate is kept", "the same command goes on from there"
        )
        sys.exit(INTERRUPTED)
    except OSError as error:
        if error.errno is None or error.errno not in _FIXABLE_ERRNO:
            _bug(error)
        place = f" ({error.filename})" if error.filename else ""
        _complain(f"{error.strerror}{place}", "free some space, or check the permissions")
        sys.exit(FIXABLE)
    except Exception as error:  # the one place: what is left is a bug
        _bug(error)


def _flush() -> None:
    """Say what is still buffered, here, where it can go wrong in words."""
    if sys.stdout is None:
        return
    try:
        sys.stdout.flush()
    except OSError:
        silence(sys.stdout)  # else it fails again, without words, when Python ends
        raise


_FIXABLE_ERRNO = frozenset({1, 13, 28, 30, 122})
"""EPERM, EACCES, ENOSPC, EROFS, EDQUOT."""


def _complain(message: str, hint: str) -> None:
    from darwin_git.report.terminal import printable

    print(f"darwin-git: {printable(message)}", file=sys.stderr)
    if hint:
        print(f"  -> {printable(hint)}", file=sys.stderr)


def _bug(error: BaseException) -> None:
    """A report to paste: the traceback without local variables, versions, the command."""
    import platform
    import tempfile

    text = (
        f"darwin-git {__version__}, Python {platform.python_version()}, {platform.platform()}\n"
        f"command: {' '.join(sys.argv[1:3])} ...\n\n" + "".join(traceback.format_exception(error))
    )
    with tempfile.NamedTemporaryFile(
        "w", prefix="darwin-git-bug-", suffix=".txt", delete=False, encoding="utf-8"
    ) as file:
        file.write(text)
    _complain(
        f"this is a bug: {type(error).__name__}: {error}",
        f"please report it with {file.name}; what was measured is kept",
    )
    sys.exit(BUG)


if __name__ == "__main__":
    main()
