"""Races are cheap and provisional; certificates are claims. Exact cases, then scipy, then rates."""

import math
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from random import Random

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.stats import t, ttest_1samp

from darwin_git.domain.statistics import (
    _QUANTILES,
    CertificateRule,
    CertificateStatus,
    Paired,
    RaceDecision,
    RaceRule,
    certificate_level,
    certify,
    floor,
    in_words,
    next_look,
    noise,
    p_value,
    paired,
    perplexity_change,
    race,
)

# Times say nothing on shared cores.
settings.register_profile("darwin", deadline=None)
settings.load_profile("darwin")

S0 = 0.01
RULE = CertificateRule()
# Nats per token in steps of 1e-4, which is far coarser than rounding.
EFFECTS = st.integers(-400, 400).map(lambda i: i / 10_000)
MORE, MERGE, PARK, DROP = RaceDecision
CERTIFIED, FAILED, UNSTABLE = list(CertificateStatus)[1:]


def scipy_p(x: Sequence[float], margin: float = 0.0) -> float:
    return float(ttest_1samp(x, margin, alternative="greater").pvalue)


# --- one sample ----------------------------------------------------------------------------------


def test_the_noise_is_that_of_a_difference() -> None:
    assert noise([1.0, 3.0]) == pytest.approx(2.0)  # sd sqrt(2), times sqrt(2)
    assert noise([2.4, 2.4, 2.4]) == 0.0


@pytest.mark.parametrize("losses", [[], [2.4], [2.4, math.nan], [2.4, math.inf]])
def test_noise_needs_two_measured_losses(losses: list[float]) -> None:
    with pytest.raises(ValueError):
        noise(losses)


def test_paired_effects_and_their_interval() -> None:
    effect = paired([0.01, 0.02, 0.03])
    assert (effect.mean, effect.sd, effect.n) == (pytest.approx(0.02), pytest.approx(0.01), 3)
    half = 4.302653 * 0.01 / math.sqrt(3)  # t(0.975, 2) from the table
    assert (effect.low, effect.high) == (pytest.approx(0.02 - half), pytest.approx(0.02 + half))
    assert paired([0.01]) == Paired(0.01, None, None, None, 1)
    assert paired([0.1] * 7) == Paired(0.1, 0.0, 0.1, 0.1, 7)
    with pytest.raises(ValueError):
        paired([])


@given(st.lists(EFFECTS, min_size=2, max_size=16), st.sampled_from([0.0, 0.002]))
def test_p_and_interval_are_scipys(x: list[float], margin: float) -> None:
    assume(len(set(x)) > 1)
    assert p_value(x, margin) == pytest.approx(scipy_p(x, margin), rel=1e-6, abs=1e-12)
    interval, effect = ttest_1samp(x, 0.0).confidence_interval(0.95), paired(x)
    assert effect.low == pytest.approx(float(interval.low), rel=1e-6, abs=1e-9)
    assert effect.high == pytest.approx(float(interval.high), rel=1e-6, abs=1e-9)


def test_without_spread_the_sign_decides_and_one_pair_proves_nothing() -> None:
    assert p_value([0.0] * 4) == 1.0
    assert p_value([0.1] * 3) == 0.0
    assert p_value([-0.1] * 3) == 1.0
    assert p_value([0.002] * 4, margin=0.002) == 1.0
    assert p_value([0.5]) == 1.0


def test_gains_in_percent_of_perplexity() -> None:
    assert perplexity_change(0.02) == pytest.approx(-1.980133)
    assert perplexity_change(-0.02) == pytest.approx(2.020134)


# --- the floor -----------------------------------------------------------------------------------


def test_the_floor_is_the_critical_value() -> None:
    assert floor(0.0103, 4) == pytest.approx(2.353363 * 0.0103 / 2)  # t(0.95, 3) from the table
    assert floor(0.0103, 4, level=0.025) == pytest.approx(3.182446 * 0.0103 / 2)
    assert floor(0.0103, 1) == math.inf
    with pytest.raises(ValueError):
        floor(0.0103, 0)


@given(st.lists(EFFECTS, min_size=2, max_size=10), st.sampled_from([0.05, 0.01]))
def test_a_mean_over_the_floor_of_its_own_sd_is_significant(x: list[float], level: float) -> None:
    effect = paired(x)
    assume(effect.sd)
    border = floor(effect.sd or 0.0, len(x), level)
    assert p_value([v - effect.mean + 1.001 * border for v in x]) < level
    assert p_value([v - effect.mean + 0.999 * border for v in x]) > level


