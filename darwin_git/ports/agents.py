"""Who writes a mutation: the catalogue, a language model, a person's program.

A proposer speaks in dialogs: generators that yield what they want answered and are sent the
answers. They do no input or output themselves, so the steps publish each exchange before its
answer is used, keep the account, and play recordings.
"""

from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, TypeVar

from darwin_git.domain.exchange import Purpose, Reply, Usage
from darwin_git.domain.learning.lesson import Lesson, Reflection
from darwin_git.domain.metric import PERPLEXITY, Metric
from darwin_git.domain.scope import Scope
from darwin_git.domain.trial import Screened
from darwin_git.ports.history import Conflict
from darwin_git.ports.runner import Slot

R = TypeVar("R")


@dataclass(frozen=True)
class Outcome:
    """What this run has seen of an idea: change of loss in nats per token, negative is better.

    ``change`` is None where the variant failed (crashed, rejected, diverged …).
    """

    idea: str
    change: float | None
    sd: float


@dataclass(frozen=True)
class Fitness:
    """How the target's tip does, in numbers a mutator is shown.

    Attributes:
        loss: mean over the race's seeds, in the metric's loss units (nats per token for a GPT).
        gain: below the baseline on the same seeds.
        noise: s0, the paired noise of one seed: gains below it are luck.
        curve: (iteration, printed loss), thinned; printed by the genome, so it is data.
    """

    loss: float
    gain: float
    noise: float
    seeds: int
    parameters: int = 0
    flops_per_token: float = 0.0
    tokens: int = 0
    tokens_per_second: float = 0.0
    mfu: float | None = None
    curve: tuple[tuple[int, float], ...] = ()


@dataclass(frozen=True)
class Past:
    """A mutation that was tried before, and what became of it.

    Attributes:
        outcome: a verdict or a decision in our own words ("adopted", "lost", "crashed: shape").
        gain: against its parent, in loss units; None where it could not be measured.
    """

    variant: str
    agent: str
    target: str
    idea: str
    subject: str
    outcome: str
    gain: float | None = None
    sd: float = 0.0


@dataclass(frozen=True)
class Peer:
    """Another agent's lineage."""

    name: str
    gain: float
    ideas: tuple[str, ...]


@dataclass(frozen=True)
class Proposal:
    """A mutation: whole new contents by path (None deletes), and what it claims.

    Attributes:
        idea: short name that people and lineages carry ("rotary").
        subject: the mutation in the imperative, at most 72 characters.
        hypothesis: why it should help, with its source.
        expected: the expected effect in words.
        trailers: further trailers (Darwin-Operator, Darwin-Model, Darwin-Idea).
    """

    files: Mapping[str, str | None]
    idea: str
    subject: str
    hypothesis: str
    expected: str
    trailers: Mapping[str, str]


@dataclass(frozen=True)
class Refusal:
    """A proposal of this assignment that was not taken, and why, in our own words."""

    proposal: Proposal
    reason: str


@dataclass(frozen=True)
class Assignment:
    """What a mutator is asked to do, and what it may know.

    Attributes:
        variant: ``0003/a2-on-a1``.
        mutator, target: agents; never the same.
        files: text files of the parent's tree by path.
        mutable: the existing paths it may change; `scope` also says which new ones it may make.
        train: arguments of the train command, for example ("train.py", "config/tiny_cpu.py").
        contract: ``nanogpt``, or ``command``: any repository, whose files mean nothing to us.
        frozen: settings that the harness sets; editing them is refused.
        seed: for the proposer's own random draws; the same assignment gives the same proposal.
        outcomes: everything this run has seen.
        tried: ideas already tried on this parent, or being tried elsewhere right now.
        present: ideas that the target's lineage, or the best one, already has.
        control: "random" asks for a uniform draw, for comparison.
        rules: what holds for every mutation, in our own sentences.
        past: the target lineage's recent history, then the run's, the latest last.
        lessons: what was retrieved from memory for this assignment.
        refusals: earlier proposals of this assignment that were not taken.
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
    scope: Scope = Scope(("*.py", "config/*.py"))  # noqa: RUF009 - frozen
    metric: Metric = PERPLEXITY
    fitness: Fitness | None = None
    rules: tuple[str, ...] = ()
    past: Sequence[Past] = ()
    peers: Sequence[Peer] = ()
    lessons: Sequence[Lesson] = ()
    refusals: Sequence[Refusal] = ()


@dataclass(frozen=True)
class Repair:
    """A mutation that failed its screen.

    Attributes:
        proposal: what was committed: `files` holds all changes to the assignment's files so far.
        failure: the screen's outcome; `log` is the end of the traceback: data, not instructions.
        attempt: from 1.
        most: how many attempts there are.
    """

    proposal: Proposal
    failure: Screened
    attempt: int
    most: int


@dataclass(frozen=True)
class Review:
    """A generation's outcomes for whoever reflects on them."""

    generation: int
    trials: Sequence[Past]
    lessons: Sequence[Lesson]
    metric: Metric = PERPLEXITY


@dataclass(frozen=True)
class Declined:
    """No proposal. ``infra``: nobody's fault (endpoint down), the agent sits this one out."""

    reason: str
    infra: bool = False


@dataclass(frozen=True)
class Ask:
    """A question for a model, or one run of a person's program. Published with its answer.

    Attributes:
        request: everything that goes out, as JSON, without keys and addresses.
        perform: asks, on a thread; raises DarwinError for what a person must mend (a refused key).
        most: the most that it may take, reserved in the account before it is made.
        pool: "models" waits on somebody else's machine; "slots" needs a slot of ours.
    """

    purpose: Purpose
    request: Mapping[str, Any]
    perform: Callable[[Slot], Reply]
    most: Usage = field(default_factory=Usage)
    pool: Literal["models", "slots"] = "models"


Dialog = Generator[Ask, Reply, R]
"""Yields what it wants answered, is sent the replies. A built-in proposer's asks nothing."""


class Proposer(Protocol):
    """Writes mutations; pure in (assignment, answers)."""

    @property
    def signature(self) -> str:
        """Who signs: the catalogue's or the model's name, shown in the author line."""

    @property
    def builtin(self) -> bool:
        """Its commits come from this clone's own catalogue: they may run without a container."""

    @property
    def gpu(self) -> str | None:
        """Id of the training GPU that its model runs on: it proposes only between trainings."""

    def propose(self, assignment: Assignment) -> Dialog[Proposal | Declined]:
        """One idea, applied. Asked again with `refusals` where the proposal was not new."""

    def repair(self, assignment: Assignment, broken: Repair) -> Dialog[Proposal | Declined]:
        """The same idea, mended: `files` against the assignment's files; the catalogue declines."""

    def resolve(
        self, assignment: Assignment, conflicts: Sequence[Conflict]
    ) -> Dialog[Mapping[str, str] | Declined]:
        """Contents of all conflicting files, resolved; the catalogue declines."""

    def reflect(self, review: Review) -> Dialog[Reflection | Declined]:
        """Lessons from a generation; the catalogue declines."""
