"""Kept results: what was measured comes back as it was, and only that."""

import os
import time
from dataclasses import replace
from pathlib import Path

import pytest

from darwin_git.domain.trial import Allowance, Probe, Replicate, Screened, Shard, Verdict
from darwin_git.trial.results import KEPT_SECONDS, Results

SHARDS = (Shard(12.5, 5, 6), Shard(0.1 + 0.2, 7, 9))
GOOD = Replicate(
    7,
    Verdict.OK,
    scored=SHARDS,
    seconds=1.5,
    tokens=100,
    tokens_per_second=66.7,
    mfu=0.25,
    exclusive=False,
    curve=((0, 4.1), (10, 3.2)),
    probes=(Probe("prefix", True), Probe("repeat", True)),
)
CHEATED = replace(
    GOOD,
    verdict=Verdict.CHEATED,
    reason="look",
    failure="rule",
    log="text",
    probes=(Probe("prefix", False, "3 of 9 deviate"),),
)


@pytest.fixture
def results(tmp_path: Path) -> Results:
    return Results(tmp_path / "results")


@pytest.mark.parametrize("one", [GOOD, CHEATED, Replicate(7, Verdict.TIMEOUT, "slow", "timeout")])
def test_every_verdict_comes_back(results: Results, one: Replicate) -> None:
    assert results.replicate("k-s7", final=False) is None
    results.keep_replicate("k-s7", one, 1.0)
    assert results.replicate("k-s7", final=False) == one
    assert results.keys() == {"k-s7"}


def test_faults_of_infrastructure_are_tried_again(results: Results) -> None:
    results.keep_replicate("k", Replicate(7, Verdict.INFRA), 1.0)
    results.keep_screen("s", Screened(Verdict.INFRA))
    assert results.keys() == frozenset()


def test_a_result_without_the_final_shards_does_not_answer_for_them(results: Results) -> None:
    results.keep_replicate("k", replace(GOOD, final=SHARDS), 1.0)
    assert results.replicate("k", final=True) == replace(GOOD, final=SHARDS)
    results.keep_replicate("k", CHEATED, 1.0)
    assert results.replicate("k", final=True) == CHEATED, "no training would give it any"
    results.keep_replicate("k", GOOD, 1.0)
    assert results.replicate("k", final=True) is None
    # else the checkpoint that is trained for them would look like one that was scored
    assert results.keys() == frozenset()


def test_screens_come_back(results: Results) -> None:
    allowance = Allowance(1000, 6000.0, 1e-4, 1.0, 1.1, 900, 64, 1e-5)
    for screened in (Screened(Verdict.OK, allowance=allowance), Screened(Verdict.OOM, "r", "oom")):
        results.keep_screen("s", screened)
        assert results.screen("s") == screened


def test_old_results_and_drafts_are_removed(results: Results, tmp_path: Path) -> None:
    for key in ("old", "new", "draft"):
        results.keep_replicate(key, GOOD, 1.0)
    folder = tmp_path / "results"
    (folder / "draft.json").rename(folder / "draft.json.tmp")
    old = time.time() - KEPT_SECONDS - 60
    os.utime(folder / "old.json", (old, old))
    results.reap()
    assert [path.name for path in folder.iterdir()] == ["new.json"]


def test_half_a_file_is_no_result(results: Results, tmp_path: Path) -> None:
    results.keep_replicate("k", GOOD, 1.0)
    path = tmp_path / "results" / "k.json"
    path.write_text(path.read_text()[:50])
    assert results.replicate("k", final=False) is None
    results.keep_replicate("k", GOOD, 1.0)
    assert results.replicate("k", final=False) == GOOD


def test_without_a_folder_nothing_is_kept() -> None:
    results = Results(None)
    results.reap()
    results.keep_replicate("k", GOOD, 1.0)
    assert results.replicate("k", final=False) is None and results.keys() == frozenset()
