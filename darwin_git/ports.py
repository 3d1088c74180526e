"""What a generation needs of the world. Adapters fill these protocols; nothing inherits.

Three walls stand behind them: `Runner` (a command behind limits: a process, a container),
`Executor` (slots: this machine, a cluster) and `Proposer` (who writes a mutation: the catalogue, a
language model, a person).
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, TypeVar

from darwin_git.domain.planning import Plan
from darwin_git.domain.population import State
from darwin_git.domain.trial import Allowance, Replicate, Screened, Subject

T = TypeVar("T")


# --- Runner: one command behind a wall ---------------------------------------------------------


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


# --- Executor: where commands run --------------------------------------------------------------


class Executor(Protocol):
    """Slots and a queue: this machine's, or a cluster's."""

    @property
    def slots(self) -> int:
        """How many calls run at once."""

    def submit(self, call: Callable[[Slot], T]) -> Future[T]:
        """Queue a call; it is given the slot it runs on. Picklable calls can travel."""

    def hold(self, gpu: str | None) -> AbstractContextManager[None]:
        """Keep a GPU free of trainings: wait for those that run on it, start none; None: nothing.

        For a proposer whose model runs there.
        """

    def close(self, *, cancel: bool) -> None:
        """Wait for what runs, or cancel: queued calls dropped, running commands killed."""


# --- Trials: screen, train, evaluate -----------------------------------------------------------


class Trials(Protocol):
    """The trusted measurement of one tree."""

    @property
    def protocol(self) -> str:
        """Hash of the measurement identity's parts except for the tree."""

    def screen(self, subject: Subject, reference: Allowance | None, slot: Slot) -> Screened:
        """Syntax, size, contract, a short smoke run; `reference` is the baseline's allowance."""

    def replicate(
        self,
        subject: Subject,
        seed: int,
        allowance: Allowance,
        slot: Slot,
        *,
        factor: float = 1.0,
        final: bool = False,
    ) -> Replicate:
        """Train under one seed with `factor` times the allowance, and score what was learned."""


# --- Proposer: who writes a mutation -----------------------------------------------------------


@dataclass(frozen=True)
class Outcome:
    """What this run has seen of an idea: change of loss in nats per token, negative is better.

    ``change`` is None where the variant failed (crashed, rejected, diverged …).
    """

    idea: str
    change: float | None
    sd: float


@dataclass(frozen=True)
class Assignment:
    """What a mutator is asked to do, and what it may know.

    Attributes:
        variant: ``0003/a2-on-a1``.
        mutator, target: agents; never the same.
        files: text files of the parent's tree by path.
        mutable: the paths it may change.
        train: arguments of the train command, for example ("train.py", "config/tiny_cpu.py").
        contract: ``nanogpt``, or ``command``: any repository, whose files mean nothing to us.
        frozen: settings that the harness sets; editing them is refused.
        seed: for the proposer's own random draws; the same assignment gives the same proposal.
        outcomes: everything this run has seen.
        tried: ideas already tried on this parent, or being tried elsewhere right now.
        present: ideas that the target's lineage, or the best one, already has.
        control: "random" asks for a uniform draw, for comparison.
    """

    variant: str
    mutator: str
    target: str
    files: Mapping[str, str]
    mutable: frozenset[str]
    train: tuple[str, ...]
    frozen: frozenset[str]
    seed: int
    outcomes: Sequence[Outcome] = ()
    tried: frozenset[str] = frozenset()
    present: frozenset[str] = frozenset()
    control: str = ""
    contract: str = "nanogpt"


@dataclass(frozen=True)
class Proposal:
    """A mutation: whole new contents by path (None deletes), and what it claims.

    Attributes:
        idea: short name that people and lineages carry ("rotary").
        subject: the mutation in the imperative, at most 72 characters.
        hypothesis: why it should help, with its source.
        expected: the expected effect in words.
        trailers: further trailers (Darwin-Operator, Darwin-Model, Darwin-Tokens …).
    """

    files: Mapping[str, str | None]
    idea: str
    subject: str
    hypothesis: str
    expected: str
    trailers: Mapping[str, str]


@dataclass(frozen=True)
class Declined:
    """No proposal. ``infra``: nobody's fault (endpoint down), the agent sits this one out."""

    reason: str
    infra: bool = False


