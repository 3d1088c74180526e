"""What measures: runner, slots and laboratory of one run, chosen from darwin.toml.

The baseline settles which runner a run has; after it another one is never taken silently, since
numbers of two runners are not compared.
"""

import threading
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from darwin_git.config import Config
from darwin_git.domain.measurement import Measurement
from darwin_git.domain.population import State
from darwin_git.errors import DarwinError
from darwin_git.judging import archive_of, judged_trials
from darwin_git.ports import Executor, Machine, Runner, Slot, Trials
from darwin_git.steps.world import Listener
from darwin_git.store.history import GitHistory
from darwin_git.store.repository import Repository

GIB = 1 << 30
ENGINE_SECONDS = 2.0
"""With runner = "auto" an engine that takes longer to answer is taken as none."""
KERNEL_SHARE = 1 / 16
"""Of the memory that a machine was bought with, which the kernel keeps and does not report."""


@dataclass(frozen=True)
class Machinery:
    """What a run's world is wired with.

    Attributes:
        measured: the measurement's conditions in words, to name what changed.
    """

    trials: Trials
    executor: Executor
    measured: Mapping[str, Any]
    runner: Runner


def assemble(
    repository: Repository,
    history: GitHistory,
    config: Config,
    state: State | None,
    tell: Listener,
    stack: ExitStack,
) -> Machinery:
    """Runner, executor and laboratory; `stack` closes them, the executor first.

    Raises:
        DarwinError: no corpus or judge, no engine where the baseline was measured in one, no GPU.
    """
    from darwin_git.executors.local import LocalExecutor

    cache = repository.git.common_dir / "darwin"
    # What can be wrong at once is said first.
    judged = config.genome.contract == "command"
    data = None if judged else _corpus(repository, config, cache)
    archive = archive_of(repository, config, state) if judged else b""
    runner, machine = runner_of(config, cache, state, tell)
    stack.callback(runner.close)
    slots = slots_of(config, machine, tell)
    executor = LocalExecutor(slots, on_cancel=[runner.cancel])
    stack.push(lambda kind, error, trace: executor.close(cancel=kind is not None))
    if judged:
        trials, measured = judged_trials(runner, archive, repository, history, config, cache)
    else:
        trials, measured = _nanogpt(runner, machine, slots[0], data, history, config, cache)
    measured = {**measured, **runner.environment(), "runner": runner.kind}
    return Machinery(trials, executor, measured, runner)


# --- the wall ----------------------------------------------------------------------------------


def runner_of(
    config: Config, cache: Path, state: State | None, tell: Listener
) -> tuple[Runner, Machine]:
    """The runner that darwin.toml names; with "auto" the baseline's, or the best that is ready.

    Returns:
        The runner, and the machine where its commands run.

    Raises:
        DarwinError: containers are asked for, or the baseline was measured in them, and the engine
            or its image is not to be had.
    """
    chosen = config.sandbox.runner
    if chosen == "auto" and state is not None:
        chosen = state.measured.get("runner", "process")
    if chosen == "docker":
        try:
            return _containers(config, cache)
        except DarwinError as error:
            if state is not None and state.measured.get("runner") == "docker":
                why = "the baseline was measured in containers, so this run needs them"
                raise DarwinError(f"{error.message}; {why}", hint=error.hint) from error
            other = 'or set sandbox.runner = "process", for built-in agents only'
            raise DarwinError(error.message, hint=f"{error.hint}; {other}") from error
    if chosen == "auto":
        try:
            _refuse_slow(config)
            return _containers(config, cache)
        except DarwinError as error:
            tell(
                "note",
                text=f"no containers: {error.message}. Processes take their place: without a wall, "
                f"for built-in agents only. Cure: {error.hint}",
            )
    from darwin_git.sandbox.process import ProcessRunner

    runner = ProcessRunner(cache / "attempts", allow_unsandboxed=config.sandbox.allow_unsandboxed)
    return runner, runner.machine(gpus=config.genome.device == "cuda")


def _containers(config: Config, cache: Path) -> tuple[Runner, Machine]:
    """The runner in containers, once engine and image are known to be ready."""
    from darwin_git.sandbox.docker import DockerRunner

    chosen = config.sandbox
    runner = DockerRunner(
        cache / "attempts", chosen.image, engine=chosen.engine, runtime=chosen.runtime
    )
    try:
        runner.environment()
        return runner, runner.machine(gpus=config.genome.device == "cuda")
    except BaseException:
        runner.close()
        raise


