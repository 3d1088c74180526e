"""Trials in real containers: screened, trained, scored, repeatable, with named verdicts."""

from dataclasses import replace

import pytest

from darwin_git.domain.trial import Allowance, Verdict
from darwin_git.ports import Runner
from darwin_git.trial.laboratory import Laboratory

from .conftest import TOKENS, Bench, edited


@pytest.fixture(scope="module")
def laboratory(bench: Bench, containers: Runner) -> Laboratory:
    measurement = replace(bench.measurement, min_deadline_seconds=180)
    return Laboratory(
        containers,
        measurement,
        bench.corpus,
        bench.commits.__getitem__,
        memory_bytes=2 << 30,
        output_bytes=256 << 20,
    )


@pytest.fixture(scope="module")
def allowance(bench: Bench, laboratory: Laboratory) -> Allowance:
    screened = laboratory.screen(bench.subject("seed", bench.seed), None, bench.slot)
    assert screened.verdict is Verdict.OK and screened.allowance, screened
    return screened.allowance


def test_a_genome_is_screened_trained_and_scored_in_containers(
    bench: Bench, laboratory: Laboratory, allowance: Allowance
) -> None:
    subject = replace(bench.subject("foreign", bench.seed), trusted=False)
    trained = laboratory.replicate(subject, 1, allowance, bench.slot, final=True)
    assert trained.verdict is Verdict.OK, trained
    assert trained.tokens == TOKENS and trained.seconds > 0 and trained.curve
    assert [probe.passed for probe in trained.probes] == [True, True]
    assert len(trained.scored) == len(trained.final) == 4
    assert 2.0 < trained.loss < 4.2
    again = laboratory.replicate(subject, 1, allowance, bench.slot)
    assert again.scored == trained.scored and again.final == ()


def test_a_look_ahead_is_caught_in_containers(
    bench: Bench, laboratory: Laboratory, allowance: Allowance
) -> None:
    files = edited(bench.seed, "model.py", ("is_causal=True", "is_causal=False"))
    screened = laboratory.screen(bench.subject("peeks", files), allowance, bench.slot)
    assert screened.verdict is Verdict.CHEATED, screened


def test_a_crash_in_a_container_has_a_class_and_a_log(
    bench: Bench, laboratory: Laboratory, allowance: Allowance
) -> None:
    files = edited(
        bench.seed, "train.py", ("    scaler.step(optimizer)\n", "    optimizer.stepp()\n")
    )
    screened = laboratory.screen(bench.subject("crashes", files), allowance, bench.slot)
    assert (screened.verdict, screened.failure) == (Verdict.CRASHED, "other"), screened
    assert "stepp" in screened.reason and "Traceback" in screened.log
