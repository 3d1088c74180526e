"""The trusted side of scoring: tokens a second and the tool's memory, for both vocabularies.

    python -m benchmarks.scoring [--runner process|docker] [--image IMAGE] [--tokens N] [--runs 3]

A model of one embedding answers, so that what is measured is the way of its logits out of the wall
and the arithmetic here, not a model. Each run is a process of its own: its peak memory is the
tool's.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from darwin_git.domain.measurement import Measurement
from darwin_git.executors.local import plan_slots
from darwin_git.ports import Command, File, Limits, Runner
from darwin_git.trial import evaluate, probes
from darwin_git.trial.scorer import open_scorer

BLOCK = 256
LIMITS = Limits(600, 6 << 30, 1 << 30)

MODEL = b"""
from dataclasses import dataclass
import torch
from torch import nn


@dataclass
class GPTConfig:
    vocab_size: int
    block_size: int


class GPT(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.wte = nn.Embedding(config.vocab_size, 8)

    def forward(self, idx, targets=None):
        return self.wte(idx) @ self.wte.weight.T, None
"""

MAKE = b"""
import sys, torch
from model import GPT, GPTConfig
args = dict(vocab_size=int(sys.argv[2]), block_size=int(sys.argv[3]))
state = GPT(GPTConfig(**args)).state_dict()
torch.save({"model": state, "model_args": args}, sys.argv[1] + "/ckpt.pt")
"""


def runner_of(kind: str, image: str, folder: Path) -> Runner:
    """A runner with attempts below `folder`."""
    if kind == "docker":
        from darwin_git.sandbox.docker import DockerRunner

        return DockerRunner(folder / "attempts", image)
    from darwin_git.sandbox.process import ProcessRunner

    return ProcessRunner(folder / "attempts")


def once(kind: str, image: str, vocabulary: int, tokens: int) -> dict[str, float]:
    """Score that many tokens, probes included; rates and peak memory of this process."""
    slot = plan_slots(most=1)[0]
    genome = {"model.py": File(MODEL), "make.py": File(MAKE)}
    with tempfile.TemporaryDirectory() as place:
        runner = runner_of(kind, image, Path(place))
        argv = ("{python}", "make.py", "{out}", str(vocabulary), str(BLOCK))
        finished = runner.run(
            Command("model", True, genome, {}, argv, LIMITS, {}, {}, keep=("ckpt.pt",)), slot
        )
        checkpoint = finished.outputs.artifact("ckpt.pt")
        assert checkpoint, finished.errors
        text = np.random.default_rng(0).integers(
            vocabulary, size=(tokens // BLOCK, BLOCK + 1), dtype=np.int32
        )
        rows = np.zeros(len(text), np.int64)
        windows = evaluate.Windows(text[:, :-1].copy(), text[:, 1:].copy(), rows, rows)
        measurement = Measurement(("train.py",), 1, "")
        start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        with open_scorer(
            runner, slot, measurement, genome, checkpoint, vocabulary, LIMITS,
            label="scoring", trusted=True,
        ) as scorer:  # fmt: skip
            scorer.describe()
            scorer.build()
            began, cpu = time.perf_counter(), time.process_time()
            evaluate.sweep(scorer, windows.inputs, windows.targets)
            seconds, spent = time.perf_counter() - began, time.process_time() - cpu
            began = time.perf_counter()
            probes.interview(scorer, windows, probes.draw(len(text), BLOCK, 1))
            whole = time.perf_counter() - began
        finished.outputs.discard()
        runner.close()
    return {
        "tokens a second": tokens / seconds,
        "tokens a CPU second of the tool": tokens / spent,
        "seconds with probes": whole,
        "peak MiB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "MiB before": start / 1024,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runner", choices=("process", "docker"), default="process")
    parser.add_argument("--image", default="darwin-git/train:latest")
    parser.add_argument("--tokens", type=int, default=0)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--once", type=int, default=0, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.once:
        print(json.dumps(once(chosen.runner, chosen.image, chosen.once, chosen.tokens)))
        return
    for vocabulary, tokens in ((65, chosen.tokens or 1 << 16), (50_304, chosen.tokens or 1 << 14)):
        runs = []
        for _ in range(chosen.runs):
            words = ["--once", vocabulary, "--tokens", tokens, "--runner", chosen.runner]
            done = subprocess.run(
                [sys.executable, "-m", "benchmarks.scoring", "--image", chosen.image,
                 *map(str, words)],
                check=True, capture_output=True, text=True,
            )  # fmt: skip
            runs.append(json.loads(done.stdout))
        print(f"{vocabulary} symbols, {tokens} tokens, {chosen.runner}:")
        for name in runs[0]:
            values = [run[name] for run in runs]
            middle = statistics.median(values)
            print(f"  {name}: {middle:,.1f} ({min(values):,.1f} to {max(values):,.1f})")


if __name__ == "__main__":
    main()
