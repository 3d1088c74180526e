"""Which adapter fills which port: decided here, from darwin.toml, and nowhere else."""

import contextlib
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from darwin_git.config import Config, load
from darwin_git.domain.measurement import Measurement
from darwin_git.domain.population import State
from darwin_git.errors import DarwinError
from darwin_git.ports import Proposer
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

    def refuse_untrusted(self, what: str) -> None:
        """Raise DarwinError where the runner may not run what others wrote."""
        chosen = self.config.sandbox
        if chosen.runner == "process" and not chosen.allow_unsandboxed:
            raise DarwinError(
                f"{what}: the process runner runs it only where you allow that",
                hint="set sandbox.allow_unsandboxed = true in darwin.toml if you trust the code",
            )


@contextmanager
def wired(folder: Path, tell: Listener, wait: float, command: str) -> Iterator[Wired]:
    """Take the lock, finish what a killed command left, and wire the world.

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
        state = history.state()
        if state is not None:
            refuse_agents(state, config)
        trials, executor, measured = _laboratory(repository, history, config, stack)
        if state is not None:
            refuse_changed(state, measured, trials.protocol)
        world = World(
            history=history,
            trials=trials,
            executor=executor,
            proposers=_Proposers(config),
            config=config,
            tell=tell,
            clock=time.monotonic,
        )
        yield Wired(repository, history, config, world, measured)


def _laboratory(
    repository: Repository, history: GitHistory, config: Config, stack: ExitStack
) -> tuple[Any, Any, dict[str, Any]]:
    """Runner, executor and laboratory; the measurement in words."""
    from darwin_git.executors.local import LocalExecutor, plan_slots
    from darwin_git.sandbox.process import ProcessRunner
    from darwin_git.trial.corpus import prepare
    from darwin_git.trial.laboratory import Laboratory
    from darwin_git.trial.peak import peak_of

    if not config.data.corpus:
        raise DarwinError(
            "darwin.toml names no corpus",
            hint="`darwin-git init` copies one and writes its checksum to data.corpus",
        )
    cache = repository.git.common_dir / "darwin"
    corpus = prepare(repository.corpus.get(config.data.corpus), cache / "data-splits")
    measurement = measurement_of(config, corpus.identity)
    runner = ProcessRunner(cache / "attempts", allow_unsandboxed=config.sandbox.allow_unsandboxed)
    found = gpus() if config.genome.device == "cuda" else {}
    slots = plan_slots(
        gpus=tuple(found),
        threads_per_slot=config.executor.threads,
        most=config.executor.slots or None,
    )
    executor = LocalExecutor(slots, on_cancel=[runner.cancel])
    stack.push(lambda kind, error, trace: executor.close(cancel=kind is not None))
    laboratory = Laboratory(
        runner,
        measurement,
        corpus,
        history.checkout,
        memory_bytes=int(config.sandbox.memory_gb * (1 << 30)),
        output_bytes=int(config.sandbox.output_gb * (1 << 30)),
        results=cache / "results",
        peak_flops=peak_of(
            runner,
            slots[0],
            next(iter(found.values()), None) or _cpu_name(),
            config.genome.device,
            config.genome.dtype,
            cache / "peak.json",
        ),
    )
    laboratory.reap()
    measured = {
        **{k: getattr(measurement, k) for k in measurement.__dataclass_fields__},
        "overrides": dict(measurement.overrides),
        "train": list(measurement.train),
        **runner.environment(),
        "runner": runner.kind,
    }
    return laboratory, executor, measured


def measurement_of(config: Config, data: str) -> Measurement:
    """The measured keys of darwin.toml as the measurement's conditions."""
    genome, budget = config.genome, config.budget
    return Measurement(
        train=genome.train,
        tokens=budget.tokens,
        data=data,
        model=genome.model,
        overrides=genome.overrides,
        device=genome.device,
        dtype=genome.dtype,
        compile=genome.compile,
        threads=config.executor.threads,
        flops_ratio=budget.flops_ratio,
        wall_ratio=budget.wall_ratio,
        wall_refuse=budget.wall_refuse,
        max_parameters=budget.max_parameters,
    )


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
    raise DarwinError(
        "the measurement changed since the baseline, so numbers cannot be compared:\n  "
        + "\n  ".join(changed or ["the evaluator's version"]),
        hint="restore it, or start a new run in a fresh clone without the darwin/ references",
    )


def gpus() -> dict[str, str]:
    """Names of this machine's NVIDIA GPUs by id, without importing torch.

    Raises:
        DarwinError: none answers.
    """
    import subprocess

    query = ["nvidia-smi", "--query-gpu=index,name", "--format=csv,noheader"]
    try:
        done = subprocess.run(query, capture_output=True, text=True, timeout=30)
        rows = done.stdout.splitlines() if done.returncode == 0 else []
    except (OSError, subprocess.TimeoutExpired):
        rows = []
    found = dict(row.split(", ", 1) for row in rows if ", " in row)
    if not found:
        raise DarwinError(
            "darwin.toml asks for cuda and no NVIDIA GPU answers",
            hint='check nvidia-smi, or set genome.device = "cpu"',
        )
    return found


def _cpu_name() -> str:
    """The processor's model, else the machine's kind."""
    import platform

    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.machine() or "cpu"


class _Proposers(Mapping[str, Proposer]):
    """Agents by name, each made when it is first asked: libcst is loaded only then."""

    def __init__(self, config: Config) -> None:
        self._config = config

    @cached_property
    def _known(self) -> dict[str, Proposer]:
        return {}

    def __getitem__(self, name: str) -> Proposer:
        if name not in self._known:
            chosen = self._config.agents[name]
            from darwin_git.agents.catalogue import CatalogueAgent

            self._known[name] = CatalogueAgent(families=chosen.families)
        return self._known[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._config.agents)

    def __len__(self) -> int:
        return len(self._config.agents)
