"""A real repository and real steps, with trials that cost nothing (benchmarks/free.py)."""

import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from benchmarks.free import FreeProposer, FreeTrials, Inline, genome
from darwin_git.config import Agent, Config
from darwin_git.domain.population import State
from darwin_git.steps.exchange import open_account
from darwin_git.steps.start import baseline
from darwin_git.steps.world import World
from darwin_git.store.history import GitHistory
from darwin_git.store.repository import Repository

Open = Callable[..., World]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A genome's repository."""
    place = tmp_path / "genome"
    for path, content in genome(60).items():
        (place / path).parent.mkdir(parents=True, exist_ok=True)
        (place / path).write_bytes(content)
    for command in (["init", "-q", "-b", "main"], ["add", "-A"], ["commit", "-qm", "Start"]):
        subprocess.run(["git", "-C", str(place), *command], check=True)
    return place


@pytest.fixture
def open_world(folder: Path) -> Iterator[Open]:
    """Opens the world as a new process would: nothing is remembered but what git holds."""
    with ExitStack() as stack:

        def make(proposer: Any = None, tell: Any = None, **config: Any) -> World:
            stack.close()
            repository = stack.enter_context(Repository.open(folder))
            stack.enter_context(repository.session())
            history = GitHistory(repository)
            names = {f"a{n}": Agent() for n in range(1, 5)}
            chosen = Config(agents=names, **config)
            account, trained = open_account(history, chosen.budget)
            return World(
                account=account,
                trained_before=trained,
                history=history,
                trials=FreeTrials(history.files),
                executor=Inline(),
                proposers=dict.fromkeys(names, proposer or FreeProposer()),
                config=chosen,
                tell=tell or (lambda what, **facts: None),
                clock=time.monotonic,
            )

        yield make


@pytest.fixture
def started(open_world: Open) -> tuple[World, State]:
    """A world with a baseline."""
    world = open_world()
    commit = world.history.resolve("refs/heads/main")
    assert commit is not None
    world.history.trust(commit)
    return world, baseline(world, commit, {"tokens": 1000}, 8)
