"""Somebody's genome, and one with a baseline that cost nothing."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from darwin_git.domain.names import CHAMPION, agent_ref
from darwin_git.domain.population import start
from darwin_git.ports import Move
from darwin_git.store.history import GitHistory
from darwin_git.store.repository import Repository

TRAIN = (
    "learning_rate = 1e-3\nmax_iters = 10\nblock_size = 8\nbatch_size = 2\n"
    "gradient_accumulation_steps = 1\nexec(open('configurator.py').read())\n"
)
MODEL = (
    "class GPTConfig:\n    pass\n\n\nclass GPT:\n    def __init__(self, config):\n        pass\n\n"
    "    def forward(self, idx, targets=None):\n        pass\n"
)


@pytest.fixture
def genome(tmp_path: Path) -> Path:
    """Somebody's nanoGPT-like repository."""
    folder = tmp_path / "genome"
    folder.mkdir()
    (folder / "train.py").write_text(TRAIN)
    (folder / "model.py").write_text(MODEL)
    (folder / "configurator.py").write_text("pass\n")
    for command in (["init", "-q", "-b", "main"], ["add", "-A"], ["commit", "-qm", "Start"]):
        subprocess.run(["git", "-C", str(folder), *command], check=True)
    return folder


@pytest.fixture
def measured(genome: Path) -> Path:
    """The same, adopted, with a baseline in its ledger."""
    adopt = [sys.executable, "-m", "darwin_git", "-C", str(genome), "init", "--genome", "."]
    subprocess.run(adopt, check=True, capture_output=True, env=os.environ | {"TERM": "dumb"})
    agents = ["a1", "a2", "a3", "a4"]
    with Repository.open(genome) as repository, repository.session():
        history = GitHistory(repository)
        commit = repository.resolve("HEAD")
        event = {
            "kind": "baseline",
            "island": history.island,
            "commit": commit,
            "tree": history.tree(commit),
            "protocol": "0" * 32,
            "measured": {},
            "agents": agents,
            "losses": {"1": 3.0, "2": 3.01},
            "s0": 0.01,
            "parameters": 1000,
            "trainings": 2,
            "seconds": 1.0,
        }
        refs = [CHAMPION, *map(agent_ref, agents)]
        moves = [Move(ref, None, commit) for ref in refs]
        history.settle(moves, 0, [event], start(event), {}, "Measure the baseline")
    return genome
