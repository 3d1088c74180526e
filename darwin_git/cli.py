"""The command line: parse, call one function, print, exit. stdout is data, stderr is progress."""

import os
import signal
import sys
import traceback
from pathlib import Path
from typing import Annotated, Any, TextIO, cast

import typer
import typer.core

from darwin_git import __version__, cli_evolve, cli_image, cli_memory, cli_read
from darwin_git.cli_common import where
from darwin_git.errors import BUG, FIXABLE, INTERRUPTED, DarwinError
from darwin_git.report.pipe import StandardOutput, silence

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


COMMANDS = (
    (FIRST, (cli_evolve.init, cli_evolve.run, cli_read.status, cli_read.report)),
    (
        EVOLVE,
        (
            cli_evolve.doctor,
            cli_evolve.baseline,
            cli_evolve.step,
            cli_evolve.propose,
            cli_evolve.certify,
        ),
    ),
    (
        READ,
        (
            cli_read.log,
            cli_read.show,
            cli_read.diff,
            cli_read.lineage,
            cli_read.export,
            cli_read.config,
        ),
    ),
    (KEEP, (cli_read.verify, cli_evolve.prune)),
)
"""In the order in which help shows them."""

for _panel, _commands in COMMANDS:
    for _command in _commands:
        app.command(rich_help_panel=_panel)(_command)
app.add_typer(
    cli_image.app,
    name="image",
    help="Make, list, check the training image.",
    rich_help_panel=EVOLVE,
)
app.add_typer(cli_memory.app, name="memory", help="What the run has learned.", rich_help_panel=READ)


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
