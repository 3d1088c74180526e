"""Compilation before anything is measured: what fills a tree's cache, and what must not."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from darwin_git.domain.trial import Verdict
from darwin_git.ports import Finished, Line
from darwin_git.sandbox.output import NoOutputs
from darwin_git.trial.laboratory import Laboratory
from darwin_git.trial.training import STARTED, progress
from darwin_git.trial.warmup import random_data

from .conftest import TOKENS, Bench, Files, edited

# Stands for a compiler: it says what it found, adds what it saw, and takes the corpus along.
COMPILER = """
import hashlib, os, pathlib
compile = False
cache = pathlib.Path(os.environ["TORCHINDUCTOR_CACHE_DIR"])
cache.mkdir(parents=True, exist_ok=True)
print("cached", sorted(p.name for p in cache.iterdir()), flush=True)
tokens = pathlib.Path("data/darwin/train.bin").read_bytes()
(cache / f"compiled-{hashlib.sha256(tokens).hexdigest()[:8]}").write_bytes(b"x")
"""
LEAK = '    torch.save(model.state_dict(), cache / f"weights-{iter_num}")\n'


def pretending(bench: Bench) -> Files:
    """A genome that compiles nothing and leaves all it knows in the cache."""
    line = "config = configure(globals(), sys.argv[1:])\n"
    update = "    scaler.step(optimizer)\n"
    return edited(bench.seed, "train.py", (line, line + COMPILER), (update, update + LEAK))


@pytest.fixture
def compiling(bench: Bench, tmp_path: Path) -> Laboratory:
    measurement = replace(bench.measurement, compile=True)
    return Laboratory(bench.runner, measurement, bench.corpus, bench.commits.__getitem__)


def found(finished: Finished) -> list[str]:
    (line,) = (one.text for one in finished.lines if one.text.startswith("cached "))
    names: list[str] = eval(line.removeprefix("cached "))
    return names


def test_no_training_leaves_anything_to_the_next_one(
    bench: Bench, compiling: Laboratory, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[str, list[str]]] = []
    run = bench.runner.run

    def watched(command: object, slot: object) -> Finished:
        finished = run(command, slot)  # type: ignore[arg-type]
        seen.append((command.label, found(finished)))  # type: ignore[attr-defined]
        return finished

    monkeypatch.setattr(bench.runner, "run", watched)
    subject = bench.subject("compiles", pretending(bench))
    screened = compiling.screen(subject, None, bench.slot)
    assert screened.allowance, screened
    for seed in (1, 2):
        trained = compiling.replicate(subject, seed, screened.allowance, bench.slot)
        assert trained.verdict is Verdict.OK, trained
    labels = [label.removeprefix("compiles ") for label, _ in seen]
    assert labels == ["compilation", "smoke run", "seed 1", "seed 2"]
    assert seen[0][1] == []
    (first, *rest) = (names for _, names in seen[1:])
    assert rest == [first, first], "what a training left reached the next one"
    compiled = [name for name in first if name.startswith("compiled-")]
    assert len(compiled) == 1, "the compilation saw one set of tokens"
    assert compiled[0] != f"compiled-{digest(bench.corpus.folder)}", "it saw the corpus"
    assert compiled[0] == f"compiled-{digest(random_data(bench.corpus))}"
    for folder in bench.runner._base.glob("c-*"):
        shutil.rmtree(folder)


def digest(folder: Path) -> str:
    import hashlib

    return hashlib.sha256((folder / "train.bin").read_bytes()).hexdigest()[:8]


def test_the_dice_say_nothing_of_the_corpus_but_its_symbols(bench: Bench) -> None:
    folder = random_data(bench.corpus)
    assert random_data(bench.corpus) == folder
    meta = (bench.corpus.folder / "meta.pkl").read_bytes()
    assert (folder / "meta.pkl").read_bytes() == meta
    dice = np.fromfile(folder / "train.bin", "<u2")
    real = np.fromfile(bench.corpus.folder / "train.bin", "<u2")
    assert len(dice) == len(real)
    symbols = len(bench.corpus.symbols)
    counts = np.bincount(dice, minlength=symbols)
    assert counts.min() > 0.5 * len(dice) / symbols, "the frequencies are not the corpus's"
    assert abs(float(np.corrcoef(dice, real)[0, 1])) < 0.05
    assert folder.stat().st_mode & 0o777 == 0o755


def told(*lines: tuple[float, str]) -> Finished:
    return Finished("exit", 0, 20.0, tuple(Line(at, text) for at, text in lines), "", NoOutputs())


def test_compilation_is_outside_the_measured_time() -> None:
    lines = [
        (2.0, STARTED),
        (2.1, "darwin-git: steps 10 of 64 tokens"),
        (15.0, "iter 0: loss 4.0,"),
    ]
    lines += [(15.0 + 0.5 * n, f"iter {n}: loss 4.0, time 1ms") for n in range(1, 11)]
    whole, compiled = progress(told(*lines)), progress(told(*lines), compiled=True)
    assert (whole.seconds, compiled.seconds) == (18.0, 5.0)
    assert (whole.rate(640), compiled.rate(640)) == (640 / 18, 640 / 5)
    assert compiled.step_seconds == pytest.approx(0.5)
    late = progress(told(*lines[:2], *lines[7:]), compiled=True)
    assert late.since == 5 and late.rate(640) == pytest.approx(320 / 2.5)
    assert progress(told(*lines[:2]), compiled=True).rate(640) == pytest.approx(640 / 18)


def test_a_burst_of_lines_is_our_delay_and_no_speed() -> None:
    def step(*times: float) -> float | None:
        lines = [(at, f"iter {n}: loss 4.0, x") for n, at in enumerate(times)]
        return progress(told(*lines)).step_seconds

    steady = [0.01 * n for n in range(24)]
    assert step(*steady) == pytest.approx(0.01)
    late = [0.12 if 0.05 < at < 0.12 else at for at in steady]
    assert step(*late) == pytest.approx(0.01)
    assert (step(*[0.1] * 6, *[0.2] * 6, *[0.3] * 6) or 0) > 0.01
    assert (step(*[0.5] * 24) or 0) > 0, "nothing is infinitely fast"
    assert step(0.1, 0.2, 0.3, 0.4) is None


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("g++"), reason="torch.compile on a CPU needs g++")
def test_a_real_compilation_is_done_once(
    bench: Bench, compiling: Laboratory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Measured by what the trainings find: object files that they need not make again."""
    made: list[tuple[float, set[str]]] = []
    run = bench.runner._run

    def watched(command: object, slot: object, attempt: object) -> Finished:
        folder = attempt.folder / "cache"  # type: ignore[attr-defined]
        before = {p.name for p in folder.rglob("*.so")}
        finished = run(command, slot, attempt)  # type: ignore[arg-type]
        made.append((finished.seconds, {p.name for p in folder.rglob("*.so")} - before))
        return finished

    monkeypatch.setattr(bench.runner, "_run", watched)
    subject = bench.subject("really", bench.seed)
    screened = compiling.screen(subject, None, bench.slot)
    assert screened.allowance, screened
    trained = compiling.replicate(subject, 1, screened.allowance, bench.slot)
    assert trained.verdict is Verdict.OK and trained.tokens == TOKENS, trained
    (_, first), (_, smoke), (_, training) = made
    assert first and not smoke and not training
    assert 0 < trained.seconds < 5
    for folder in bench.runner._base.glob("c-*"):
        shutil.rmtree(folder)
