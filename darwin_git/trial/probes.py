"""Checks for cheating: what a model says about a token must depend on the tokens before it only.

Prefixes are asked before any full window, so that nothing can be remembered from one; some are
asked again at the end, when a model with a memory has seen how they go on. A cheat on a share f of
positions escapes the prefixes with probability (1 - f)^192: 5e-5 for f = 5 %.
"""

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from darwin_git.domain.trial import Probe
from darwin_git.trial.evaluate import Cut, Deviations, Windows, deviation, prefixes, sweep
from darwin_git.trial.scorer import Scorer

CUTS = 192
REPEATED = 48

# Deviations of honest models, in nats: 1e-5 was measured in float32, 0.07 in bfloat16.
_FLOOR = {"float64": 1e-4, "float32": 1e-4, "float16": 0.02, "bfloat16": 0.1}
_CAP = {"float64": 1e-3, "float32": 1e-3, "float16": 0.1, "bfloat16": 0.25}


@dataclass(frozen=True)
class Interview:
    """How a model contradicted what it said after prefixes, before anything else was asked.

    Attributes:
        within: at the same positions of the full windows, as they were scored.
        again: after some of the prefixes, asked once more at the end.
    """

    within: Deviations
    again: Deviations


def draw(windows: int, block_size: int, seed: int, count: int = CUTS) -> list[Cut]:
    """Cuts that the genome cannot know: `seed` is drawn outside for each evaluation."""
    secret = random.Random(seed)
    last = max(1, block_size - 1)
    return [(secret.randrange(windows), secret.randint(1, last)) for _ in range(count)]


def interview(
    scorer: Scorer, windows: Windows, cuts: list[Cut]
) -> tuple[NDArray[np.float64], Interview]:
    """Prefixes, then full windows, then some prefixes again; nats per window beside it."""
    alone = dict(prefixes(scorer, windows.inputs, cuts))
    nats, within = sweep(scorer, windows.inputs, windows.targets, alone)
    repeated = prefixes(scorer, windows.inputs, cuts[:REPEATED])
    again = {cut: deviation(said, alone[cut]) for cut, said in repeated}
    return nats, Interview(within, again)


def tolerance(dtype: str, baseline: float = 0.0) -> float:
    """Largest allowed deviation of a log-probability, in nats.

    Args:
        baseline: the baseline model's own deviation; 0 where it is not known.
    """
    return min(_CAP[dtype], max(_FLOOR[dtype], 8 * baseline))


def _prefix(said: Interview, allowed: float) -> Probe:
    return _compare("prefix", said.within, allowed)


def _repeat(said: Interview, allowed: float) -> Probe:
    return _compare("repeat", said.again, allowed)


PROBES: Mapping[str, Callable[[Interview, float], Probe]] = {"prefix": _prefix, "repeat": _repeat}


def judge(said: Interview, allowed: float) -> tuple[Probe, ...]:
    """All probes; `allowed` is a tolerance in nats."""
    return tuple(probe(said, allowed) for probe in PROBES.values())


def _compare(name: str, found: Deviations, allowed: float) -> Probe:
    off = sum(one > allowed for one in found.values())
    evidence = (
        f"{off} of {len(found)} answers deviate, the most by {max(found.values()):.2g} nats; "
        f"{allowed:.2g} is allowed"
    )
    return Probe(name, off == 0, evidence)
