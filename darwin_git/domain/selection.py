"""Who survives: pure rules over measured candidates, one dict of them.

A rule gives the same survivors for the same candidates in any order and the same state of `rng`.
Loss decides; MFU counts in `pareto` only, and only where every candidate has one. Ties go to the
larger gain over the own parent, then to the name.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random


@dataclass(frozen=True)
class Candidate:
    """One measured variant.

    Attributes:
        name: unique; a branch.
        loss: held-out nats per token, smaller is better.
        mfu: model FLOPs utilization in [0, 1]; None where it is unknown or slots were shared.
        gain: nats per token over the own parent on the race's seeds.
    """

    name: str
    loss: float
    mfu: float | None
    gain: float


Rule = Callable[[Sequence[Candidate], int, Random], list[Candidate]]
"""(candidates, k, rng) -> k survivors, or all where there are fewer."""

TOURNAMENT = 2
"""Candidates in one round: the mildest pressure (Goldberg and Deb 1991)."""


def truncation(candidates: Sequence[Candidate], k: int, rng: Random) -> list[Candidate]:
    """The k of smallest loss, best first."""
    return _ranked(candidates, k)[:k]


def tournament(candidates: Sequence[Candidate], k: int, rng: Random) -> list[Candidate]:
    """k rounds: of two drawn at random the better survives and leaves the field."""
    field, survivors = _ranked(candidates, k), list[Candidate]()
    while field and len(survivors) < k:
        # The field is ranked, so the best of a draw is the smallest index.
        drawn = rng.sample(range(len(field)), min(TOURNAMENT, len(field)))
        survivors.append(field.pop(min(drawn)))
    return survivors


def pareto(candidates: Sequence[Candidate], k: int, rng: Random) -> list[Candidate]:
    """Front after front over (loss, MFU), within a front the smaller loss first.

    Non-dominated sorting (Deb et al. 2002, NSGA-II, section III A). Loss, not crowding, orders a
    front: throughput can be gamed when it is sought, so the best perplexity is never lost.
    """
    with_mfu = all(c.mfu is not None for c in candidates)
    rest, survivors = _ranked(candidates, k), list[Candidate]()
    while rest and len(survivors) < k:
        front = [c for c in rest if not any(_dominates(d, c, with_mfu) for d in rest)]
        survivors += front
        rest = [c for c in rest if c not in front]
    return survivors[:k]


def at_random(candidates: Sequence[Candidate], k: int, rng: Random) -> list[Candidate]:
    """k of them by chance: the control that shows what selection itself is worth."""
    ranked = _ranked(candidates, k)
    return rng.sample(ranked, min(k, len(ranked)))


RULES: dict[str, Rule] = {
    "truncation": truncation,
    "tournament": tournament,
    "pareto": pareto,
    "random": at_random,
}


def _ranked(candidates: Sequence[Candidate], k: int) -> list[Candidate]:
    """Best first, a total order: that is what makes the rules blind to the order given."""
    if k < 0:
        raise ValueError(f"cannot choose {k} survivors")
    if len({c.name for c in candidates}) < len(candidates):
        raise ValueError("candidates must have different names")
    if not all(math.isfinite(v) for c in candidates for v in (c.loss, c.mfu or 0.0, c.gain)):
        raise ValueError("only measured candidates can be selected: a number is not finite")
    return sorted(candidates, key=lambda c: (c.loss, -c.gain, c.name))


def _dominates(a: Candidate, b: Candidate, with_mfu: bool) -> bool:
    """a is nowhere worse and somewhere better."""
    faster, slower = (a.mfu or 0.0, b.mfu or 0.0) if with_mfu else (0.0, 0.0)
    return a.loss <= b.loss and faster >= slower and (a.loss < b.loss or faster > slower)
