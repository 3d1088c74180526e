"""The judge of a run with genome.contract = "command": found, kept in git, wired."""

from pathlib import Path
from typing import Any

from darwin_git.config import Config
from darwin_git.domain.measurement import Judgement
from darwin_git.domain.population import State
from darwin_git.errors import DarwinError
from darwin_git.ports import Runner, Trials
from darwin_git.store.history import GitHistory
from darwin_git.store.repository import Repository


def archive_of(repository: Repository, config: Config, state: State | None) -> bytes:
    """The packed program of darwin.toml; where it is gone, the one that the baseline was judged by.

    Raises:
        DarwinError: it is nowhere, cannot be packed, or is part of the genome.
    """
    from darwin_git.trial.judge import pack

    program = program_path(repository, config.metric.program)
    kept = None if state is None else state.measured.get("program")
    if not program.exists() and isinstance(kept, str):
        return repository.corpus.get(kept)
    refuse_tracked(repository, program)
    return pack(program)


def program_path(repository: Repository, program: str) -> Path:
    """Where darwin.toml says that the judge lies."""
    return (repository.work_tree or Path()) / Path(program).expanduser()


def refuse_tracked(repository: Repository, program: Path) -> None:
    """Raise DarwinError where agents could change the judge: it stands in the genome's tree."""
    root = (repository.work_tree or Path()).resolve()
    place = program.resolve()
    if root.is_relative_to(place):
        raise DarwinError(
            f"the judge {program} holds the genome itself",
            hint="give the judge a folder of its own, outside the genome",
        )
    if not place.is_relative_to(root):
        return
    inside = place.relative_to(root).as_posix()
    tracked = repository.files(repository.resolve("HEAD"))
    if any(path == inside or path.startswith(f"{inside}/") for path in tracked):
        raise DarwinError(
            f"the judge {inside} is part of the genome: what agents may change must not judge them",
            hint=f"move it out of the repository, or: git rm -r --cached {inside}, and commit",
        )


def judged_trials(
    runner: Runner,
    archive: bytes,
    repository: Repository,
    history: GitHistory,
    config: Config,
    cache: Path,
) -> tuple[Trials, dict[str, Any]]:
    """The trials, and the judgement in words."""
    from darwin_git.trial.judge import Judge
    from darwin_git.trial.program import ProgramTrials

    judge = Judge(archive, cache / "judge")
    repository.corpus.put(archive)  # a clone loses nothing
    judgement = Judgement(
        program=judge.sha256,
        command=config.metric.command,
        metric=config.objective,
        device=config.genome.device,
        threads=config.executor.threads,
    )
    trials = ProgramTrials(
        runner,
        judgement,
        judge,
        history.checkout,
        seconds=config.metric.seconds,
        memory_bytes=int(config.sandbox.memory_gb * (1 << 30)),
        output_bytes=int(config.sandbox.output_gb * (1 << 30)),
        results=cache / "results",
    )
    trials.reap()
    return trials, judgement.in_words()