def test_the_floor_in_words() -> None:
    told = "cannot be told from luck with"
    assert in_words(0.0103, 4) == f"a gain under 1.2 % of perplexity {told} 4 seeds"
    assert in_words(0.0103, 8) == f"a gain under 0.69 % of perplexity {told} 8 seeds"
    assert in_words(0.00008, 8) == f"a gain under 0.0054 % of perplexity {told} 8 seeds"
    assert in_words(0.0103, 1) == "no gain can be told from luck with 1 seed"
    assert in_words(0.0, 4) == f"a gain under 0.00 % of perplexity {told} 4 seeds"


# --- races ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("x", "decision"),
    [
        ([], MORE),
        ([0.0], DROP),
        ([1e-9], MORE),
        ([0.5], MORE),  # one seed merges nothing in this race
        ([0.003, 0.001], DROP),  # mean 0.2 s0 exactly
        ([0.003, 0.00101], MORE),
        ([0.015, 0.001], MORE),  # mean 0.8 s0 exactly
        ([0.015, 0.00101], MERGE),
        ([0.004, 0.005, 0.006], MORE),
        ([0.004, 0.005, 0.006, 0.005], MERGE),
        ([0.004, 0.005, 0.020, -0.004], PARK),
        ([0.004, 0.005, -0.010, -0.010], DROP),
        ([0.0] * 4, DROP),
        ([0.004] * 4, MERGE),
    ],
)
def test_the_race_on_1_2_and_4_seeds(x: list[float], decision: RaceDecision) -> None:
    assert race(x, S0, RaceRule()) is decision


@pytest.mark.parametrize(
    ("x", "decision"), [([], MORE), ([0.0], DROP), ([0.0025], PARK), ([0.0026], MERGE)]
)
def test_the_race_of_a_single_look(x: list[float], decision: RaceDecision) -> None:
    assert race(x, S0, RaceRule(seeds=(1,))) is decision


def test_a_noise_of_zero_never_merges_identical_trees() -> None:
    for rule in (RaceRule(), RaceRule(seeds=(1,)), RaceRule(seeds=(2,)), RaceRule(seeds=(2, 4))):
        assert race([0.0] * 4, 0.0, rule) is DROP
        assert race([0.001] * 4, 0.0, rule) is MERGE


def test_next_look() -> None:
    looks = [next_look(n, RaceRule()) for n in range(6)]
    assert looks == [1, 2, 4, 4, None, None]


@pytest.mark.parametrize("seeds", [(), (0, 1), (2, 1), (1, 1)])
def test_looks_must_increase(seeds: tuple[int, ...]) -> None:
    with pytest.raises(ValueError):
        RaceRule(seeds=seeds)


def test_a_race_cannot_drop_what_it_would_merge() -> None:
    with pytest.raises(ValueError):
        RaceRule(drop=0.9)
    assert race([0.01, 0.01], S0, RaceRule(drop=0.5, merge=0.5)) is MERGE


@given(
    st.lists(EFFECTS, max_size=6), st.sampled_from([(1, 2, 4), (1,), (2, 4), (1, 3), (3,)]), EFFECTS
)
def test_the_first_decision_stands_and_units_do_not_matter(
    x: list[float], seeds: tuple[int, ...], later: float
) -> None:
    rule = RaceRule(seeds=seeds)
    decision = race(x, S0, rule)
    if decision is not MORE:
        assert race([*x, later], S0, rule) is decision
    else:
        assert next_look(len(x), rule) is not None
    # A power of two, so that nothing is rounded.
    assert race([64 * v for v in x], 64 * S0, rule) is decision


@given(st.lists(EFFECTS, min_size=4, max_size=4))
def test_the_race_is_what_the_document_says(x: list[float]) -> None:
    """The rule of ARCHITECTURE.md, written down a second time in its own words."""
    two, four = sum(x[:2]) / 2, sum(x) / 4
    assume(min(abs(two - 0.002), abs(two - 0.008), abs(four)) > 1e-9)
    if x[0] <= 0 or two <= 0.002:
        expected = DROP
    elif two > 0.008:
        expected = MERGE
    elif four <= 0:
        expected = DROP
    else:
        assume(len(set(x)) > 1)
        expected = MERGE if scipy_p(x) < 0.10 else PARK
    assert race(x, S0, RaceRule()) is expected


