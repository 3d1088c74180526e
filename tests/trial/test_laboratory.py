"""Trials from the commit to the number, with real trainings of a tiny genome."""

import os
import pickle
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from darwin_git.domain.trial import Allowance, Subject, Verdict
from darwin_git.ports import File
from darwin_git.sandbox.process import ProcessRunner
from darwin_git.trial.laboratory import Laboratory

from .conftest import BLOCK, CONFIG, STEPS, TOKENS, Bench, Files, edited

UPDATE = "    scaler.step(optimizer)\n"


def test_a_genome_is_screened_trained_and_scored(bench: Bench, baseline: Allowance) -> None:
    assert (baseline.tokens, baseline.block_size) == (TOKENS, BLOCK)
    assert (baseline.flops_ratio, baseline.wall_ratio) == (1.0, 1.0)
    assert 0 < baseline.step_seconds < 0.01
    subject = bench.subject("seed", {**bench.seed, "darwin.toml": File(b"not measured")})
    first = bench.laboratory.replicate(subject, 1, baseline, bench.slot, final=True)
    assert first.verdict is Verdict.OK, first
    assert [probe.passed for probe in first.probes] == [True, True]
    assert len(first.scored) == len(first.final) == 4
    assert 2.0 < first.loss < 4.2
    assert first.scored != first.final
    assert first.tokens == TOKENS
    assert first.tokens_per_second == pytest.approx(TOKENS / first.seconds)
    assert first.mfu and 0 < first.mfu < 1
    assert first.curve[0][0] == 0 and first.curve[-1][0] == STEPS
    assert first.log == ""
    # the same seed is the same training, another one is not
    again = bench.laboratory.replicate(subject, 1, baseline, bench.slot)
    assert again.scored == first.scored and again.final == ()
    other = bench.laboratory.replicate(subject, 2, baseline, bench.slot)
    assert other.scored != first.scored
    assert other.loss == pytest.approx(first.loss, abs=0.3)


def test_half_the_batch_sees_the_same_tokens_in_twice_the_steps(
    bench: Bench, baseline: Allowance
) -> None:
    subject = bench.subject(
        "half", edited(bench.seed, CONFIG, ("batch_size = 8", "batch_size = 4"))
    )
    trained = bench.laboratory.replicate(subject, 1, baseline, bench.slot, factor=0.5)
    assert trained.verdict is Verdict.OK, trained
    assert trained.tokens == TOKENS // 2
    assert trained.curve[-1][0] == STEPS  # half the tokens, half the batch


def test_a_wider_variant_gets_fewer_tokens(bench: Bench, baseline: Allowance) -> None:
    screened = bench.screen(edited(bench.seed, CONFIG, ("n_embd = 32", "n_embd = 64")), baseline)
    allowance = screened.allowance
    assert screened.verdict is Verdict.OK and allowance, screened
    assert allowance.flops_ratio > 2
    assert allowance.tokens == pytest.approx(TOKENS * 1.05 / allowance.flops_ratio, abs=1)
    assert allowance.block_size == baseline.block_size


def test_probes_tolerate_what_the_baseline_itself_shows(bench: Bench, baseline: Allowance) -> None:
    assert 0 < baseline.deviation < 1e-4
    # An odd context moves one logit by 5e-4: more than the floor, less than 8 times 1e-4.
    moved = "        logits = self.lm_head(x)\n        logits[..., 0] += 5e-4 * (T % 2)\n"
    files = edited(bench.seed, "model.py", ("        logits = self.lm_head(x)\n", moved))
    rough = replace(baseline, deviation=1e-4)
    assert bench.screen(files, baseline).verdict is Verdict.CHEATED
    screened = bench.screen(files, rough)
    assert screened.verdict is Verdict.OK and screened.allowance, screened
    assert screened.allowance.deviation == rough.deviation
    own = bench.screen(files).allowance
    assert own and own.deviation == pytest.approx(5e-4, rel=0.2)
    subject = bench.subject("moved", files)
    for allowance, verdict in (
        (screened.allowance, Verdict.OK),
        (replace(screened.allowance, deviation=0.0), Verdict.CHEATED),
    ):
        trained = bench.laboratory.replicate(subject, 1, allowance, bench.slot)
        assert trained.verdict is verdict, trained


# --- failures are data ---------------------------------------------------------------------------


def without(files: Files, path: str) -> dict[str, File]:
    return {name: file for name, file in files.items() if name != path}


