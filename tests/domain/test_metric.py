"""The number that counts: values, losses, gains, and how they read in each direction and scale."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from darwin_git.domain.evidence import replicate_fields, replicate_of, summary_note
from darwin_git.domain.metric import PERPLEXITY, Metric
from darwin_git.domain.statistics import (
    CertificateRule,
    CertificateStatus,
    RaceDecision,
    RaceRule,
    certify,
    in_words,
    noise,
    race,
)
from darwin_git.domain.trial import Judged, Replicate, Verdict

SECONDS = Metric("seconds", "min", "log")
SPEED = Metric("speed", "max", "log")
ACCURACY = Metric("accuracy", "max", "linear")
ERROR = Metric("error", "min", "linear")
ALL = (SECONDS, SPEED, ACCURACY, ERROR)


@given(st.sampled_from(ALL), st.floats(1e-9, 1e9), st.floats(1e-9, 1e9))
def test_a_smaller_loss_is_the_better_value_and_the_value_comes_back(
    metric: Metric, one: float, other: float
) -> None:
    better = one < other if metric.direction == "min" else one > other
    if abs(one - other) > 1e-6 * max(one, other):
        assert (metric.loss(one) < metric.loss(other)) is better
    assert metric.value(metric.loss(one)) == pytest.approx(one)


@pytest.mark.parametrize(
    ("metric", "before", "after", "change", "words"),
    [
        (SECONDS, 2.0, 1.0, -50.0, "-50.00 %"),
        (SPEED, 100.0, 150.0, 50.0, "+50.00 %"),
        (ACCURACY, 0.90, 0.95, 0.05, "+0.05"),
        (ERROR, 3.0, 1.0, -2.0, "-2"),
    ],
)
def test_a_gain_reads_as_what_it_does_to_the_value(
    metric: Metric, before: float, after: float, change: float, words: str
) -> None:
    gain = metric.loss(before) - metric.loss(after)
    assert gain > 0
    assert metric.change(gain) == pytest.approx(change)
    assert metric.change_words(gain) == words
    assert metric.in_words(gain, 2) == f"{words} {metric.name}"
    assert metric.change_words(0.0) == ("0 %" if metric.scale == "log" else "0")
    assert metric.change_words(None) == "-"
    assert Metric.of(metric.to_json()) == metric


@pytest.mark.parametrize("value", [0.0, -1.0])
def test_ratios_need_values_above_zero_and_differences_do_not(value: float) -> None:
    with pytest.raises(ValueError, match="above 0"):
        SECONDS.loss(value)
    assert ERROR.loss(value) == value
    for bad in (math.nan, math.inf):
        with pytest.raises(ValueError, match="finite"):
            ERROR.loss(bad)


def test_without_a_name_it_is_a_gpts_perplexity() -> None:
    assert Metric.of(None) == Metric.of({}) == PERPLEXITY
    assert PERPLEXITY.unit == "nats per token"
    assert SECONDS.unit == "of ln seconds"
    assert ERROR.unit == "of error"


def test_a_metric_without_any_noise_is_decided_at_once() -> None:
    losses = [SECONDS.loss(2.0)] * 8
    assert noise(losses) == 0.0
    assert in_words(0.0, 4, metric=SECONDS) == (
        "seconds is the same under every seed: no gain is luck"
    )
    rule = RaceRule(seeds=(1,))
    assert race([0.0], 0.0, rule) is RaceDecision.DROP
    assert race([1e-9], 0.0, rule) is RaceDecision.MERGE
    assert race([-1e-9], 0.0, rule) is RaceDecision.DROP
    claim = certify([0.1] * 4, 0.0, CertificateRule(), 1, metric=SECONDS)
    assert claim.status is CertificateStatus.CERTIFIED
    assert claim.sentence.startswith("certified: -9.5 % seconds (95 % -9.5 to -9.5 %) on 4 fresh")
    assert "0.002 of ln seconds" in claim.sentence
    within = certify([0.001] * 4, 0.0, CertificateRule(), 1, metric=SECONDS)
    assert within.status is CertificateStatus.FAILED


def test_differences_are_told_in_the_metrics_own_units() -> None:
    assert in_words(0.01, 4, metric=ACCURACY) == (
        "a gain under 0.012 of accuracy cannot be told from luck with 4 seeds"
    )
    claim = certify([0.05, 0.051, 0.049, 0.05], 0.01, CertificateRule(), 1, metric=ACCURACY)
    assert claim.sentence.startswith("certified: +0.05 accuracy (95 % +0.0513 to +0.0487) on 4")
    assert "a gain over 0.002 of accuracy" in claim.sentence
    assert "%" not in claim.sentence.replace("95 %", "")


def test_a_record_keeps_all_numbers_and_both_splits() -> None:
    judged = Judged(SPEED, {"speed": 8.0, "memory": 3.0}, {"speed": 2.0, "memory": 4.0})
    replicate = Replicate(3, Verdict.OK, seconds=1.5, judged=judged)
    assert replicate.measured
    assert replicate.loss == pytest.approx(-math.log(8.0))
    assert replicate.final_loss == pytest.approx(-math.log(2.0))
    fields = replicate_fields(replicate, 1.0)
    assert replicate_of(fields) == replicate
    note = summary_note([{"kind": "replicate", **fields}])
    assert note == "speed 8, 1 seed, 1.5 s"
    failed = Replicate(3, Verdict.CRASHED, reason="no")
    assert not failed.measured
    assert "judged" not in replicate_fields(failed, 1.0)


def test_a_metric_that_is_called_perplexity_is_still_the_programs_own() -> None:
    judged = Judged(Metric("perplexity"), {"perplexity": 8.0})
    fields = replicate_fields(Replicate(3, Verdict.OK, seconds=1.5, judged=judged), 1.0)
    assert summary_note([{"kind": "replicate", **fields}]) == "perplexity 8.000, 1 seed, 1.5 s"
