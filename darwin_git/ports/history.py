"""The git database as a generation sees it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from darwin_git.domain.exchange import Exchange
from darwin_git.domain.learning.lesson import Lesson, MemoryEvent
from darwin_git.domain.planning import Plan
from darwin_git.domain.population import State
from darwin_git.domain.trial import Subject
from darwin_git.errors import DarwinError


class NoTree(DarwinError):
    """No tree can be made, or read, with such paths: a file where a folder is, a link, .git."""


@dataclass(frozen=True)
class Move:
    """One reference's change: `old` None creates it, `new` None deletes it."""

    ref: str
    old: str | None
    new: str | None


@dataclass(frozen=True)
class Conflict:
    """A file that both sides of a merge changed; None where a side has no such text file.

    ``marked`` is the file with git's conflict markers (diff3 style), None where there is none.
    """

    path: str
    ours: str | None
    base: str | None
    theirs: str | None
    marked: str | None


@dataclass(frozen=True)
class Merged:
    """A three-way merge: a tree, or what stands in its way.

    ``marked`` is the tree with conflict markers in it.
    """

    tree: str | None
    conflicts: tuple[Conflict, ...] = ()
    marked: str = ""

    @property
    def paths(self) -> str:
        """The paths in conflict, in words."""
        return ", ".join(conflict.path for conflict in self.conflicts)


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

    def holder(self, tree: str) -> str | None:
        """A commit with this tree that a reference of ours points at."""

    def events(self, generation: int) -> Sequence[Mapping[str, Any]]:
        """The population's events of one generation, in order."""

    def trusted(self, commit: str) -> bool:
        """See Subject.trusted."""

    def tip(self, variant: str) -> str | None:
        """Tip of a variant's branch or archive reference."""

    def splice(self, commit: str, files: Mapping[str, str | None]) -> str:
        """The commit's tree with some files replaced. Raises NoTree."""

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

    def mend(self, merged: Merged, files: Mapping[str, str]) -> str:
        """The tree of a merge with its conflicting files resolved."""

    def exchanges(self, prefix: str) -> Sequence[Exchange]:
        """Exchanges of a variant ("0003/a2-on-a1") or of a generation ("0003"), in their order."""

    def publish(self, exchange: Exchange) -> str:
        """Make an exchange durable; returns ``path@blob``, for the commit's trailer."""

    def memory(self) -> Sequence[MemoryEvent]:
        """The events of the ledger's memory, in order."""

    def lessons(self) -> Mapping[str, Lesson]:
        """What these events fold to, retired lessons included."""

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
        memory: Sequence[MemoryEvent] = (),
    ) -> None:
        """One transition: references, events, memory, summaries, derived files: all or nothing."""

    def fold(self) -> None:
        """Fold pending notes into the canonical reference; rewrite the summaries."""
