"""The commands that make something or spend compute: what they take, and how they end."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from darwin_git.cli_common import Json, print_data, where
from darwin_git.errors import FIXABLE, DarwinError

if TYPE_CHECKING:
    from darwin_git.domain.account import Allowed
    from darwin_git.store.repository import Repository
    from darwin_git.wiring import Wired

Control = Annotated[
    str, typer.Option(help='"random": draw ideas and targets by chance, for comparison.')
]
Usd = Annotated[
    float | None, typer.Option(min=0.0, help="Dollars for models that this command may spend.")
]
Tokens = Annotated[
    int | None,
    typer.Option("--model-tokens", metavar="N", min=0, help="Tokens of models it may spend."),
]
Hours = Annotated[
    float | None, typer.Option("--device-hours", min=0.0, help="Hours of training it may spend.")
]


@contextmanager
def _spender(command: str, allowed: "Allowed | None" = None) -> "Iterator[Wired]":
    from darwin_git.report.live import Lines
    from darwin_git.wiring import wired

    with wired(Path.cwd(), Lines(quiet=where.quiet), where.wait, command, allowed) as found:
        yield found


def _allowed(usd: float | None, tokens: int | None, hours: float | None) -> "Allowed":
    from darwin_git.domain.account import Allowed

    seconds = None if hours is None else 3600 * hours
    return Allowed("this command", tokens=tokens, usd=usd, seconds=seconds)


def _mention(repository: "Repository") -> None:
    """What is no obstacle, a line each on stderr."""
    from darwin_git.commands.mentions import mentions
    from darwin_git.report.live import Lines

    tell = Lines(quiet=where.quiet)
    for text in mentions(repository):
        tell("note", text=text)


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
    usd: Usd = None,
    tokens: Tokens = None,
    hours: Hours = None,
    replay: Annotated[
        Path | None,
        typer.Option(metavar="RECORDING", help="Make a recorded run again, in an empty folder."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Baseline if missing, generations, one certificate at the end.

    Ends after -n generations or when the time of --for or --until is up,
    whichever is first; with exit code 5 where a budget is spent.
    The same command goes on where an interrupted one was.

    Example: darwin-git run --until 07:00

    --replay needs no key, no container engine and no GPU: answers and
    measurements are the recorded ones, and so is every commit. RECORDING is
    the run's repository, or what `git bundle create run.bundle --all` made
    there. Example: mkdir again; cd again; darwin-git run --replay ../run.bundle
    """
    from datetime import datetime

    from darwin_git.commands import evolve, outcome
    from darwin_git.report import certificates

    if replay is not None:
        ends = (generations, for_, until, control or None, usd, tokens, hours)
        _replay(replay, as_json, any(each is not None for each in ends))
        return
    if generations is None and for_ is None and until is None:
        raise DarwinError("run until when?", hint="give -n 5, --for 8h or --until 07:00")
    _check_control(control)
    left = evolve.deadline_of(for_, until, datetime.now().astimezone())
    began = evolve.clock()
    with _spender("run", _allowed(usd, tokens, hours)) as wired:
        if wired.history.state() is None:
            _mention(wired.repository)
        deadline = None if left is None else began + left
        done = evolve.run(wired, generations, deadline, control)
    print_data(outcome.ran(done, wired.world.metric), as_json, certificates.run)
    if done.exit_code:
        raise typer.Exit(done.exit_code)


def _replay(recording: Path, as_json: bool, more: bool) -> None:
    from darwin_git.commands.replay import replay
    from darwin_git.report.live import Lines
    from darwin_git.report.replay import replayed

    if more:
        raise DarwinError(
            "a replay ends where the recording ends", hint="give --replay without a limit"
        )
    done = replay(recording, Path.cwd(), Lines(quiet=where.quiet), where.wait)
    print_data(done.to_json(), as_json, replayed)
    if done.differences:
        raise typer.Exit(FIXABLE)


def _check_control(control: str) -> None:
    if control not in ("", "random"):
        raise DarwinError(f"--control {control!r} is unknown", hint="the only control is random")


def doctor(as_json: Json = False) -> None:
    """Check git, identity, data, python, disk; say the cure for each."""
    from darwin_git.commands.doctor import examine
    from darwin_git.report import terminal

    data = examine(Path.cwd())
    print_data(data, as_json, terminal.doctor)
    if not data["healthy"]:
        raise typer.Exit(FIXABLE)


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


def step(
    control: Control = "",
    usd: Usd = None,
    tokens: Tokens = None,
    hours: Hours = None,
    as_json: Json = False,
) -> None:
    """Run one generation, or finish the one that was interrupted."""
    from darwin_git.commands import evolve, read
    from darwin_git.report import terminal

    _check_control(control)
    with _spender("step", _allowed(usd, tokens, hours)) as wired:
        evolve.one_step(wired, control)
        print_data(read.log(wired.history, 1), as_json, terminal.log)


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


def certify(
    accept: Annotated[
        bool,
        typer.Option(
            "--accept-scale-bound", help="Move it also where no gain is left at a larger budget."
        ),
    ] = False,
    as_json: Json = False,
) -> None:
    """The best tip against the champion, on fresh seeds; moves the champion where it is proved.

    The tip is minimised first, and checked once at 4 times the budget afterwards.
    """
    from darwin_git.commands import evolve, outcome
    from darwin_git.report import certificates

    with _spender("certify") as wired:
        print_data(
            outcome.certified(evolve.certify(wired, accept), wired.world.metric),
            as_json,
            certificates.claim,
        )


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