def test_rules_are_checked_before_anything_runs(bench: Bench, baseline: Allowance) -> None:
    seed = bench.seed
    broken = edited(seed, "train.py", ("iter_num = 0", "iter_num = = 0"))
    cases: list[tuple[Files, Verdict, str, str]] = [
        (broken, Verdict.CRASHED, "syntax", "train.py:"),
        ({**seed, "new.py": File(b"\0")}, Verdict.CRASHED, "syntax", "new.py"),
        ({**seed, "new.py": File(b"(" * 5000)}, Verdict.CRASHED, "syntax", "new.py"),
        (without(seed, "model.py"), Verdict.REJECTED, "rule", "model.py is missing"),
        (without(seed, CONFIG), Verdict.REJECTED, "rule", f"{CONFIG} is missing"),
        (without(seed, "configurator.py"), Verdict.REJECTED, "rule", "configurator.py"),
        ({**seed, "model.py": File(b"class GPT: pass")}, Verdict.REJECTED, "rule", "GPTConfig"),
        ({**seed, "blob": File(bytes(3 << 20))}, Verdict.REJECTED, "rule", "blob"),
        (
            {**seed, **{f"f{n}": File(b"") for n in range(2001)}},
            Verdict.REJECTED,
            "rule",
            "files",
        ),
        (
            edited(seed, "model.py", ("forward(self, idx, targets=None)", "forward(self, idx)")),
            Verdict.REJECTED,
            "rule",
            "targets",
        ),
    ]
    for files, verdict, failure, words in cases:
        screened = bench.screen(files, baseline)
        assert (screened.verdict, screened.failure) == (verdict, failure), screened
        assert words in screened.reason
        assert screened.allowance is None


CRASHES = {
    "import": (
        "model.py",
        ("import torch\n", "import torch\nimport flash_attention_9\n"),
        (Verdict.CRASHED, "import", "flash_attention_9"),
    ),
    "shape": (
        "model.py",
        ("        logits = self.lm_head(x)\n", "        logits = self.lm_head(x[..., :7])\n"),
        (Verdict.CRASHED, "shape", "mat1 and mat2"),
    ),
    "optimizer": (
        "train.py",
        (UPDATE, "    optimizer.stepp()\n"),
        (Verdict.CRASHED, "other", "stepp"),
    ),
    "memory": (
        "train.py",
        (UPDATE, UPDATE + "    hog = torch.ones(1 << 31)\n"),
        (Verdict.OOM, "oom", "memory"),
    ),
    "nan": (
        "train.py",
        (UPDATE, UPDATE + "    [p.data.fill_(float('nan')) for p in model.parameters()]\n"),
        (Verdict.DIVERGED, "nan", "not finite"),
    ),
    "silence": (
        "train.py",
        ("iter {iter_num}: loss", "it {iter_num} loss"),
        (Verdict.REJECTED, "rule", "iter N: loss"),
    ),
    "shadowed budget": (
        "train.py",
        ("# ---- Training ----\n", "max_iters = 60\n"),
        (Verdict.REJECTED, "rule", "its tokens allow 12"),
    ),
    "no checkpoint": (
        "train.py",
        ("torch.save(checkpoint, checkpoint_path)", "pass"),
        (Verdict.REJECTED, "rule", "ckpt.pt"),
    ),
    "look-ahead": (
        "model.py",
        ("is_causal=True", "is_causal=False"),
        (Verdict.CHEATED, "rule", "later tokens"),
    ),
}


@pytest.mark.parametrize("name", CRASHES)
def test_a_failure_of_the_smoke_run_has_a_class_and_a_log(
    bench: Bench, baseline: Allowance, name: str
) -> None:
    path, edit, (verdict, failure, words) = CRASHES[name]
    screened = bench.screen(edited(bench.seed, path, edit), baseline)
    assert (screened.verdict, screened.failure) == (verdict, failure), screened
    assert words in screened.reason
    assert screened.log and len(screened.log) < 5000
    if verdict is Verdict.CRASHED:
        assert "Traceback" in screened.log


def test_a_training_that_hangs_is_killed(bench: Bench, baseline: Allowance) -> None:
    hanging = replace(bench.measurement, min_deadline_seconds=8)
    laboratory = Laboratory(bench.runner, hanging, bench.corpus, bench.commits.__getitem__)
    files = edited(bench.seed, "train.py", (UPDATE, "    while True: time.sleep(1)\n"))
    subject = bench.subject("hang", files)
    trained = laboratory.replicate(subject, 1, replace(baseline, step_seconds=1e-6), bench.slot)
    assert (trained.verdict, trained.failure) == (Verdict.TIMEOUT, "timeout")


# --- durability ----------------------------------------------------------------------------------

TOOL = """
import os, pickle, signal, sys
from pathlib import Path
from darwin_git.sandbox.process import ProcessRunner
from darwin_git.trial.laboratory import Laboratory

base, corpus, measurement, files, subject, allowance, slot, moment = pickle.loads(
    Path(sys.argv[1]).read_bytes())
runner = ProcessRunner(base)
die = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
if moment == "scoring":
    runner.converse = die
elif moment == "discarding":
    run = runner.run
    def to_discard(command, slot):
        finished = run(command, slot)
        object.__setattr__(finished.outputs, "on_discard", die)
        return finished
    runner.run = to_discard
laboratory = Laboratory(runner, measurement, corpus, lambda _: files, results=base / "../results")
laboratory.replicate(subject, 7, allowance, slot)
"""


