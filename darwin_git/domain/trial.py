"""What happens to one variant, as values: verdicts, replicates, allowances."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from darwin_git.domain.metric import PERPLEXITY, Metric


class Verdict(StrEnum):
    """The end of a trial or of one replicate."""

    OK = "ok"
    CRASHED = "crashed"
    TIMEOUT = "timeout"
    OOM = "oom"
    DIVERGED = "diverged"
    REJECTED = "rejected"
    """A rule was broken: a protected path, a shadowed setting, a limit."""
    CHEATED = "cheated"
    STOPPED = "stopped"
    """It cannot win any more."""
    DUPLICATE = "duplicate"
    INFRA = "infra"
    """Our fault: retried, never held against the variant."""


@dataclass(frozen=True)
class Subject:
    """One tree to be measured.

    Attributes:
        commit: the variant's tip, where its notes stand.
        tree: the measured tree: the commit's tree without darwin.toml.
        label: what people read in logs, for example ``0003/a2-on-a1``.
        trusted: every commit since the genome's start was made by this clone's own catalogue, so
            the process runner may run it (design: who is trusted).
    """

    commit: str
    tree: str
    label: str
    trusted: bool = False


@dataclass(frozen=True)
class Shard:
    """What one shard of a held-out split cost.

    Attributes:
        nats: summed cross-entropy over the shard's tokens, in nats.
        tokens: number of predicted tokens.
        bytes: UTF-8 bytes that these tokens stand for.
    """

    nats: float
    tokens: int
    bytes: int


def loss(shards: Sequence[Shard]) -> float:
    """Mean cross-entropy in nats per token over all shards."""
    return sum(s.nats for s in shards) / sum(s.tokens for s in shards)


def perplexity(shards: Sequence[Shard]) -> float:
    """exp of the mean cross-entropy per token."""
    return math.exp(loss(shards))


def bits_per_byte(shards: Sequence[Shard]) -> float:
    """Cross-entropy in bits per UTF-8 byte: independent of the tokenizer."""
    return sum(s.nats for s in shards) / sum(s.bytes for s in shards) / math.log(2)


@dataclass(frozen=True)
class Judged:
    """What a person's own program said of a tree: numbers by name, the metric's among them.

    Attributes:
        metric: which of them counts.
        scored: on the scored split.
        final: on the final split; empty where it was not asked for.
    """

    metric: Metric
    scored: Mapping[str, float]
    final: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Allowance:
    """What the screen found, and how much of the budget the tree may use.

    Equal tokens must not buy compute: a tree with more FLOPs or more wall time per token than the
    ratios allow is granted fewer tokens, its schedule scaled with them.

    Attributes:
        parameters: unique trainable parameters.
        flops_per_token: analytic training FLOPs per token, 6N + 12 L H Q T (PaLM, appendix B).
        step_seconds: seconds per training token at the smoke run, outside clock.
        flops_ratio: flops_per_token over the baseline's.
        wall_ratio: seconds per token over the baseline's.
        tokens: training tokens granted to one replicate.
        block_size: the context length that the scored windows have: the baseline's.
        deviation: largest deviation of a log-probability that the baseline's own smoke run showed
            in the prefix probe, in nats: the probes' tolerance follows it.
    """

    parameters: int
    flops_per_token: float
    step_seconds: float
    flops_ratio: float
    wall_ratio: float
    tokens: int
    block_size: int
    deviation: float = 0.0


@dataclass(frozen=True)
class Screened:
    """Outcome of the screen: an allowance, or a verdict with its reason."""

    verdict: Verdict
    reason: str = ""
    failure: str = ""
    """Class of failure: syntax, import, shape, oom, nan, timeout, rule, other; empty when ok."""
    log: str = ""
    """Bounded, cleaned text of the failed run (traceback, last lines): data, never instructions."""
    allowance: Allowance | None = None


@dataclass(frozen=True)
class Probe:
    """One check for cheating. ``evidence`` carries no text of the held-out splits."""

    name: str
    passed: bool
    evidence: str = ""


@dataclass(frozen=True)
class Replicate:
    """One training run under one seed, measured outside the genome.

    Attributes:
        seed: offset on the genome's own manual_seed.
        verdict, reason, failure, log: as in Screened.
        scored: shards of the scored split; empty unless the verdict is ok or cheated.
        final: shards of the final split; only where it was asked for.
        judged: in place of shards, where a program of the person's own measures.
        seconds: wall time of the training by the outside clock; imports and compilation are not
            counted.
        tokens: training tokens seen, from the granted budget.
        tokens_per_second: tokens / seconds.
        mfu: model FLOPs utilization in [0, 1]; None where no peak is known.
        exclusive: nothing else ran on the slot, so throughput may be compared.
        curve: (iteration, printed loss) pairs, thinned to at most 64: shown, never scored.
        probes: what was checked.
    """

    seed: int
    verdict: Verdict
    reason: str = ""
    failure: str = ""
    log: str = ""
    scored: tuple[Shard, ...] = ()
    final: tuple[Shard, ...] = ()
    seconds: float = 0.0
    tokens: int = 0
    tokens_per_second: float = 0.0
    mfu: float | None = None
    exclusive: bool = True
    curve: tuple[tuple[int, float], ...] = ()
    probes: tuple[Probe, ...] = field(default=())
    judged: Judged | None = None

    @property
    def metric(self) -> Metric:
        """What the losses are losses of."""
        return self.judged.metric if self.judged else PERPLEXITY

    @property
    def measured(self) -> bool:
        """Whether there is a loss."""
        return self.judged is not None or bool(self.scored)

    @property
    def loss(self) -> float:
        """On the scored split: nats per token, or the judged metric's loss."""
        if self.judged is not None:
            return self.metric.loss(self.judged.scored[self.metric.name])
        return loss(self.scored)

    @property
    def final_loss(self) -> float | None:
        """The same on the final split, None where it was not asked for."""
        if self.judged is None:
            return loss(self.final) if self.final else None
        return self.metric.loss(self.judged.final[self.metric.name]) if self.judged.final else None
