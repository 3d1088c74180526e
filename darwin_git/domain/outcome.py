"""How a variant's trial ended, as a value: what selection decides on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from darwin_git.domain.planning import Planned
from darwin_git.domain.trial import Verdict


class Decision(StrEnum):
    """What became of a variant."""

    ADOPT = "adopt"
    """Merged into its target's lineage, provisionally."""
    WINNER = "winner"
    """Better than its parent, but another winner was merged into the same lineage."""
    PARK = "park"
    """Not merged, not hopeless: a stepping stone."""
    PRUNE = "prune"
    """Into the archive."""


@dataclass(frozen=True)
class Trial:
    """One variant's trial.

    Attributes:
        planned: its place in the plan.
        commit: the variant's tip; empty where nothing was committed.
        idea, subject: the mutation's short name and its title.
        failures: classes of what was repaired, in order.
        mended: what the last failure said that was repaired, in one line.
        repair: the title of the last repair.
        lessons: ids of the lessons that its mutator was shown.
        change: domain.change.change_id of a mutation, empty for a merge.
        effects: loss(parent, seed) - loss(child, seed) in nats per token, by seed.
        gain: mean effect; None where nothing could be compared.
        sd: standard error of the gain, nats per token.
        total_gain: nats per token below the baseline, on the same seeds.
        loss, mfu: means over the replicates.
        won: the race's provisional decision.
        parked: the race's decision was to park.
    """

    planned: Planned
    commit: str
    tree: str
    idea: str
    subject: str
    verdict: Verdict
    reason: str = ""
    failure: str = ""
    repairs: int = 0
    failures: tuple[str, ...] = ()
    mended: str = ""
    repair: str = ""
    lessons: tuple[str, ...] = ()
    change: str = ""
    effects: Mapping[int, float] | None = None
    gain: float | None = None
    sd: float = 0.0
    total_gain: float = 0.0
    loss: float = 0.0
    mfu: float | None = None
    won: bool = False
    parked: bool = False
    trainings: int = 0
    seconds: float = 0.0

    def event(self, variant: str, decision: Decision) -> dict[str, Any]:
        """The population event of this trial."""
        return {
            "kind": "trial",
            "variant": variant,
            "commit": self.commit,
            "tree": self.tree,
            "parent": self.planned.parent,
            "how": self.planned.how,
            "mutator": self.planned.mutator,
            "target": self.planned.target,
            "replays": self.planned.replays or None,
            "idea": self.idea,
            "subject": self.subject,
            "verdict": str(self.verdict),
            "reason": self.reason,
            "failure": self.failure,
            "repairs": self.repairs,
            "failures": list(self.failures),
            "mended": self.mended,
            "lessons": list(self.lessons),
            "change": self.change,
            "decision": str(decision),
            "effects": {str(seed): x for seed, x in (self.effects or {}).items()},
            "gain": self.gain,
            "sd": self.sd,
            "total_gain": self.total_gain,
            "trainings": self.trainings,
            "seconds": self.seconds,
        }


def joined_ideas(*parts: Sequence[str]) -> tuple[str, ...]:
    """Ideas in order, each once; a crossover's "a+b" counts as its parts."""
    ideas = [one for part in parts for idea in part for one in idea.split("+")]
    return tuple(dict.fromkeys(idea for idea in ideas if idea))