def killed(bench: Bench, baseline: Allowance, folder: Path, moment: str) -> Subject:
    """A replicate in a process of its own, killed at a moment."""
    subject = bench.subject("killed", bench.seed)
    given = (bench.corpus, bench.measurement, bench.seed, subject, baseline, bench.slot, moment)
    (folder / "given").write_bytes(pickle.dumps((folder / "attempts", *given)))
    code = subprocess.run(
        [sys.executable, "-c", TOOL, str(folder / "given")],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        check=False,
    ).returncode
    assert code == -signal.SIGKILL
    return subject


def untrained(runner: ProcessRunner) -> list[str]:
    """Grows where the runner trains once more."""
    trained: list[str] = []
    start = runner._run

    def forbid(*arguments: object) -> object:
        trained.append("trained again")
        return start(*arguments)  # type: ignore[arg-type]

    runner._run = forbid  # type: ignore[assignment,method-assign]
    return trained


def test_a_training_that_was_paid_for_is_only_scored_after_a_kill(
    bench: Bench, baseline: Allowance, tmp_path: Path
) -> None:
    base = tmp_path / "attempts"
    subject = killed(bench, baseline, tmp_path, "scoring")
    (kept,) = base.glob("*.json")
    runner = ProcessRunner(base)
    # a training that were run again would leave this mark
    (checkpoint,) = base.glob("*/out/ckpt.pt")
    trained_at = checkpoint.stat().st_mtime_ns
    laboratory = Laboratory(runner, bench.measurement, bench.corpus, bench.commits.__getitem__)
    assert laboratory.reap() == 0
    assert kept.exists() and checkpoint.stat().st_mtime_ns == trained_at
    trained_again = untrained(runner)
    scored = laboratory.replicate(subject, 7, baseline, bench.slot)
    assert scored.verdict is Verdict.OK and scored.seconds > 0 and scored.curve
    assert trained_again == []
    assert list(base.iterdir()) == [], "scored checkpoints are deleted"


def test_a_replicate_that_was_scored_is_returned_after_a_kill(
    bench: Bench, baseline: Allowance, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = tmp_path / "attempts"
    subject = killed(bench, baseline, tmp_path, "discarding")
    runner = ProcessRunner(base)
    laboratory = Laboratory(
        runner,
        bench.measurement,
        bench.corpus,
        bench.commits.__getitem__,
        results=tmp_path / "results",
    )
    assert list(base.glob("*/out/ckpt.pt"))
    assert laboratory.reap() == 1, "its checkpoint was scored: nobody needs it any more"
    assert list(base.iterdir()) == []
    monkeypatch.setattr(runner, "run", None)
    kept = laboratory.replicate(subject, 7, baseline, bench.slot)
    assert kept.verdict is Verdict.OK and kept.scored and kept.probes and kept.curve
    assert laboratory.replicate(subject, 7, baseline, bench.slot) == kept


def test_a_result_that_cannot_be_written_costs_no_training(
    bench: Bench, baseline: Allowance, tmp_path: Path
) -> None:
    base, results = tmp_path / "attempts", tmp_path / "results"
    runner = ProcessRunner(base)
    laboratory = Laboratory(
        runner, bench.measurement, bench.corpus, bench.commits.__getitem__, results=results
    )
    subject = bench.subject("full", bench.seed)
    key = f"{laboratory.identity(subject.tree)}-s7-t{baseline.tokens}"
    in_the_way = results / f"{key}.json.tmp"  # as good as a full disk
    in_the_way.mkdir(parents=True)
    with pytest.raises(OSError):
        laboratory.replicate(subject, 7, baseline, bench.slot)
    assert list(base.glob("*/out/ckpt.pt"))
    in_the_way.rmdir()
    trained_again = untrained(runner)
    assert laboratory.replicate(subject, 7, baseline, bench.slot).verdict is Verdict.OK
    assert trained_again == []
    assert list(base.iterdir()) == [] and len(list(results.iterdir())) == 1


def test_a_screen_is_kept_so_that_a_tree_is_granted_the_same_tokens_again(
    bench: Bench, baseline: Allowance, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runner = ProcessRunner(tmp_path / "attempts")
    laboratory = Laboratory(
        runner,
        bench.measurement,
        bench.corpus,
        bench.commits.__getitem__,
        results=tmp_path / "results",
    )
    subject = bench.subject("kept", bench.seed)
    first = laboratory.screen(subject, baseline, bench.slot)
    assert first.verdict is Verdict.OK and first.allowance
    monkeypatch.setattr(runner, "run", None)
    assert laboratory.screen(subject, baseline, bench.slot) == first
    with pytest.raises(TypeError):  # compared with another baseline it is another screen
        laboratory.screen(subject, None, bench.slot)
