"""A certificate's outcome as people read it."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from darwin_git.domain.metric import Metric
from darwin_git.domain.statistics import CertificateDecision, CertificateStatus


@dataclass(frozen=True)
class ScaleCheck:
    """A certified gain at a larger budget.

    Attributes:
        factor: how many times the budget.
        seeds: on which both sides were trained so.
        effects: loss(champion) - loss(tip) by seed; none where a side failed.
        reason: why there are none.
    """

    factor: float
    seeds: tuple[int, ...]
    effects: tuple[float, ...]
    reason: str = ""

    @property
    def gain(self) -> float | None:
        """Mean effect; None where nothing could be compared."""
        return sum(self.effects) / len(self.effects) if self.effects else None

    @property
    def bound(self) -> bool:
        """Whether no gain is left: it belongs to the budget at which it was found."""
        return self.gain is None or self.gain <= 0.0

    def in_words(self, metric: Metric) -> str:
        """As a clause."""
        at = f"at {self.factor:g} times the budget"
        if self.gain is None:
            return f"{at} nothing could be compared ({self.reason})"
        seeds = f"{len(self.effects)} seed{'s' * (len(self.effects) != 1)}"
        return f"{at} {metric.change_words(self.gain, None)} on {seeds}"

    def to_json(self) -> dict[str, Any]:
        """The object that `of` reads."""
        return {
            "factor": self.factor,
            "seeds": list(self.seeds),
            "effects": list(self.effects),
            "gain": self.gain,
            "reason": self.reason,
        }

    @classmethod
    def of(cls, data: Mapping[str, Any] | None) -> "ScaleCheck | None":
        """The check that a record holds."""
        if not data:
            return None
        return cls(data["factor"], tuple(data["seeds"]), tuple(data["effects"]), data["reason"])


@dataclass(frozen=True)
class Claim:
    """A certificate as people read it.

    Attributes:
        agent: whose tip challenged the champion.
        decision: None where the tip is the champion already.
        race: gain over the champion on the race's seeds, in the loss: flattered by selection.
        final: gain on the final split on the same fresh seeds: read, written down, never decides.
        values: the metric on the final split, (champion, tip), of the mean loss.
        scale: the check at a larger budget; None where there was none.
        reverted: ideas that the tip could do without.
        moved: whether the champion moved.
    """

    agent: str
    decision: CertificateDecision | None
    race: float = 0.0
    final: float | None = None
    values: tuple[float, float] | None = None
    scale: ScaleCheck | None = None
    reverted: tuple[str, ...] = ()
    moved: bool = False

    @property
    def certified(self) -> bool:
        """Whether the gain is proved, at the budget in use."""
        return self.decision is not None and self.decision.status is CertificateStatus.CERTIFIED

    @property
    def scale_bound(self) -> bool:
        """Proved, but gone at a larger budget: not merged without a person."""
        return self.certified and self.scale is not None and self.scale.bound


def claim_of(record: Mapping[str, Any], agent: str) -> Claim:
    """The claim that a certificate's record holds."""
    values = record["final_values"]
    decided = {one.name: record[one.name] for one in fields(CertificateDecision)}
    return Claim(
        agent,
        CertificateDecision(**decided | {"status": CertificateStatus(record["status"])}),
        record["race"],
        record["final"],
        None if values is None else (values[0], values[1]),
        ScaleCheck.of(record.get("scale")),
    )
