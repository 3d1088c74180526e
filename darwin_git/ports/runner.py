"""One command behind a wall: a process or a container."""

from collections.abc import Collection, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

PROGRAM = "../program"
"""Where the folder of a person's own program stands, seen from the checkout."""


@dataclass(frozen=True)
class Slot:
    """A share of the machine for one command: CPU numbers, at most one GPU id."""

    number: int
    cpus: tuple[int, ...]
    gpu: str | None = None
    exclusive: bool = True


@dataclass(frozen=True)
class Limits:
    """What one command may use. Sizes in bytes, times in seconds."""

    wall_seconds: float
    memory_bytes: int
    output_bytes: int
    log_bytes: int = 1 << 20
    processes: int = 512


@dataclass(frozen=True)
class File:
    """A file of a checkout."""

    content: bytes
    executable: bool = False


class Artifact(Protocol):
    """A file that one command left and another may read; where it lies is the runner's matter."""

    @property
    def size(self) -> int:
        """Size in bytes."""


@dataclass(frozen=True)
class Command:
    """Everything a runner needs to know. Nothing of the host's file system is assumed but `data`.

    The command sees its checkout (the working directory), the tools and an empty out folder.

    Attributes:
        label: for logs and container names.
        trusted: see Subject.trusted; the process runner refuses what is not.
        genome: the checkout, the working directory of the command.
        tools: our own scripts and the override file; they stand outside the checkout.
        data: read-only folders by their path in the checkout (``data/darwin``), or beside it
            (``../judge``); a folder's content never changes under its name.
        artifacts: read-only files by name; they stand beside the tools.
        argv: ``{python}``, ``{genome}``, ``{tools}`` and ``{out}`` are replaced by the runner.
        limits: what it may use.
        key: name of a resumable attempt: where this command ended well under the same key for an
            owner that died before it discarded the outputs, the runner hands those out instead of
            running it again. Empty: nothing outlives the owner.
        keep: names of the output files that somebody will ask for; the others may be gone.
        cache: name of a compile cache; each command gets a private copy of what the last one with
            `fills_cache` left under that name, so that no training can leave another anything.
        fills_cache: keep this command's cache; only for commands that see no real data.
        network: it may reach the network, as the person said. It never sees data or artifacts, so
            that nothing of them can be carried out. The process runner has no wall around the
            network: there every command has one.
        image: another image than the runner's; for commands that measure nothing, since it is no
            part of the measurement. The process runner knows no images.

    Raises:
        ValueError: a command with a network was given data or artifacts.
    """

    label: str
    trusted: bool
    genome: Mapping[str, File]
    tools: Mapping[str, bytes]
    argv: tuple[str, ...]
    limits: Limits
    data: Mapping[str, Path]
    artifacts: Mapping[str, Artifact]
    key: str = ""
    keep: tuple[str, ...] = ()
    cache: str = ""
    fills_cache: bool = False
    network: bool = False
    image: str = ""

    def __post_init__(self) -> None:
        seen = [*(path for path in self.data if path != PROGRAM), *self.artifacts]
        if self.network and seen:
            raise ValueError(f"{self.label} has a network: it must not see {', '.join(seen)}")


@dataclass(frozen=True)
class Machine:
    """Where a runner's commands run: this machine, or the one with the engine.

    Attributes:
        cpus: CPU numbers that commands may be pinned to.
        memory_bytes: main memory.
        gpus: names by id, as device requests and CUDA_VISIBLE_DEVICES take it.
        name: the processor's model.
    """

    cpus: tuple[int, ...]
    memory_bytes: int
    gpus: Mapping[str, str]
    name: str


@dataclass(frozen=True)
class Line:
    """A line of standard output with the outside clock's reading, seconds since the start."""

    at: float
    text: str


class Outputs(Protocol):
    """What a dead command left in its out folder, read by a reader that refuses links and pipes."""

    def read(self, name: str, limit: int) -> bytes:
        """Bytes of one regular file of at most `limit` bytes; raises UnsafeOutput otherwise."""

    def artifact(self, name: str) -> Artifact | None:
        """A handle for another command, None where no safe regular file has that name."""

    def discard(self) -> None:
        """Delete everything the command left."""


class UnsafeOutput(Exception):
    """An output that is missing, no regular file, or larger than allowed."""


@dataclass(frozen=True)
class Finished:
    """A command's end.

    Attributes:
        cause: ``exit`` by itself, ``deadline`` killed by us, ``memory`` killed for memory,
            ``output`` killed for writing too much, ``processes`` for having too many, ``infra`` the
            runner's own fault.
        exit_code: the command's, negative for a signal; None for infra.
        seconds: wall time by the outside clock.
        lines: bounded standard output, the first and the last lines where it was cut.
        errors: bounded tail of standard error, control characters removed.
    """

    cause: Literal["exit", "deadline", "memory", "output", "processes", "infra"]
    exit_code: int | None
    seconds: float
    lines: tuple[Line, ...]
    errors: str
    outputs: Outputs


class Dialogue(Protocol):
    """A running command spoken to over stdin and stdout; nothing it prints elsewhere is kept."""

    def send(self, data: bytes) -> None:
        """Write all bytes; raises DialogueEnded."""

    def receive(self, count: int) -> bytes:
        """Exactly `count` bytes; raises DialogueEnded at end of stream or at the deadline."""


class DialogueEnded(Exception):
    """The command on the other side is gone; `cause` as in Finished."""

    def __init__(self, cause: str) -> None:
        super().__init__(cause)
        self.cause = cause


class Runner(Protocol):
    """Runs commands behind a wall."""

    @property
    def kind(self) -> str:
        """``process`` or ``docker``; part of the measurement identity."""

    def environment(self) -> Mapping[str, str]:
        """What the numbers depend on: image digest, or python, torch and numpy versions."""

    def machine(self, *, gpus: bool) -> Machine:
        """Where commands run; raises DarwinError where `gpus` are asked for and there are none."""

    def run(self, command: Command, slot: Slot) -> Finished:
        """Run to the end or to the deadline."""

    def converse(self, command: Command, slot: Slot) -> AbstractContextManager[Dialogue]:
        """Start a command and talk to it; leaving the context kills it."""

    def cancel(self) -> None:
        """Kill everything that runs and start nothing more: commands end with cause ``infra``."""

    def reap(self, scored: Collection[str] = ()) -> int:
        """Remove what dead owners left, but for results under a key; returns how many.

        Args:
            scored: keys whose results nobody will take any more.
        """

    def close(self) -> None:
        """Wait until everything that ended is removed, give up connections; may be called twice."""
