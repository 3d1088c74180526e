"""Which operators apply to an unmodified nanoGPT, and train there for two iterations.

    python benchmarks/operators_on_upstream.py PATH

PATH is a clone of karpathy/nanoGPT. Nothing is written there; the variants go to a temporary folder
with a small random data set. Exit code 1 if fewer than 15 structural operators run.
"""

import json
import os
import pickle
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from darwin_git.agents.operators import CATALOGUE, GenomeView, apply

CONFIG = "config/train_shakespeare_char.py"
SHORT = """
max_iters = 2; eval_interval = 2; eval_iters = 1; log_interval = 1; device = 'cpu'; compile = False
dtype = 'float32'; batch_size = min(batch_size, 4); block_size = 32; n_layer = min(n_layer, 3)
n_embd = 32 * n_head; wandb_log = False
"""
# One process for all: importing torch takes longer than two iterations.
WORKER = """
import contextlib, io, json, os, runpy, sys, traceback, warnings
warnings.simplefilter("ignore")
results = {}
for folder, arguments in json.load(sys.stdin):
    for name in ("model", "configurator"):
        sys.modules.pop(name, None)
    os.chdir(folder)
    sys.path[0] = folder
    sys.argv = arguments
    printed = io.StringIO()
    try:
        with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(io.StringIO()):
            runpy.run_path("train.py", run_name="__main__")
        results[folder] = "runs" if "iter 2:" in printed.getvalue() else "stops early"
    except BaseException:
        results[folder] = traceback.format_exc().strip().splitlines()[-1]
json.dump(results, sys.stdout)
"""


def main(upstream: Path) -> int:
    files = {
        path.relative_to(upstream).as_posix(): path.read_text(encoding="utf-8")
        for path in sorted(upstream.rglob("*.py"))
        if "data" not in path.relative_to(upstream).parts
    }
    view = GenomeView(files, ("train.py", CONFIG))
    with tempfile.TemporaryDirectory() as temporary:
        outcomes = run({name: apply(o, view) for name, o in CATALOGUE.items()}, files, temporary)
    for name, outcome in outcomes.items():
        print(f"{name:20s} {CATALOGUE[name].family:15s} {outcome}")
    runs = [name for name, outcome in outcomes.items() if outcome.startswith("runs")]
    structural = [name for name in runs if outcomes[name].endswith("structural")]
    applied = sum(outcome != "does not apply" for outcome in outcomes.values())
    print(f"{len(outcomes)} operators: {applied} apply, {len(runs)} run, ", end="")
    print(f"{len(structural)} of them change code and not only settings")
    return 0 if len(structural) >= 15 else 1


def run(
    variants: dict[str, dict[str, str] | None], files: dict[str, str], temporary: str
) -> dict[str, str]:
    """Write each variant to a folder of its own and train it; what came of it by operator."""
    data = Path(temporary) / "data" / "shakespeare_char"
    data.mkdir(parents=True)
    for split in ("train", "val"):
        tokens = np.random.default_rng(0).integers(0, 60, 3000).astype(np.uint16)
        tokens.tofile(data / f"{split}.bin")
    (data / "meta.pkl").write_bytes(pickle.dumps({"vocab_size": 60}))
    jobs = []
    for name, changed in variants.items():
        if changed is None:
            continue
        folder = Path(temporary) / name
        for path, text in {**files, **changed, "short.py": SHORT}.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_text(text, encoding="utf-8")
        (folder / "data").symlink_to(Path(temporary) / "data")
        jobs.append((str(folder), ["train.py", CONFIG, "short.py"]))
    worker = subprocess.run(
        [sys.executable, "-c", WORKER],
        input=json.dumps(jobs),
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    results = {Path(folder).name: outcome for folder, outcome in json.loads(worker.stdout).items()}
    outcomes = {}
    for name, changed in variants.items():
        kind = "structural" if changed and is_structural(files, changed) else "settings"
        outcomes[name] = f"{results[name]}, {kind}" if changed else "does not apply"
    return outcomes


def is_structural(files: dict[str, str], changed: dict[str, str]) -> bool:
    """Whether a line changed that is no top-level `name = value`."""
    for path, text in changed.items():
        lines = set(files[path].splitlines()) ^ set(text.splitlines())
        if any(line.startswith((" ", "def", "class")) for line in lines):
            return True
    return False


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(f"usage: {sys.argv[0]} PATH")
    sys.exit(main(Path(sys.argv[1]).resolve()))
