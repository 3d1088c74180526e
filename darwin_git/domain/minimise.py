"""Which merges a tip can do without: group testing over the adopting merges in effect. Pure.

Small merges are reverted together; where that is worse, halves of them are tried. What was found
out for a set of merges is not asked again: where a group fails and its first half goes, the second
half alone would be the same tree, so it is split at once (Hwang 1972).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

T = TypeVar("T")

SEEDS = 2
"""Seeds that each group is tested on."""
SHARE = 5
"""Minimisation and the check at a larger budget take at most one part in so many of a run."""


@dataclass(frozen=True)
class Adoption:
    """A merge into a lineage that is still in effect.

    Attributes:
        merge: the adopting merge.
        before: its first parent: from it to `merge` is what the idea changes.
        gain: in its race, nats per token; None where it had none.
    """

    merge: str
    before: str
    measured: str
    variant: str
    idea: str
    gain: float | None


@dataclass
class Adopted:
    """The merges in effect, folded from the population's events in order.

    Attributes:
        lineages: by agent, in the order of adoption. Whoever took a survivor's tree has its merges.
        champion: merges that are in the champion: what is certified is not tested again.
        before: by agent, the measured commit of its tip before that was minimised.
    """

    lineages: dict[str, tuple[Adoption, ...]] = field(default_factory=dict)
    champion: frozenset[str] = frozenset()
    before: dict[str, str] = field(default_factory=dict)

    @classmethod
    def fold(cls, events: Iterable[Mapping[str, Any]]) -> "Adopted":
        """All events of a run, from the baseline's."""
        found, tips, measured = cls(), dict[str, str](), dict[str, str]()
        gains: dict[str, float | None] = {}
        for event in events:
            kind = event["kind"]
            if kind == "baseline":
                tips = dict.fromkeys(event["agents"], event["commit"])
                found.lineages = dict.fromkeys(event["agents"], ())
            elif kind == "trial":
                gains[event["variant"]] = event["gain"]
            elif kind == "champion":
                own = next((a for a, commit in measured.items() if commit == event["measured"]), "")
                found.champion = frozenset(one.merge for one in found.lineages.get(own, ()))
            elif kind in ("adopt", "replace", "minimise"):
                found._tip(event, tips, gains)
                tips[event["agent"]] = event["tip"]
                measured[event["agent"]] = event["measured"]
        return found

    def _tip(
        self,
        event: Mapping[str, Any],
        tips: Mapping[str, str],
        gains: Mapping[str, float | None],
    ) -> None:
        agent = event["agent"]
        self.before.pop(agent, None)
        if event["kind"] == "replace":
            self.lineages[agent] = self.lineages[event["by"]]
            if event["by"] in self.before:
                self.before[agent] = self.before[event["by"]]
        elif event["kind"] == "minimise":
            gone = {one["merge"] for one in event["reverted"]}
            kept = (one for one in self.lineages[agent] if one.merge not in gone)
            self.lineages[agent] = tuple(kept)
            self.before[agent] = event["before"]
        else:
            new = Adoption(
                event["tip"],
                tips[agent],
                event["measured"],
                event["variant"],
                event.get("idea") or event["ideas"][-1],
                gains.get(event["variant"]),
            )
            self.lineages[agent] = (*self.lineages[agent], new)

    def doubtful(self, agent: str, s0: float) -> tuple[Adoption, ...]:
        """Merges on a lineage that are not the champion's and gained less than s0 in their race."""
        return tuple(
            one
            for one in self.lineages.get(agent, ())
            if one.merge not in self.champion and one.gain is not None and one.gain < s0
        )


@dataclass
class GroupTest(Generic[T]):
    """Group testing: ask `next_group`, say with `answer` whether it can go.

    Attributes:
        gone: what can go, so far.
    """

    items: Sequence[T]
    gone: tuple[T, ...] = ()

    def __post_init__(self) -> None:
        self._queue: list[tuple[T, ...]] = [tuple(self.items)]
        self._needed: list[frozenset[T]] = []

    def next_group(self) -> tuple[T, ...] | None:
        """The next group to revert beside what is gone already; None at the end."""
        while self._queue:
            group = self._queue[0]
            if group and frozenset((*self.gone, *group)) not in self._needed:
                return group
            self.answer(False)
        return None

    def answer(self, expendable: bool) -> None:
        """What came of the group that `next_group` named; a group that cannot go is halved."""
        group = self._queue.pop(0)
        if expendable:
            self.gone = (*self.gone, *group)
            return
        self._needed.append(frozenset((*self.gone, *group)))
        if len(group) > 1:
            half = len(group) // 2
            self._queue += [group[:half], group[half:]]


def groups_allowed(trainings: int, check: int) -> int:
    """How many groups may be trained; one at least, also in a run too short for its fifth.

    Args:
        trainings: of the run so far.
        check: what the check at a larger budget takes, in trainings of the usual length.
    """
    spare = trainings // SHARE - check
    return max(1, (spare - SEEDS) // SEEDS)


def trainings_of(groups: int) -> int:
    """The most that so many groups can take: each its seeds, and the tip the same ones once."""
    return SEEDS * (groups + 1)
