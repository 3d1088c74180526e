"""The seed genome made tiny, a small corpus, and one training that many tests look at."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from darwin_git.domain.measurement import Measurement
from darwin_git.domain.trial import Allowance, Screened, Subject
from darwin_git.executors.local import plan_slots
from darwin_git.ports import Artifact, File, Finished, Limits, Runner, Slot
from darwin_git.sandbox.process import ProcessRunner
from darwin_git.trial.corpus import Corpus, prepare
from darwin_git.trial.laboratory import Laboratory
from darwin_git.trial.override import Grant
from darwin_git.trial.texts import default_corpus
from darwin_git.trial.training import CHECKPOINT, command

SEED_REPO = Path(__file__).parents[2] / "seed_repo"
CONFIG = "config/test.py"
BLOCK = 16
STEPS = 40
TOKENS = STEPS * 8 * BLOCK

SETTINGS = {
    "batch_size": 8,
    "block_size": BLOCK,
    "n_layer": 2,
    "n_head": 2,
    "n_embd": 32,
    "max_iters": 100,
    "lr_decay_iters": 100,
    "warmup_iters": 10,
}

Files = Mapping[str, File]


def seed_files() -> dict[str, File]:
    """The seed genome with a configuration of its own."""
    config = (SEED_REPO / "config" / "tiny_cpu.py").read_text()
    for name, value in SETTINGS.items():
        config, found = re.subn(rf"^{name} = .*$", f"{name} = {value}", config, flags=re.M)
        assert found == 1
    files = {
        path.relative_to(SEED_REPO).as_posix(): File(path.read_bytes())
        for path in SEED_REPO.rglob("*.py")
    }
    return {**files, CONFIG: File(config.encode())}


def edited(files: Files, path: str, *edits: tuple[str, str]) -> dict[str, File]:
    """The files with texts replaced; each must occur."""
    text = files[path].content.decode()
    for old, new in edits:
        assert old in text, f"{old!r} is not in {path}"
        text = text.replace(old, new)
    return {**files, path: File(text.encode())}


@dataclass
class Bench:
    """Everything a trial needs; `commits` is what the laboratory reads."""

    runner: ProcessRunner
    measurement: Measurement
    corpus: Corpus
    laboratory: Laboratory
    slot: Slot
    limits: Limits
    seed: Files
    commits: dict[str, Files]

    def subject(self, name: str, files: Files) -> Subject:
        self.commits[name] = files
        return Subject(name, f"tree-{name}", name, trusted=True)

    def screen(self, files: Files, reference: Allowance | None = None) -> Screened:
        return self.laboratory.screen(self.subject("screened", files), reference, self.slot)


@pytest.fixture(scope="session")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    folder = tmp_path_factory.mktemp("trial")
    corpus = prepare(default_corpus()[:60_000], folder / "cache")
    measurement = Measurement(
        ("train.py", CONFIG),
        TOKENS,
        corpus.identity,
        smoke_steps=12,
        scored_tokens=4096,
        min_deadline_seconds=40,
        # the machine that runs the tests is busy: only what a test asks for decides
        wall_ratio=50.0,
        wall_refuse=100.0,
    )
    runner = ProcessRunner(folder / "attempts")
    commits: dict[str, Files] = {}
    laboratory = Laboratory(
        runner, measurement, corpus, commits.__getitem__, memory_bytes=2 << 30, peak_flops=1e12
    )
    limits = Limits(40, 2 << 30, 1 << 30)
    slot = plan_slots()[-1]  # the first core is everybody's
    yield Bench(runner, measurement, corpus, laboratory, slot, limits, seed_files(), commits)
    assert list((folder / "attempts").glob("*")) == [], "something was left behind"


@pytest.fixture(scope="session")
def containers(engine_image: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runner]:
    """The container runner; all of its containers and volumes are gone afterwards."""
    from darwin_git.sandbox.docker import DockerRunner

    base = tmp_path_factory.mktemp("containers") / "attempts"
    runner = DockerRunner(base, engine_image)
    yield runner
    runner.clean()
    runner.close()
    left = [path for path in base.iterdir() if path.name not in ("clone", "caches", "volumes")]
    assert left == [], "something was left behind"


@pytest.fixture(params=["process", "docker"])
def wall(request: pytest.FixtureRequest, bench: Bench) -> Runner:
    """Both runners, one after the other."""
    if request.param == "process":
        return bench.runner
    runner: Runner = request.getfixturevalue("containers")
    return runner


@pytest.fixture(scope="session")
def baseline(bench: Bench) -> Allowance:
    """The seed genome's allowance."""
    screened = bench.screen(bench.seed)
    assert screened.allowance, screened
    return screened.allowance


@dataclass
class Trained:
    """A training's end and its checkpoint."""

    finished: Finished
    checkpoint: Artifact
    path: Path


@pytest.fixture(scope="session")
def trained(bench: Bench) -> Iterator[Trained]:
    """The seed genome trained once; its checkpoint is scored with other code by many tests."""
    training = command(
        bench.measurement,
        bench.seed,
        bench.corpus.folder,
        Grant(TOKENS, TOKENS),
        0,
        replace(bench.limits),
        label="seed",
        trusted=True,
    )
    finished = bench.runner.run(training, bench.slot)
    assert finished.exit_code == 0, finished.errors
    checkpoint = finished.outputs.artifact(CHECKPOINT)
    assert checkpoint
    yield Trained(finished, checkpoint, checkpoint.path)  # type: ignore[attr-defined]
    finished.outputs.discard()
