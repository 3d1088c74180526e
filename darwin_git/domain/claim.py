"""A certificate's outcome as people read it."""

from dataclasses import dataclass

from darwin_git.domain.statistics import CertificateDecision


@dataclass(frozen=True)
class Claim:
    """A certificate as people read it.

    Attributes:
        agent: whose tip challenged the champion.
        decision: None where the tip is the champion already.
        race: gain over the champion on the race's seeds, in the loss: flattered by selection.
        final: gain on the final split on the same fresh seeds: read, written down, never decides.
        values: the metric on the final split, (champion, tip), of the mean loss.
    """

    agent: str
    decision: CertificateDecision | None
    race: float = 0.0
    final: float | None = None
    values: tuple[float, float] | None = None