class Proposer(Protocol):
    """Writes mutations; must be pure in (assignment) but for a language model's answers."""

    @property
    def signature(self) -> str:
        """Who signs: the catalogue's or the model's name, shown in the author line."""

    @property
    def builtin(self) -> bool:
        """Its commits come from this clone's own catalogue: they may run without a container."""

    @property
    def gpu(self) -> str | None:
        """Id of the training GPU that its model runs on: it proposes only between trainings."""

    def propose(self, assignment: Assignment) -> Proposal | Declined:
        """One idea, applied."""

    def repair(
        self, assignment: Assignment, proposal: Proposal, failure: Screened
    ) -> Proposal | Declined:
        """The same idea, mended, after the screen failed; the catalogue declines."""


# --- History: the git database -----------------------------------------------------------------


@dataclass(frozen=True)
class Move:
    """One reference's change: `old` None creates it, `new` None deletes it."""

    ref: str
    old: str | None
    new: str | None


@dataclass(frozen=True)
class Merged:
    """A three-way merge: a tree, or the paths in conflict."""

    tree: str | None
    conflicts: tuple[str, ...] = ()


@dataclass(frozen=True)
class Measured:
    """What becomes a record: its kind, what was measured under which identity, and the fields."""

    kind: str
    subject: Subject
    identity: str
    fields: Mapping[str, Any]
    generation: int


class History(Protocol):
    """Git as a generation sees it. Only the main thread writes."""

    @property
    def island(self) -> str:
        """This clone's population."""

    def state(self) -> State | None:
        """The population; None before the baseline."""

    def plan(self, generation: int) -> Plan | None:
        """The plan of a generation, None where there is none yet."""

    def write_plan(self, plan: Plan) -> None:
        """Make a plan durable before anything follows it."""

    def files(self, commit: str) -> Mapping[str, str]:
        """Text files of a commit's tree; files that are no UTF-8 are left out."""

    def changed(self, commit: str, base: str) -> frozenset[str]:
        """Paths that differ between two commits' trees."""

    def full_tree(self, commit: str) -> str:
        """The commit's tree."""

    def tree(self, commit: str) -> str:
        """The measured tree: the commit's without darwin.toml."""

    def message(self, commit: str) -> tuple[str, Mapping[str, str]]:
        """A commit's subject and its Darwin-* trailers."""

    def records(self, commit: str) -> list[dict[str, Any]]:
        """All records of a commit."""

    def record(self, *measured: Measured) -> None:
        """Append records, all of them durable on return."""

    def twin(self, commit: str) -> str | None:
        """Another commit that a reference of ours points at, with the same tree."""

    def trusted(self, commit: str) -> bool:
        """See Subject.trusted."""

    def tip(self, variant: str) -> str | None:
        """Tip of a variant's branch or archive reference."""

    def splice(self, commit: str, files: Mapping[str, str | None]) -> str:
        """The commit's tree with some files replaced."""

    def grow(
        self,
        variant: str,
        tree: str,
        parents: Sequence[str],
        message: str,
        author: tuple[str, str],
        *,
        trusted: bool,
    ) -> str:
        """Commit onto a variant's branch, which is created where it lacks."""

    def commit(
        self, tree: str, parents: Sequence[str], message: str, author: tuple[str, str] | None
    ) -> str:
        """A commit that no reference names yet; author None is the person."""

    def merge(self, ours: str, theirs: str) -> Merged:
        """Git's three-way merge of two commits."""

    def replay(self, change: str, base: str, onto: str) -> Merged:
        """The change from `base` to `change`, applied to `onto` by three-way merge."""

    def resolve(self, ref: str) -> str | None:
        """Commit that a full reference points at."""

    def occupied(self) -> Mapping[str, str]:
        """References checked out anywhere, with the work tree's path."""

    def settle(
        self,
        moves: Sequence[Move],
        generation: int,
        events: Sequence[Mapping[str, Any]],
        state: State,
        files: Mapping[str, bytes],
        subject: str,
    ) -> None:
        """One transition: references, events, summary and derived files, all or nothing."""

    def fold(self) -> None:
        """Fold pending notes into the canonical reference; rewrite the summaries."""
