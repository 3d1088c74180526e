"""Rules choose survivors: the right ones, the right number, whatever the order they came in."""

from collections import Counter
from collections.abc import Sequence
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from darwin_git.domain.selection import RULES, Candidate

# Times say nothing on shared cores.
settings.register_profile("darwin", deadline=None)
settings.load_profile("darwin")

# Few values, so that ties happen.
LOSSES = st.sampled_from([2.0, 2.1, 2.2, 2.3])
MFUS = st.sampled_from([0.1, 0.2, 0.3])
GAINS = st.sampled_from([-0.1, 0.0, 0.1])


@st.composite
def populations(draw: st.DrawFn, mfus: st.SearchStrategy[float | None] = MFUS) -> list[Candidate]:
    count = draw(st.integers(0, 8))
    return [Candidate(f"v{i}", draw(LOSSES), draw(mfus), draw(GAINS)) for i in range(count)]


def names(candidates: Sequence[Candidate]) -> list[str]:
    return [c.name for c in candidates]


@pytest.mark.parametrize("rule", RULES)
@given(populations(st.none() | MFUS), st.integers(0, 10), st.integers(0, 100), st.randoms())
def test_survivors_are_k_of_the_candidates_in_whatever_order(
    rule: str, candidates: list[Candidate], k: int, seed: int, shuffle: Random
) -> None:
    survivors = RULES[rule](candidates, k, Random(seed))

    assert set(survivors) <= set(candidates)
    assert len(set(survivors)) == len(survivors) == min(k, len(candidates))
    shuffled = list(candidates)
    shuffle.shuffle(shuffled)
    assert RULES[rule](shuffled, k, Random(seed)) == survivors


@given(populations(), st.integers(0, 10))
def test_truncation_leaves_nobody_better_behind(candidates: list[Candidate], k: int) -> None:
    survivors = RULES["truncation"](candidates, k, Random(0))

    left = set(candidates) - set(survivors)
    assert all(s.loss <= c.loss for s in survivors for c in left)
    assert survivors == sorted(survivors, key=lambda c: (c.loss, -c.gain, c.name))


def test_ties_go_to_the_larger_gain_then_to_the_name() -> None:
    tied = [
        Candidate("b", 2.0, None, 0.1),
        Candidate("a", 2.0, None, 0.1),
        Candidate("z", 2.0, None, 0.2),
    ]
    assert names(RULES["truncation"](tied, 3, Random(0))) == ["z", "a", "b"]


@given(populations(), st.integers(1, 8))
def test_the_worst_wins_no_tournament_while_another_is_left(
    candidates: list[Candidate], seed: int
) -> None:
    if len(candidates) < 2:
        return
    worst = RULES["truncation"](candidates, len(candidates), Random(0))[-1]
    assert worst not in RULES["tournament"](candidates, len(candidates) - 1, Random(seed))


def test_a_tournament_is_between_two_and_prefers_the_better() -> None:
    field = [Candidate(name, loss, None, 0.0) for name, loss in zip("abcd", range(4), strict=True)]
    won = Counter(RULES["tournament"](field, 1, Random(s))[0].name for s in range(6000))
    # Of the 6 pairs a is in three, b is the better of two, c of one.
    assert won["d"] == 0
    assert abs(won["a"] / 6000 - 1 / 2) < 0.03
    assert abs(won["b"] / 6000 - 1 / 3) < 0.03


def brute_force_fronts(candidates: list[Candidate]) -> list[set[str]]:
    """Peel: who is beaten by nobody left is in the front."""
    left, fronts = list(candidates), []
    while left:
        front = set()
        for c in left:
            beaten = False
            for d in left:
                better_loss, better_mfu = d.loss < c.loss, d.mfu > c.mfu  # type: ignore[operator]
                worse = d.loss > c.loss or d.mfu < c.mfu  # type: ignore[operator]
                beaten |= (better_loss or better_mfu) and not worse
            if not beaten:
                front.add(c.name)
        fronts.append(front)
        left = [c for c in left if c.name not in front]
    return fronts


@given(populations())
def test_pareto_takes_front_after_front(candidates: list[Candidate]) -> None:
    for k in range(len(candidates) + 1):
        survivors = names(RULES["pareto"](candidates, k, Random(0)))
        for front in brute_force_fronts(candidates):
            taken, survivors = survivors[: len(front)], survivors[len(front) :]
            assert set(taken) <= front
            assert not survivors or set(taken) == front


def test_pareto_keeps_a_fast_variant_that_truncation_drops_and_the_best_loss_first() -> None:
    field = [
        Candidate("best", 2.0, 0.1, 0.0),
        Candidate("second", 2.1, 0.1, 0.0),
        Candidate("fast", 2.2, 0.4, 0.0),
    ]
    assert names(RULES["truncation"](field, 2, Random(0))) == ["best", "second"]
    assert names(RULES["pareto"](field, 2, Random(0))) == ["best", "fast"]
    assert names(RULES["pareto"](field, 1, Random(0))) == ["best"]


@given(populations(st.none() | MFUS), st.integers(0, 8))
def test_mfu_counts_only_where_every_candidate_has_one(candidates: list[Candidate], k: int) -> None:
    unknown = [*candidates, Candidate("unknown", 2.15, None, 0.0)]
    by_loss = RULES["truncation"](unknown, k, Random(0))
    assert [c.loss for c in RULES["pareto"](unknown, k, Random(0))] == [c.loss for c in by_loss]


def test_random_looks_at_no_number() -> None:
    field = [Candidate(name, loss, None, 0.0) for name, loss in zip("abcd", range(4), strict=True)]
    chosen = Counter(n for s in range(4000) for n in names(RULES["random"](field, 2, Random(s))))
    assert all(abs(chosen[name] / 4000 - 0.5) < 0.03 for name in "abcd")


@pytest.mark.parametrize("rule", RULES)
def test_nonsense_is_refused(rule: str) -> None:
    good = Candidate("a", 2.0, None, 0.0)
    for bad in (
        [good, good],
        [Candidate("a", float("nan"), None, 0.0)],
        [Candidate("a", 2.0, float("inf"), 0.0)],
        [Candidate("a", 2.0, None, float("nan"))],
    ):
        with pytest.raises(ValueError):
            RULES[rule](bad, 1, Random(0))
    with pytest.raises(ValueError):
        RULES[rule]([good], -1, Random(0))
