"""Which operator next: Thompson sampling over what is published and what this run has seen.

Each operator's effect has a normal posterior; one value is drawn from each, the lowest wins. So
what is promising is tried first, what is uncertain is tried sometimes, what failed is left.
"""

import math
import re
from collections.abc import Collection, Sequence

import numpy as np

from darwin_git.ports import Outcome

from .operator import Operator

# The same operator does not do the same to another parent (nats).
CONTEXT_SD = 0.02
# What one step of a setting says of another: less than a trial of its own (nats).
KIN_SD = 0.02
OPPOSITE_SD = 0.04
# What a crash counts as: a loss that selection certainly rejects.
CRASH_CHANGE = 0.1
CRASH_SD = 0.03


_NUMERIC = re.compile(r"(?P<setting>[a-z_0-9.]+)-x(?P<factor>[0-9.]+)")
_NAMED_STEPS = {
    "lr_x2.5": ("learning_rate", math.log(2.5)),
    "lr_x0.3": ("learning_rate", math.log(0.3)),
    "half_batch": ("batch_size", math.log(0.5)),
    "double_batch": ("batch_size", math.log(2.0)),
    "half_heads": ("n_head", math.log(0.5)),
    "double_heads": ("n_head", math.log(2.0)),
}


def step_of(name: str) -> tuple[str, float] | None:
    """(setting, logarithm of the factor) of an operator that scales a setting."""
    found = _NUMERIC.fullmatch(name)
    if found:
        return found["setting"], math.log(float(found["factor"]))
    return _NAMED_STEPS.get(name)


def transferred(name: str, outcome: Outcome) -> tuple[float, float] | None:
    """(change, sd) that another step of the same setting lets one expect; None if it tells nothing.

    Linear in the logarithm of the setting. The other direction is worth half of it, and less
    certain: a setting may be best where it is.
    """
    mine, theirs = step_of(name), step_of(outcome.idea)
    if mine is None or theirs is None or mine[0] != theirs[0]:
        return None
    ratio = mine[1] / theirs[1]
    if outcome.change is None:
        return (CRASH_CHANGE, CRASH_SD + KIN_SD) if ratio >= 1.0 else None
    change = outcome.change * (min(ratio, 2.0) if ratio > 0 else 0.5 * max(ratio, -1.0))
    doubt = KIN_SD if ratio > 0 else OPPOSITE_SD
    return change, (outcome.sd**2 + doubt**2 + (0.5 * change) ** 2) ** 0.5


def comparable(outcomes: Sequence[Outcome]) -> list[Outcome]:
    """Outcomes in a metric's own units, on the scale that the priors are in.

    The median change that was seen becomes the size that a mutation is expected to have.
    """
    sizes = sorted(abs(one.change) for one in outcomes if one.change)
    if not sizes:
        return list(outcomes)
    unit = CONTEXT_SD / sizes[len(sizes) // 2]
    return [
        Outcome(one.idea, None if one.change is None else one.change * unit, one.sd * unit)
        for one in outcomes
    ]


def posterior(operator: Operator, outcomes: Sequence[Outcome]) -> tuple[float, float]:
    """Mean and standard deviation of the operator's effect, conjugate normal with known noise."""
    precision = operator.prior_sd**-2
    weighted = operator.prior_mean * precision
    for outcome in outcomes:
        if outcome.idea != operator.name:
            kin = transferred(operator.name, outcome)
            if kin is None:
                continue
            change, sd = kin
        elif outcome.change is None:
            change, sd = CRASH_CHANGE, CRASH_SD
        else:
            change, sd = outcome.change, outcome.sd
        information = 1.0 / (sd**2 + CONTEXT_SD**2)
        precision += information
        weighted += change * information
    return weighted / precision, precision**-0.5


def draw(
    operators: Sequence[Operator],
    outcomes: Sequence[Outcome],
    rng: np.random.Generator,
    k: int = 1,
    exclude: Collection[str] = frozenset(),
    numeric_share: float = 0.3,
) -> list[Operator]:
    """Up to k different operators; each is a numeric one with the given probability.

    Where one kind has run out, the other is drawn from.
    """
    left = [operator for operator in operators if operator.name not in exclude]
    drawn: list[Operator] = []
    while left and len(drawn) < k:
        kind = "numeric" if rng.random() < numeric_share else "named"
        pool = [operator for operator in left if operator.kind == kind] or left
        samples = [rng.normal(*posterior(operator, outcomes)) for operator in pool]
        best = pool[int(np.argmin(samples))]
        drawn.append(best)
        left.remove(best)
    return drawn