# --- certificates --------------------------------------------------------------------------------


def test_levels_sum_to_at_most_five_percent_however_often_is_asked() -> None:
    assert certificate_level(1) == 0.025
    assert certificate_level(5) == pytest.approx(0.05 / 30)
    assert certificate_level(2, level=0.01) == pytest.approx(0.01 / 6)
    total = math.fsum(certificate_level(j) for j in range(1, 10_000))
    assert 0.04999 < total <= 0.05
    spent = math.fsum(level for j in range(1, 10_000) for _, level in RULE.looks(j))
    assert 0.04999 < spent <= 0.05 + 1e-12
    with pytest.raises(ValueError):
        certificate_level(0)


def test_late_certificates_may_look_a_third_time() -> None:
    assert RULE.looks(1) == ((4, 0.15 * 0.025), (8, 0.85 * 0.025))
    assert [n for n, _ in RULE.looks(5)] == [4, 8]
    sixth = 0.05 / 42
    assert RULE.looks(6) == ((4, 0.25 * sixth), (8, 0.25 * sixth), (16, 0.5 * sixth))


@pytest.mark.parametrize(
    "change",
    [
        {"seeds": (1, 4)},
        {"seeds": (8, 4)},
        {"seeds": (4, 8, 16)},
        {"shares": (0.5, 0.6)},
        {"shares": (0.0, 1.0)},
        {"late_shares": (0.5, 0.5)},
    ],
)
def test_a_rule_cannot_spend_more_than_it_has(change: dict[str, tuple[float, ...]]) -> None:
    with pytest.raises(ValueError):
        replace(RULE, **change)  # type: ignore[arg-type]


CLEAR = [0.018, 0.020, 0.022, 0.020]
VAGUE = [0.030, 0.001, 0.012, 0.004]


@pytest.mark.parametrize(
    ("x", "status", "n"),
    [
        (CLEAR[:1], CertificateStatus.MORE, 1),
        (CLEAR[:3], CertificateStatus.MORE, 3),
        (CLEAR, CERTIFIED, 4),
        ([*CLEAR, -1.0], CERTIFIED, 4),  # what was trained after the decision is not used
        (VAGUE, CertificateStatus.MORE, 4),
        ([*VAGUE, 0.010, 0.010, 0.010], CertificateStatus.MORE, 7),
        ([*VAGUE, 0.010, 0.012, 0.011, 0.009], CERTIFIED, 8),
        ([*VAGUE, 0.000, 0.020, 0.000, 0.001], FAILED, 8),  # better, but not surely
        ([*VAGUE, -0.02, -0.02, -0.02, -0.02], FAILED, 8),
        ([0.002] * 4, FAILED, 4),  # certain, and not worth having
        ([0.0] * 4, FAILED, 4),
        ([0.0021] * 4, CERTIFIED, 4),
        ([0.11, 0.10, 0.12, -0.07], UNSTABLE, 4),  # learning rate x 2.7
        ([0.11, 0.10, 0.12, -0.03], CertificateStatus.MORE, 4),  # 3 s0 exactly
        ([*VAGUE, 0.11, 0.10, 0.12, -0.07], UNSTABLE, 8),
        ([-0.07, -0.08, -0.07, -0.07], FAILED, 4),  # bad everywhere is not unstable
    ],
)
def test_a_first_certificate(x: list[float], status: CertificateStatus, n: int) -> None:
    decision = certify(x, S0, RULE, j=1)
    assert (decision.status, decision.n) == (status, n)
    assert decision.worst == min(x[:n])
    assert decision.mean == pytest.approx(sum(x[:n]) / n)
    assert decision.sentence.startswith(f"{status}: ")


def test_the_evidence_and_the_level_are_written_down() -> None:
    waiting, early = certify(CLEAR[:2], S0, RULE, 1), certify(CLEAR, S0, RULE, 1)
    assert (waiting.level, waiting.level_spent) == (0.15 * 0.025, 0.0)
    assert (early.level, early.level_spent) == (0.15 * 0.025, 0.15 * 0.025)
    late = certify([*VAGUE, 0.010, 0.012, 0.011, 0.009], S0, RULE, 1)
    assert (late.level, late.level_spent) == (pytest.approx(0.85 * 0.025), pytest.approx(0.025))
    assert late.p == p_value([*VAGUE, 0.010, 0.012, 0.011, 0.009], 0.002)
    assert late.margin == 0.002
    assert early.sentence == (
        "certified: -2.0 % perplexity (95 % -2.2 to -1.7 %) on 4 fresh seeds, the worst -1.8 %; "
        "p = 0.0001 of a gain over 0.002 nats, needed below 0.00375"
    )
    effect = paired(CLEAR)
    assert (early.low, early.high) == (effect.low, effect.high)


