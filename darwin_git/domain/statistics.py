"""Deciding under noise: cheap provisional races, one strict certificate.

Everywhere ``x`` holds paired effects: ``x[i] = loss(parent, seed i) - loss(child, seed i)`` in nats
per token, positive where the child is better. ``s0`` is the noise of such a difference between two
unrelated trainings (`noise`). The tests are one-sided paired t-tests (Student 1908). Merges into
lineages are provisional, so `race` is liberal; only `certify` makes a claim, on seeds never used
before. benchmarks/simulate_deciding.py measures the error rates of exactly these functions.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from darwin_git.domain.metric import PERPLEXITY, Metric, digits


def noise(losses: Sequence[float]) -> float:
    """s0 = sqrt(2) * sample sd of the baseline's losses over seeds, in nats per token.

    The sd of the difference of two unpaired trainings: Var(a - b) = 2 Var(a). A property of one
    genome at one budget; measured again whenever the champion moves.
    """
    if len(losses) < 2:
        raise ValueError("the noise needs the losses of at least 2 seeds")
    return math.sqrt(2.0) * _moments(losses)[1]


@dataclass(frozen=True)
class Paired:
    """Paired effects in nats per token: sample mean and sd, 95 % two-sided t interval of the mean.

    From one pair nothing is known about the spread: sd, low and high are None.
    """

    mean: float
    sd: float | None
    low: float | None
    high: float | None
    n: int


def paired(x: Sequence[float]) -> Paired:
    """Summary of paired effects; the interval is mean -+ t(0.975, n - 1) * sd / sqrt(n)."""
    mean, sd = _moments(x)
    n = len(x)
    if n < 2:
        return Paired(mean, None, None, None, n)
    half = _quantile(0.975, n - 1) * sd / math.sqrt(n)
    return Paired(mean, sd, mean - half, mean + half, n)


def p_value(x: Sequence[float], margin: float = 0.0) -> float:
    """One-sided p of the paired t-test of "the mean effect is above `margin` (nats per token)".

    Effects without any spread are decided by their sign; one pair proves nothing (p = 1).
    """
    mean, sd = _moments(x)
    if len(x) < 2:
        return 1.0
    if sd == 0.0:
        return 0.0 if mean > margin else 1.0
    from scipy.special import stdtr

    return float(stdtr(len(x) - 1, (margin - mean) / sd * math.sqrt(len(x))))


def perplexity_change(gain: float) -> float:
    """Change of perplexity in percent that a gain in nats per token means: 100 (exp(-gain) - 1)."""
    return 100.0 * math.expm1(-gain)


def floor(sd: float, n: int, level: float = 0.05) -> float:
    """Smallest mean gain, nats per token, that n paired seeds can tell from luck.

    t(1 - level, n - 1) * sd / sqrt(n), the critical value of the one-sided paired t-test. `sd` is
    that of the paired difference; with s0 it is the floor for changes that leave the parent's path
    altogether, small changes have a lower one. One seed alone can tell nothing: infinity.
    """
    if n < 1:
        raise ValueError("a floor needs at least one seed")
    return math.inf if n == 1 else _quantile(1.0 - level, n - 1) * sd / math.sqrt(n)


def in_words(sd: float, n: int, level: float = 0.05, metric: Metric = PERPLEXITY) -> str:
    """The floor as a sentence for people."""
    gain = floor(sd, n, level)
    if math.isinf(gain):
        return "no gain can be told from luck with 1 seed"
    if sd == 0.0 and metric != PERPLEXITY:
        return f"{metric.name} is the same under every seed: no gain is luck"
    change = abs(metric.change(gain))
    size = f"{digits(change)} %" if metric.scale == "log" else f"{change:.2g}"
    return f"a gain under {size} of {metric.name} cannot be told from luck with {n} seeds"


# --- the race: provisional, into a lineage -------------------------------------------------------


class RaceDecision(StrEnum):
    """What to do with a child after its replicates so far."""

    MORE = "more"
    MERGE = "merge"
    PARK = "park"
    """Not merged, not hopeless: a stepping stone."""
    DROP = "drop"


@dataclass(frozen=True)
class RaceRule:
    """When a child is merged into its target's lineage, provisionally.

    Attributes:
        seeds: numbers of paired seeds at which is looked, increasing. ``(1,)`` is the race of a
            single look.
        drop: at a look in between, drop at a mean of at most this many s0.
        merge: at a look in between, merge above this many s0.
        p: at the last look, merge where the one-sided p is below.
        single: where the last look has one seed, which has no p: merge above this many s0.
    """

    seeds: tuple[int, ...] = (1, 2, 4)
    drop: float = 0.2
    merge: float = 0.8
    p: float = 0.10
    single: float = 0.25

    def __post_init__(self) -> None:
        _increasing(self.seeds, at_least=1)
        if self.drop > self.merge:
            raise ValueError("drop must not be above merge")


def next_look(n_have: int, rule: RaceRule) -> int | None:
    """Number of seeds at the next look of a race, None after the last."""
    return next((n for n in rule.seeds if n > n_have), None)


def race(x: Sequence[float], s0: float, rule: RaceRule) -> RaceDecision:
    """Decide a race on the paired effects so far, in the order of the race's seeds.

    Looks are replayed in order and the first decision stands, so the outcome depends on the effects
    alone, not on how many were trained at once. A mean of at most zero never merges: two identical
    trees stay apart at any s0.
    """
    for n in rule.seeds:
        if n > len(x):
            return RaceDecision.MORE
        decision = _look(x[:n], s0, rule)
        if decision is not RaceDecision.MORE:
            return decision
    raise AssertionError("the last look always decides")


def _look(x: Sequence[float], s0: float, rule: RaceRule) -> RaceDecision:
    mean, n = _moments(x)[0], len(x)
    if mean <= 0.0:
        return RaceDecision.DROP
    if n == rule.seeds[-1]:
        won = mean > rule.single * s0 if n == 1 else p_value(x) < rule.p
        return RaceDecision.MERGE if won else RaceDecision.PARK
    if n == 1:
        return RaceDecision.MORE
    if mean <= rule.drop * s0:
        return RaceDecision.DROP
    return RaceDecision.MERGE if mean > rule.merge * s0 else RaceDecision.MORE


# --- minimising: what a tip can do without -------------------------------------------------------

EXPENDABLE = 0.1
"""In s0. In simulation 0.2 takes out few more useless merges and loses half as much gain again."""


def expendable(x: Sequence[float], s0: float) -> bool:
    """Whether merges can go: reverted, the tip is not worse by more than 0.1 s0 on average.

    `x[i] = loss(tip, seed i) - loss(reverted, seed i)`, positive where the tip is better without.
    The burden of proof is the merges': what cannot be seen to help is not carried on.
    """
    return _moments(x)[0] >= -EXPENDABLE * s0


# --- the certificate: the claim ------------------------------------------------------------------


class CertificateStatus(StrEnum):
    """State of a challenge to the champion."""

    MORE = "more"
    CERTIFIED = "certified"
    FAILED = "failed"
    UNSTABLE = "unstable"
    """Better on average, but far worse on some seed: not adopted."""


@dataclass(frozen=True)
class CertificateRule:
    """When a tip may replace the champion.

    Attributes:
        seeds: numbers of fresh seeds at which is looked.
        shares: the part of this certificate's level that each look spends; at most 1 together. A
            small first one costs few seeds and keeps the power of always taking all of them.
        late_seeds, late_shares: the same from the `late_from`-th certificate without a move, when
            the level has become small.
        margin: the gain, nats per token, that must be exceeded: certain is not yet worth having.
        level: all certificates against one champion together err with at most this probability.
        unstable: no fresh seed may be worse than the champion by more than this many s0.
    """

    seeds: tuple[int, ...] = (4, 8)
    shares: tuple[float, ...] = (0.15, 0.85)
    late_seeds: tuple[int, ...] = (4, 8, 16)
    late_shares: tuple[float, ...] = (0.25, 0.25, 0.5)
    late_from: int = 6
    margin: float = 0.002
    level: float = 0.05
    unstable: float = 3.0

    def __post_init__(self) -> None:
        for seeds, shares in ((self.seeds, self.shares), (self.late_seeds, self.late_shares)):
            _increasing(seeds, at_least=2)
            if len(seeds) != len(shares) or min(shares) <= 0.0 or math.fsum(shares) > 1.0 + 1e-12:
                raise ValueError("each look needs a positive share, together at most 1")

    def looks(self, j: int) -> tuple[tuple[int, float], ...]:
        """(seeds, level spent there) of each look of the j-th certificate since the last move."""
        late = j >= self.late_from
        seeds, shares = (self.late_seeds, self.late_shares) if late else (self.seeds, self.shares)
        level = certificate_level(j, self.level)
        return tuple((n, share * level) for n, share in zip(seeds, shares, strict=True))


def certificate_level(j: int, level: float = 0.05) -> float:
    """level / (j (j + 1)): over j = 1, 2, … it sums to `level`, however often is asked.

    Alpha spending by the union bound (Bonferroni) on 1/(j (j + 1)) = 1/j - 1/(j + 1).
    """
    if j < 1:
        raise ValueError("certificates are counted from 1")
    return level / (j * (j + 1))


@dataclass(frozen=True)
class CertificateDecision:
    """A certificate's state with everything that is needed to check it.

    Attributes:
        mean, low, high: effect over the champion in nats per token with the conventional 95 %
            two-sided interval; not corrected for looks, which `p` against `level` is.
        p: one-sided p of "the mean exceeds the margin".
        level: what p had to be below at the look that decided; while MORE, at the next look.
        level_spent: by all looks of this certificate so far.
        margin: in nats per token.
        worst: the smallest effect over the seeds.
        n: fresh seeds that the decision rests on.
        sentence: for people.
    """

    status: CertificateStatus
    mean: float
    low: float | None
    high: float | None
    p: float
    level: float
    level_spent: float
    margin: float
    worst: float
    n: int
    sentence: str


def certify(
    x: Sequence[float],
    s0: float,
    rule: CertificateRule,
    j: int,
    margin: float | None = None,
    metric: Metric = PERPLEXITY,
) -> CertificateDecision:
    """Decide the j-th certificate since the champion last moved on effects over fresh seeds.

    Looks are replayed in order and the first decision stands; seeds beyond it are not used. A look
    fails a tip whose mean is within the margin, refuses one that is unstable, certifies at p below
    its level. `margin` (nats per token) replaces the rule's, for example by 2.5 standard errors of
    the scored split where that is larger. `metric` is what the sentence speaks of.
    """
    if margin is None:
        margin = rule.margin
    looks, spent, level = rule.looks(j), 0.0, 0.0
    for n, level in looks:
        if n > len(x):
            break
        spent += level
        status = _certificate_look(x[:n], s0, rule, margin, level, last=n == looks[-1][0])
        if status is not CertificateStatus.MORE:
            return _decision(status, x[:n], margin, level, spent, metric)
    return _decision(CertificateStatus.MORE, x, margin, level, spent, metric)


def _certificate_look(
    x: Sequence[float], s0: float, rule: CertificateRule, margin: float, level: float, last: bool
) -> CertificateStatus:
    if _moments(x)[0] <= margin:
        return CertificateStatus.FAILED
    if min(x) < -rule.unstable * s0:
        return CertificateStatus.UNSTABLE
    if p_value(x, margin) < level:
        return CertificateStatus.CERTIFIED
    return CertificateStatus.FAILED if last else CertificateStatus.MORE


def _decision(
    status: CertificateStatus,
    x: Sequence[float],
    margin: float,
    level: float,
    spent: float,
    metric: Metric,
) -> CertificateDecision:
    effect, p = paired(x), p_value(x, margin)
    parts = [f"{status}: {metric.in_words(effect.mean, None)}"]
    if effect.low is not None and effect.high is not None:
        best, least = (metric.change_words(gain, None) for gain in (effect.high, effect.low))
        parts.append(f"(95 % {best.removesuffix(' %')} to {least})")
    worst = min(x)
    parts.append(f"on {len(x)} fresh seed{'s' * (len(x) != 1)}, the worst")
    parts.append(f"{metric.change_words(worst, None)};")
    unit = "nats" if metric == PERPLEXITY else metric.unit
    parts.append(f"p = {p:.2g} of a gain over {margin:g} {unit}, needed below {level:.3g}")
    low, high = effect.low, effect.high
    return CertificateDecision(
        status, effect.mean, low, high, p, level, spent, margin, worst, effect.n, " ".join(parts)
    )


# --- arithmetic ----------------------------------------------------------------------------------


def _moments(x: Sequence[float]) -> tuple[float, float]:
    """Mean and sample sd (0 for one value); equal values have exactly themselves and 0."""
    if not x or not all(map(math.isfinite, x)):
        raise ValueError("effects and losses must be finite numbers, at least one")
    n, first = len(x), x[0]
    if all(v == first for v in x):
        return first, 0.0
    mean = math.fsum(x) / n
    return mean, math.sqrt(math.fsum((v - mean) ** 2 for v in x) / (n - 1))


# `status` says the floor, and importing scipy takes longer than all else that it does.
_QUANTILES = {
    (0.95, 1): 6.313751514675043,
    (0.95, 3): 2.353363434801823,
    (0.95, 7): 1.894578605061305,
}


def _quantile(probability: float, df: int) -> float:
    known = _QUANTILES.get((probability, df))
    if known is not None:
        return known
    from scipy.special import stdtrit

    return float(stdtrit(df, probability))


def _increasing(seeds: tuple[int, ...], at_least: int) -> None:
    if not seeds or seeds[0] < at_least or list(seeds) != sorted(set(seeds)):
        raise ValueError(f"looks must be increasing numbers of seeds from {at_least}: {seeds}")
