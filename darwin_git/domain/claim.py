"""A certificate's outcome as people read it."""

from dataclasses import dataclass

from darwin_git.domain.statistics import CertificateDecision


@dataclass(frozen=True)
class Claim:
    """A certificate as people read it.

    Attributes:
        agent: whose tip challenged the champion.
        decision: None where the tip is the champion already.
        race: gain over the champion on the race's seeds, nats per token: flattered by selection.
        final: gain on the final split on the same fresh seeds: read, written down, never decides.
        perplexities: mean perplexity on the final split, (champion, tip).
    """

    agent: str
    decision: CertificateDecision | None
    race: float = 0.0
    final: float | None = None
    perplexities: tuple[float, float] | None = None
