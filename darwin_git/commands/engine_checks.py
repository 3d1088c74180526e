"""`doctor`'s part about containers: the engine, its limits, the image, memory, disk, GPUs."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from darwin_git.config import Config
from darwin_git.errors import DarwinError
from darwin_git.machinery import GIB, slots_of
from darwin_git.ports import Machine
from darwin_git.sandbox.docker import DockerRunner
from darwin_git.sandbox.engine import Engine, faults

FREE_BYTES = 2 << 30
LIMITS = {"MemoryLimit": "memory", "PidsLimit": "processes", "CPUSet": "CPU sets"}
"""What the engine says that it can limit."""


def engine_checks(config: Config, attempts: Path) -> list[dict[str, Any]]:
    """Nothing with the process runner; with "auto" an engine that is not there is no fault.

    Args:
        attempts: folder of this clone's attempts.
    """
    chosen = config.sandbox
    if chosen.runner == "process":
        return []
    engine = Engine(chosen.engine)
    try:
        engine.info()
    except DarwinError as error:
        engine.close()
        if chosen.runner == "docker":
            return [_bad("engine", error)]
        found = f"none ({error.message}): the process runner runs built-in agents only"
        return [_good("engine", found)]
    try:
        checks = [
            _check("engine", lambda: _engine(engine)),
            _check("limits", lambda: _limits(engine)),
            _check("image", lambda: _image(engine, chosen.image)),
            _check("memory", lambda: _memory(engine, config)),
            _check("engine disk", lambda: _disk(engine)),
        ]
        if chosen.runtime:
            checks.append(_check("runtime", lambda: _runtime(engine, chosen.runtime)))
        if config.genome.device == "cuda":
            checks.append(_check("gpu", lambda: _gpus(config, attempts)))
    finally:
        engine.close()
    if chosen.runner == "auto":
        # It falls back on the process runner, and a run says so.
        for one in checks:
            if not one["ok"] and one["name"] == "image":
                one.update(ok=True, found=f"{one['found']}: {one['cure']}", cure="")
    return checks


def _engine(engine: Engine) -> str:
    try:
        version = engine.api.version()
    except faults() as error:
        raise engine.explain(error) from error
    parts = [one.get("Name", "") for one in version.get("Components") or ()]
    name = "Podman" if any("podman" in one.lower() for one in parts) else "Docker"
    words = [f"{name} {version['Version']} at {engine.address}"]
    if any("rootless" in one for one in engine.info().get("SecurityOptions") or ()):
        words.append("rootless")
    if not engine.local:
        words.append("on another machine, which needs nothing of this one's file system")
    return ", ".join(words)


def _limits(engine: Engine) -> str:
    info = engine.info()
    missing = [word for name, word in LIMITS.items() if info.get(name) is False]
    if not any("seccomp" in one for one in info.get("SecurityOptions") or ()):
        missing.append("system calls (seccomp)")
    if missing:
        raise DarwinError(
            f"the engine cannot limit {', '.join(missing)}",
            hint="a rootless engine needs cgroup v2 with delegated controllers: add "
            "Delegate=cpu cpuset io memory pids for user@.service; or use an engine of root's",
        )
    return "memory, processes, CPU sets, system calls"


def _runtime(engine: Engine, name: str) -> str:
    known = engine.info().get("Runtimes") or {}
    if known and name not in known:
        raise DarwinError(
            f"the engine at {engine.address} has no runtime {name!r}",
            hint=f"it has {', '.join(sorted(known))}: set one of them as `runtime` under [sandbox]",
        )
    return name


def _image(engine: Engine, name: str) -> str:
    found = engine.image(name)
    return f"{name}, {int(found['Size']) >> 20} MiB, {str(found['Id'])[:19]}"


def _memory(engine: Engine, config: Config) -> str:
    info = engine.info()
    notes: list[str] = []
    machine = Machine(tuple(range(int(info["NCPU"]))), int(info["MemTotal"]), {}, "")
    if config.genome.device == "cuda":
        return f"{machine.memory_bytes / GIB:.1f} GiB on the engine's machine"
    slots = slots_of(config, machine, lambda what, **facts: notes.append(str(facts["text"])))
    found = (
        f"{len(slots)} slots of {config.sandbox.memory_gb:g} GiB on "
        f"{machine.memory_bytes / GIB:.1f} GiB"
    )
    return "; ".join([found, *notes])


def _disk(engine: Engine) -> str:
    folder = str(engine.info().get("DockerRootDir") or "")
    if not engine.local or not Path(folder).is_dir():
        return "not known from here"
    free = shutil.disk_usage(folder).free
    if free < FREE_BYTES:
        raise DarwinError(
            f"only {free / GIB:.1f} GiB are free at {folder}",
            hint="`docker system df` shows what fills it; `darwin-git image clean --images`",
        )
    return f"{free / GIB:.0f} GiB free at {folder}"


def _gpus(config: Config, attempts: Path) -> str:
    chosen = config.sandbox
    runner = DockerRunner(attempts, chosen.image, engine=chosen.engine, runtime=chosen.runtime)
    try:
        found = runner.machine(gpus=True).gpus
    finally:
        runner.close()
    return ", ".join(f"{number}: {name}" for number, name in found.items())


def _check(name: str, look: Callable[[], str]) -> dict[str, Any]:
    try:
        return _good(name, look())
    except DarwinError as error:
        return _bad(name, error)


def _good(name: str, found: str) -> dict[str, Any]:
    return {"name": name, "ok": True, "found": found, "cure": ""}


def _bad(name: str, error: DarwinError) -> dict[str, Any]:
    return {"name": name, "ok": False, "found": error.message, "cure": error.hint}