def _refuse_slow(config: Config) -> None:
    """Raise DarwinError where the engine takes its time: nobody asked for it by name."""
    from darwin_git.sandbox.engine import Engine

    engine = Engine(config.sandbox.engine)
    refusals: list[DarwinError] = []

    def ask() -> None:
        try:
            engine.info()
        except DarwinError as error:
            refusals.append(error)
        finally:
            engine.close()

    asking = threading.Thread(target=ask, daemon=True)  # the SDK's own patience is a minute
    asking.start()
    asking.join(ENGINE_SECONDS)
    if asking.is_alive():
        raise DarwinError(
            f"the container engine at {engine.address} does not answer in {ENGINE_SECONDS:g} s",
            hint="see whether `docker ps` does; restart the engine where it hangs",
        )
    if refusals:
        raise refusals[0]


# --- slots -------------------------------------------------------------------------------------


def slots_of(config: Config, machine: Machine, tell: Listener) -> tuple[Slot, ...]:
    """The slots of the runner's machine, as many as its memory takes.

    Raises:
        DarwinError: darwin.toml asks for more slots than fit into the memory.
    """
    from darwin_git.executors.local import plan_slots

    wanted, each = config.executor.slots, config.sandbox.memory_gb
    slots = plan_slots(
        machine.cpus,
        gpus=tuple(machine.gpus) if config.genome.device == "cuda" else (),
        threads_per_slot=config.executor.threads,
        most=wanted or None,
    )
    there = machine.memory_bytes / GIB
    fitting = max(1, int(there * (1 + KERNEL_SHARE) / each))
    if each > there * (1 + KERNEL_SHARE):
        tell(
            "note",
            text=f"sandbox.memory_gb = {each:g}, and the machine has {there:.1f} GiB: a command "
            "that needs more may take the machine with it; set memory_gb below that",
        )
    if len(slots) <= fitting:
        return slots
    share = int(10 * there * (1 + KERNEL_SHARE) / len(slots)) / 10
    if wanted:
        raise DarwinError(
            f"{len(slots)} slots of {each:g} GiB do not fit into the machine's {there:.1f} GiB",
            hint=f"set sandbox.memory_gb to at most {share:g}, or executor.slots to at most "
            f"{fitting}",
        )
    tell(
        "note",
        text=f"{fitting} of {len(slots)} slots: with sandbox.memory_gb = {each:g} no more fit "
        f"into the machine's {there:.1f} GiB; {share:g} would let all run",
    )
    return slots[:fitting]


# --- the laboratory ----------------------------------------------------------------------------


def _corpus(repository: Repository, config: Config, cache: Path) -> Any:
    """The corpus that darwin.toml names, encoded."""
    from darwin_git.trial.corpus import prepare
    from darwin_git.trial.tokenizers import gpt2_table, tokenizer_of

    chosen = config.data
    if not chosen.corpus:
        raise DarwinError(
            "darwin.toml names no corpus",
            hint="`darwin-git init` copies one and writes its checksum to data.corpus",
        )

    def table() -> bytes:
        return repository.corpus.get(chosen.table) if chosen.table else gpt2_table()

    return prepare(
        repository.corpus.get(chosen.corpus),
        cache / "data-splits",
        tokenizer_of(chosen.tokenizer, table),
    )


def _nanogpt(
    runner: Runner,
    machine: Machine,
    slot: Slot,
    corpus: Any,
    history: GitHistory,
    config: Config,
    cache: Path,
) -> tuple[Trials, dict[str, Any]]:
    """The laboratory for GPTs, and its measurement in words."""
    from darwin_git.trial.laboratory import Laboratory
    from darwin_git.trial.peak import peak_of

    measurement = measurement_of(config, corpus.identity)
    device, dtype = config.genome.device, config.genome.dtype
    # A GPU's model is a measurement's matter; a processor's only changes how long it takes.
    gpu = " and ".join(sorted(set(machine.gpus.values()))) if device == "cuda" else ""
    name = next(iter(machine.gpus.values()), "") if gpu else machine.name
    laboratory = Laboratory(
        runner,
        measurement,
        corpus,
        history.checkout,
        memory_bytes=int(config.sandbox.memory_gb * GIB),
        output_bytes=int(config.sandbox.output_gb * GIB),
        results=cache / "results",
        gpu=gpu,
        peak_flops=peak_of(runner, slot, name, device, dtype, cache / "peak.json"),
    )
    laboratory.reap()
    return laboratory, {
        **({"gpu": gpu} if gpu else {}),
        **{key: getattr(measurement, key) for key in measurement.__dataclass_fields__},
        "overrides": dict(measurement.overrides),
        "train": list(measurement.train),
    }


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
