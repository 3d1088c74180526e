"""Which adapter fills which port: decided here, from darwin.toml, and nowhere else."""

import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from darwin_git.config import Config, load, portable
from darwin_git.domain.account import Allowed
from darwin_git.domain.population import State
from darwin_git.errors import DarwinError
from darwin_git.machinery import assemble
from darwin_git.proposing import Proposers, refuse_unpriced
from darwin_git.steps.exchange import open_account
from darwin_git.steps.world import Listener, World
from darwin_git.store.history import GitHistory
from darwin_git.store.objects import read_identity
from darwin_git.store.repository import Repository


@dataclass
class Opened:
    """A repository opened for reading."""

    repository: Repository
    history: GitHistory
    config: Config


@contextmanager
def opened(folder: Path, *, thorough: bool = False) -> Iterator[Opened]:
    """Open the repository around `folder` and its darwin.toml."""
    with Repository.open(folder, thorough=thorough) as repository:
        config = load(work_tree(repository))
        yield Opened(repository, GitHistory(repository), config)


def work_tree(repository: Repository) -> Path:
    """Where darwin.toml lies."""
    if repository.work_tree is None:
        raise DarwinError(
            f"{repository.git.git_dir} has no work tree",
            hint="run this in a clone: darwin.toml is read from the work tree",
        )
    return repository.work_tree


@dataclass
class Wired:
    """Everything a command that spends compute needs; the session lock is held."""

    repository: Repository
    history: GitHistory
    config: Config
    world: World
    measured: Mapping[str, Any]

    def must_state(self) -> State:
        """The population; raises DarwinError without a baseline."""
        state = self.history.state()
        if state is None:
            raise DarwinError(
                "there is no baseline yet", hint="run `darwin-git baseline`, or `darwin-git run`"
            )
        return state

    def ready_agents(self, control: str = "") -> None:
        """Make every agent before anything is spent: a key, a program or an engine may lack.

        Raises:
            DarwinError: with the cure.
        """
        for name, chosen in sorted(self.config.agents.items()):
            if chosen.kind != "catalogue":
                if control:
                    raise DarwinError(
                        f"--control draws from the catalogue by chance, and agents.{name} has "
                        f'kind = "{chosen.kind}"',
                        hint='compare with a run whose agents all have kind = "catalogue"',
                    )
                self.refuse_untrusted(f"agents.{name} (kind = {chosen.kind!r}) writes foreign code")
                assert self.world.proposers[name]
        priced = self.config.budget.usd is not None or self.world.account.command.usd is not None
        if priced:
            refuse_unpriced(self.config)

    def refuse_untrusted(self, what: str) -> None:
        """Raise DarwinError where the runner may not run what others wrote."""
        runner = self.measured.get("runner", "process")
        if runner == "process" and not self.config.sandbox.allow_unsandboxed:
            raise DarwinError(
                f"{what}: the process runner runs it only where you allow that",
                hint="set sandbox.allow_unsandboxed = true in darwin.toml if you trust the code; "
                'a run that was begun with sandbox.runner = "docker" takes anybody\'s',
            )


@contextmanager
def wired(
    folder: Path, tell: Listener, wait: float, command: str, allowed: Allowed | None = None
) -> Iterator[Wired]:
    """Take the lock, finish what a killed command left, and wire the world.

    Args:
        command: its name, for whoever waits for the lock.
        allowed: what this command may spend at most.

    Raises:
        DarwinError: the lock is held, darwin.toml is wrong, nobody would be a commit's committer,
            or the agents or a measured key changed since the baseline.
    """
    with ExitStack() as stack:
        repository = stack.enter_context(Repository.open(folder))
        config = load(work_tree(repository))
        read_identity(repository.git, "COMMITTER")  # asked before anything is spent
        history = GitHistory(repository)  # first: the session folds what a killed command left
        stack.enter_context(repository.session(wait, command))
        if repository.redone is not None:
            tell("note", text=f"finished what was interrupted: {repository.redone.message}")
        history.settings = portable(work_tree(repository))
        state = history.state()
        if state is not None:
            refuse_agents(state, config)
        machinery = assemble(repository, history, config, state, tell, stack)
        if state is not None:
            refuse_changed(state, machinery.measured, machinery.trials.protocol)
        account, trained = open_account(history, config.budget, allowed)
        world = World(
            history=history,
            trials=machinery.trials,
            executor=machinery.executor,
            proposers=Proposers(config, work_tree(repository), machinery.runner),
            config=config,
            tell=partial(tell, metric=config.objective),
            clock=time.monotonic,
            account=account,
            trained_before=trained,
        )
        stack.callback(world.ended.set)
        yield Wired(repository, history, config, world, machinery.measured)


def refuse_agents(state: State, config: Config) -> None:
    """Every agent has a lineage since the baseline: another set of them is named and refused."""
    was, now = set(state.agents), set(config.agents)
    changed = [f"{name} has a lineage and is not in darwin.toml" for name in sorted(was - now)]
    changed += [f"{name} is in darwin.toml and has no lineage" for name in sorted(now - was)]
    if changed:
        raise DarwinError(
            "the agents changed since the baseline:\n  " + "\n  ".join(changed),
            hint=f"name them {', '.join(sorted(was))} again, as in [agents.{min(was)}], or start "
            "a new run in a fresh clone without the darwin/ references",
        )


def refuse_changed(state: State, measured: Mapping[str, Any], protocol: str) -> None:
    """Numbers are compared only within one measurement: a changed key is named and refused."""
    if state.protocol == protocol:
        return
    was = state.measured
    changed = [
        f"{key}: {was.get(key)!r} at the baseline, {measured.get(key)!r} now"
        for key in sorted(was.keys() | measured.keys())
        if was.get(key) != measured.get(key)
    ]
    cure = "restore it, or start a new run in a fresh clone without the darwin/ references"
    if was.get("image") != measured.get("image") and was.get("runner") == measured.get("runner"):
        cure = (
            f'name the old image, if the engine still has it: sandbox.image = "{was["image"]}" in '
            "darwin.toml (`darwin-git image list` shows what is there); `darwin-git image build` "
            "makes another one, which begins a new run in a fresh clone"
        )
    elif was.get("runner") != measured.get("runner"):
        cure = f'set sandbox.runner = "{was.get("runner")}" in darwin.toml, or start a new run'
    raise DarwinError(
        "the measurement changed since the baseline, so numbers cannot be compared:\n  "
        + "\n  ".join(changed or ["the evaluator's version"]),
        hint=cure,
    )
