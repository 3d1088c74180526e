"""`doctor`: what a run needs, looked at one by one, each with its cure."""

import os
import shutil
import sys
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

from darwin_git.config import Config, load
from darwin_git.errors import DarwinError
from darwin_git.store.objects import read_identity
from darwin_git.store.repository import Repository

FREE_BYTES = 2 << 30


def examine(folder: Path) -> dict[str, Any]:
    """All checks; ``healthy`` is whether a baseline could start."""
    checks = [
        _check("python", _python, "install Python 3.11 or newer"),
        _check("torch", _torch, "pip install torch (make setup pins the version)"),
        _check("disk", lambda: _disk(folder), "free some space"),
    ]
    repository: Repository | None = None
    try:
        repository = Repository.open(folder)
        version = ".".join(map(str, repository.git.version))
        found = f"git {version}, {repository.git.git_dir}"
        checks.append({"name": "git", "ok": True, "found": found, "cure": ""})
    except DarwinError as error:
        checks.append({"name": "git", "ok": False, "found": error.message, "cure": error.hint})
    if repository is not None:
        with repository:
            checks += _inside(repository)
            checks += _containers(repository)
            checks += _agents(repository)
            _take_engines_gpus(checks)
    return {
        "schema": "darwin-git/doctor/1",
        "healthy": all(check["ok"] for check in checks),
        "checks": checks,
    }


def _inside(repository: Repository) -> list[dict[str, Any]]:
    """Checks that need a repository."""
    from darwin_git.executors.local import plan_slots
    from darwin_git.sandbox.machine import this_machine
    from darwin_git.wiring import work_tree

    def identity() -> str:
        name, email, *_ = read_identity(repository.git, "COMMITTER")
        return f"{name} <{email}>"

    def settings() -> str:
        load(work_tree(repository))
        return "darwin.toml is valid"

    def data() -> str:
        config = load(work_tree(repository))
        if config.genome.contract == "command":
            return _judge(repository, config)
        wanted = config.data.corpus
        if not wanted:
            raise DarwinError("no corpus is configured", hint="run `darwin-git init` first")
        return f"{len(repository.corpus.get(wanted)):,} bytes, {wanted[:12]}"

    def genome() -> str:
        from darwin_git.machinery import measurement_of
        from darwin_git.store.history import GitHistory
        from darwin_git.trial.checkout import Broken, check, check_size

        config = load(work_tree(repository))
        files = GitHistory(repository).checkout(repository.resolve("HEAD"))
        try:
            if config.genome.contract == "command":
                check_size(files)
                return f"{len(files)} files, of any kind"
            check(files, measurement_of(config, ""))
        except Broken as broken:
            raise DarwinError(
                broken.reason, hint="mend the genome or [genome] in darwin.toml, and commit"
            ) from None
        return f"{len(files)} files keep nanoGPT's contract"

    def slots() -> str:
        config = load(work_tree(repository))
        machine = this_machine(gpus=config.genome.device == "cuda")
        if machine.gpus:
            return f"{len(machine.gpus)} GPUs"
        count = len(plan_slots(machine.cpus, threads_per_slot=config.executor.threads))
        return f"{count} CPU slots, runner {config.sandbox.runner}"

    return [
        _check("identity", identity, "git config --global user.name and user.email"),
        _check("darwin.toml", settings, "correct it"),
        _check("data", data, "init with --data FILE"),
        _check("genome", genome, ""),
        _check("slots", slots, ""),
    ]


def _check(name: str, look: Callable[[], str], cure: str) -> dict[str, Any]:
    try:
        return {"name": name, "ok": True, "found": look(), "cure": ""}
    except DarwinError as error:
        return {"name": name, "ok": False, "found": error.message, "cure": error.hint or cure}


def _containers(repository: Repository) -> list[dict[str, Any]]:
    """The engine, where darwin.toml may use one."""
    from darwin_git.commands.engine_checks import engine_checks
    from darwin_git.wiring import work_tree

    try:
        config = load(work_tree(repository))
    except DarwinError:
        return []  # said already
    return engine_checks(config, repository.git.common_dir / "darwin" / "attempts")


def _agents(repository: Repository) -> list[dict[str, Any]]:
    """Models and programs, where darwin.toml names some."""
    from darwin_git.commands.agent_checks import agent_checks
    from darwin_git.wiring import work_tree

    try:
        folder = work_tree(repository)
        config = load(folder)
    except DarwinError:
        return []  # said already
    return agent_checks(config, folder, os.environ)


def _take_engines_gpus(checks: list[dict[str, Any]]) -> None:
    """Where the engine hands out GPUs, this machine needs none."""
    found = {check["name"]: check for check in checks}
    if found.get("gpu", {}).get("ok") and "slots" in found:
        found["slots"].update(ok=True, found="the engine's GPUs", cure="")


def _judge(repository: Repository, config: Config) -> str:
    """The program that measures, as the next command would take it."""
    import hashlib

    from darwin_git.judging import archive_of
    from darwin_git.store.history import GitHistory

    archive = archive_of(repository, config, GitHistory(repository).state())
    found = hashlib.sha256(archive).hexdigest()[:12]
    return f"the judge {config.metric.program}, {len(archive):,} bytes, {found}"


def _python() -> str:
    return ".".join(map(str, sys.version_info[:3]))


def _torch() -> str:
    try:
        return metadata.version("torch")
    except metadata.PackageNotFoundError:
        raise DarwinError("torch is not installed") from None


def _disk(folder: Path) -> str:
    free = shutil.disk_usage(folder).free
    if free < FREE_BYTES:
        raise DarwinError(f"only {free / (1 << 30):.1f} GiB are free at {folder.resolve()}")
    return f"{free / (1 << 30):.0f} GiB free"