def test_one_fresh_seed_is_told_without_an_interval() -> None:
    decision = certify([-0.01], S0, RULE, 1)
    assert (decision.low, decision.high) == (None, None)
    assert "more: +1.0 % perplexity on 1 fresh seed, the worst +1.0 %" in decision.sentence


def test_later_certificates_ask_for_more() -> None:
    x = [0.010, 0.016, 0.012, 0.018]
    assert certify(x, S0, RULE, j=1).status is CERTIFIED
    assert certify(x, S0, RULE, j=5).status is CertificateStatus.MORE
    steady = [0.004, 0.008, 0.006, 0.001] * 2
    assert certify(steady, S0, RULE, j=5).status is FAILED
    assert certify(steady, S0, RULE, j=6).status is CertificateStatus.MORE
    assert certify(steady * 2, S0, RULE, j=6).status is CERTIFIED


def test_a_noisy_split_raises_the_margin() -> None:
    assert certify(CLEAR, S0, RULE, 1, margin=0.019).status is CertificateStatus.MORE
    assert certify(CLEAR, S0, RULE, 1, margin=0.020001).status is FAILED
    assert certify(CLEAR, S0, RULE, 1, margin=0.019).margin == 0.019
    assert certify([0.001] * 4, S0, RULE, 1, margin=0.0).status is CERTIFIED


@given(st.lists(EFFECTS, min_size=8, max_size=8), st.integers(1, 5))
def test_the_certificate_is_what_the_document_says(x: list[float], j: int) -> None:
    """The rule of ARCHITECTURE.md, written down a second time in its own words."""
    expected = CertificateStatus.MORE
    for n, level in ((4, 0.0075 / (j * (j + 1))), (8, 0.0425 / (j * (j + 1)))):
        mean = sum(x[:n]) / n
        assume(abs(mean - 0.002) > 1e-9 and abs(min(x[:n]) + 0.03) > 1e-9)
        assume(len(set(x[:n])) > 1)
        if mean <= 0.002:
            expected = FAILED
        elif min(x[:n]) < -0.03:
            expected = UNSTABLE
        elif scipy_p(x[:n], 0.002) < level:
            expected = CERTIFIED
        if expected is not CertificateStatus.MORE:
            break
    else:
        expected = FAILED
    assert certify(x, S0, RULE, j).status is expected


@given(st.lists(EFFECTS, min_size=1, max_size=16), EFFECTS, st.integers(1, 12))
def test_a_certificate_does_not_change_with_what_comes_later(
    x: list[float], later: float, j: int
) -> None:
    decision = certify(x, S0, RULE, j)
    if decision.status is not CertificateStatus.MORE:
        assert certify([*x, later], S0, RULE, j) == decision
    assert decision.level_spent <= certificate_level(j) + 1e-12


def test_luck_is_certified_no_more_often_than_the_level_allows() -> None:
    """True gain exactly at the margin, the hardest null: errors stay within 0.05 / 2."""
    rng, runs = Random(1), 4000
    certified = sum(
        certify([rng.gauss(0.002, 0.006) for _ in range(8)], S0, RULE, 1).status is CERTIFIED
        for _ in range(runs)
    )
    # Expected 2.2 %; four standard errors are 1 %.
    assert 0.012 < certified / runs < 0.032


def test_nothing_unmeasured_is_decided_on() -> None:
    with pytest.raises(ValueError):
        race([math.nan], S0, RaceRule())
    with pytest.raises(ValueError):
        certify([0.02, 0.02, math.inf, 0.02], S0, RULE, 1)
    with pytest.raises(ValueError):
        certify([], S0, RULE, 1)


def test_importing_it_costs_nothing() -> None:
    code = (
        "import sys, darwin_git.domain.statistics, darwin_git.domain.selection;"
        "sys.exit('numpy' in sys.modules or 'scipy' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_quantiles_kept_at_hand_are_scipys() -> None:
    for (probability, df), value in _QUANTILES.items():
        assert value == pytest.approx(t.ppf(probability, df), rel=1e-9)
