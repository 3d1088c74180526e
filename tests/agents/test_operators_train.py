"""Every operator's genome is trained for two iterations, all in one process: torch loads once."""

import json
import os
import pickle
import subprocess
import sys
from collections.abc import Callable

import numpy as np
import pytest

from .genomes import CASES, child

# Runs train.py in each folder named on its standard input, as `python train.py ...` would.
WORKER = """
import contextlib, io, json, os, runpy, sys, traceback, warnings
warnings.simplefilter("ignore")
import torch
results = {}
for folder, arguments in json.load(sys.stdin):
    for name in ("model", "configurator"):
        sys.modules.pop(name, None)
    os.chdir(folder)
    sys.path[0] = folder
    sys.argv = arguments
    printed = io.StringIO()
    try:
        with contextlib.redirect_stdout(printed):
            runpy.run_path("train.py", run_name="__main__")
        results[folder] = printed.getvalue()
    except BaseException:
        results[folder] = traceback.format_exc()
json.dump(results, sys.stdout)
"""


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, str], str]:
    """What the training of a case printed."""
    root = tmp_path_factory.mktemp("genomes")
    data = root / "data" / "darwin"
    data.mkdir(parents=True)
    for split in ("train", "val"):
        np.random.default_rng(0).integers(0, 60, 3000).astype(np.uint16).tofile(
            data / f"{split}.bin"
        )
    (data / "meta.pkl").write_bytes(pickle.dumps({"vocab_size": 60}))
    jobs = []
    for genome, name in CASES:
        folder = root / f"{genome}-{name}"
        view = child(genome, name)
        for path, text in view.files.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_text(text, encoding="utf-8")
        (folder / "data").symlink_to(root / "data")
        (folder / "short.py").write_text("max_iters = 2\nlog_interval = 1\neval_interval = 2\n")
        jobs.append((str(folder), [*view.arguments, "short.py"]))
    worker = subprocess.run(
        [sys.executable, "-c", WORKER],
        input=json.dumps(jobs),
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    results = json.loads(worker.stdout)
    return lambda genome, name: results[str(root / f"{genome}-{name}")]


@pytest.mark.parametrize(("genome", "name"), CASES)
def test_it_trains(outputs: Callable[[str, str], str], genome: str, name: str) -> None:
    printed = outputs(genome, name)
    losses = [
        float(line.split("loss")[1].split(",")[0])
        for line in printed.splitlines()
        if line.startswith("iter ")
    ]
    assert len(losses) == 3, printed
    assert all(0 < loss < 20 for loss in losses), printed
