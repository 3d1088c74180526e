"""Which operator next: Thompson sampling over what is published and what this run has seen.

Each operator's effect has a normal posterior; one value is drawn from each, the lowest wins. So
what is promising is tried first, what is uncertain is tried sometimes, what failed is left.
"""

from collections.abc import Collection, Sequence

import numpy as np

from darwin_git.ports import Outcome

from .operator import Operator

# The same operator does not do the same to another parent (nats).
CONTEXT_SD = 0.02
# What a crash counts as: a loss that selection certainly rejects.
CRASH_CHANGE = 0.1
CRASH_SD = 0.03


def posterior(operator: Operator, outcomes: Sequence[Outcome]) -> tuple[float, float]:
    """Mean and standard deviation of the operator's effect, conjugate normal with known noise."""
    precision = operator.prior_sd**-2
    weighted = operator.prior_mean * precision
    for outcome in outcomes:
        if outcome.idea != operator.name:
            continue
        change, sd = outcome.change, outcome.sd
        if change is None:
            change, sd = CRASH_CHANGE, CRASH_SD
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
