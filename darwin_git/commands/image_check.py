"""`image check`: one training step in the training image, behind all limits, as in a run."""

import json
import os
from importlib import metadata
from pathlib import Path
from typing import Any

from darwin_git.commands.image import reached
from darwin_git.commands.read import schema
from darwin_git.commands.settings import root_of
from darwin_git.config import Config, load
from darwin_git.errors import DarwinError
from darwin_git.machinery import GIB, slots_of
from darwin_git.ports import Command, DialogueEnded, Finished, Limits, Runner, Slot
from darwin_git.sandbox import image
from darwin_git.sandbox.docker import DockerRunner
from darwin_git.trial.training import CHECKPOINT, inside

SECONDS = 600.0
"""A first torch.compile takes a minute on a slow machine."""
PING = b"darwin-git" * 1000

Check = dict[str, str]


def check(folder: Path) -> dict[str, Any]:
    """All checks, a line each; ``healthy`` where trainings can run.

    States: ``ok``, ``note`` (good to know), ``bad``.
    """
    from filelock import FileLock

    config = load(root_of(folder))
    attempts = _folder()
    attempts.mkdir(parents=True, exist_ok=True)
    with FileLock(attempts / "lock"):  # else the next one takes what this one has for left over
        checks = _looked(config, attempts)
    return {
        "schema": schema("image-check"),
        "image": config.sandbox.image,
        "healthy": all(one["state"] != "bad" for one in checks),
        "checks": checks,
    }


def _looked(config: Config, attempts: Path) -> list[Check]:
    checks: list[Check] = []
    runner: Runner | None = None
    try:
        with reached(config) as engine:
            version = engine.api.version()
            checks.append(_ok("engine", f"{version['Version']} at {engine.address}"))
            engine.image(config.sandbox.image)
            told = image.described(engine, config.sandbox.image)
            checks.append(_ok("image", f"{config.sandbox.image}, {told.size >> 20} MiB, {told.id}"))
        runner = DockerRunner(
            attempts,
            config.sandbox.image,
            engine=config.sandbox.engine,
            runtime=config.sandbox.runtime,
        )
        runner.reap()
        machine = runner.machine(gpus=config.genome.device == "cuda")
        slot = slots_of(config, machine, lambda what, **facts: None)[0]
        checks += _trained(config, runner, slot)
        checks.append(_spoken(config, runner, slot))
    except DarwinError as error:
        # The next one says what is in the way of everything after it.
        names = ("engine", "image", "step")
        checks.append(_bad(names[min(len(checks), 2)], error.message, error.hint))
    finally:
        if runner is not None:
            runner.close()
    return checks


def _trained(config: Config, runner: Runner, slot: Slot) -> list[Check]:
    """A step of training, and what its container could tell."""
    genome = config.genome
    words = (genome.device, genome.dtype, str(int(genome.compile)))
    finished = runner.run(_command(config, "{out}", *words), slot)
    try:
        kept = finished.outputs.artifact(CHECKPOINT)
        told = _told(finished)
        if told is None:
            return [_bad("step", *_ended(config, finished))]
        return [
            _ok("python", told["python"]),
            *_packages(told),
            *_compiler(config, told),
            *_gpus(config, told),
            _step(told, finished, kept is not None),
        ]
    finally:
        finished.outputs.discard()


def _command(config: Config, *words: str) -> Command:
    return Command(
        label="image check",
        trusted=True,
        genome={},
        tools={"check.py": inside("check.py")},
        argv=("{python}", "{tools}/check.py", *words),
        limits=Limits(
            SECONDS, int(config.sandbox.memory_gb * GIB), int(config.sandbox.output_gb * GIB)
        ),
        data={},
        artifacts={},
        keep=(CHECKPOINT,),
    )


def _told(finished: Finished) -> dict[str, Any] | None:
    """What check.py said; torch may have printed before it."""
    for line in reversed(finished.lines):
        try:
            told = json.loads(line.text)
        except ValueError:
            continue
        if isinstance(told, dict) and "python" in told:
            return told
    return None


def _ended(config: Config, finished: Finished) -> tuple[str, str]:
    """Why there is no answer, and the cure."""
    last = " ".join(finished.errors.split())[-300:]
    if finished.cause == "memory":
        return (
            f"{config.sandbox.memory_gb:g} GiB are not enough for one step: {last}",
            "raise sandbox.memory_gb",
        )
    if finished.cause == "infra":
        return f"the engine failed: {last}", "`darwin-git doctor`; its own log says more"
    how = finished.cause if finished.exit_code is None else f"exit {finished.exit_code}"
    return (
        f"the check did not come to its end ({how}): {last}",
        "the image's Python may be broken: build it anew with `darwin-git image build --again`",
    )


def _packages(told: dict[str, Any]) -> list[Check]:
    checks = []
    for name in ("torch", "numpy"):
        if name not in told:
            error = told[f"{name}_error"]
            cure = "`darwin-git image build` makes an image that has it"
            checks.append(_bad(name, f"cannot be imported: {error}", cure))
            continue
        ours = _version_here(name)
        if ours and ours.partition("+")[0] != told[name].partition("+")[0]:
            found = f"{told[name]}; this machine's own is {ours}"
            cure = f"nothing to do, unless you compare with the process runner's numbers: {name}=="
            checks.append(_note(name, found, cure + ours.partition("+")[0]))
        else:
            checks.append(_ok(name, told[name]))
    return checks


def _version_here(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return ""


def _compiler(config: Config, told: dict[str, Any]) -> list[Check]:
    """What torch.compile needs beside torch: on a CPU always, on a GPU for its launchers."""
    missing = [
        word
        for word, found in (("a C++ compiler", "compiler"), ("Python's headers", "headers"))
        if not told[found]
    ]
    if not missing:
        return [_ok("compiler", told["compiler"])]
    lacking = " and ".join(missing)
    if config.genome.compile:
        cure = (
            "a base with both: --base python:3.12 (not slim), or a rootfs made with "
            "`sh -s base.tar g++ python3-dev`"
        )
        return [_bad("compiler", f"genome.compile = true, and {lacking} is missing", cure)]
    return [_ok("compiler", f"without {lacking}; only torch.compile would need it")]


def _gpus(config: Config, told: dict[str, Any]) -> list[Check]:
    if config.genome.device != "cuda" or "gpus" not in told:
        return []
    if told["gpus"]:
        return [_ok("gpu", ", ".join(told["gpus"]))]
    cure = "`darwin-git image build --cuda` for torch with CUDA"
    if "+cpu" not in told["torch"]:
        cure = "the engine's driver may be older than torch's CUDA: --torch-index cu126"
    return [_bad("gpu", f"torch {told['torch']} sees none", cure)]


def _step(told: dict[str, Any], finished: Finished, kept: bool) -> Check:
    if "torch" not in told or "numpy" not in told:
        return _bad("step", "not tried without torch and numpy", "see above")
    if "step_error" in told:
        return _bad("step", told["step_error"], "mend what is said above, or choose another base")
    if not kept:
        return _bad("step", "its checkpoint could not be fetched", "raise sandbox.output_gb")
    return _ok("step", f"loss {told['loss']:.3f}, {finished.seconds:.1f} s with import torch")


def _spoken(config: Config, runner: Runner, slot: Slot) -> Check:
    """Scoring speaks to its container over attach."""
    count = len(PING)
    try:
        with runner.converse(_command(config, "echo"), slot) as dialogue:
            # the script reads a whole MiB before it answers
            dialogue.send(PING.ljust(1 << 20, b"."))
            answer = dialogue.receive(1 << 20)
    except DialogueEnded as ended:
        return _bad("dialogue", f"the container did not answer ({ended})", "`darwin-git doctor`")
    if answer[:count] != PING:
        return _bad("dialogue", "what came back is not what was sent", "another engine or runtime")
    return _ok("dialogue", "1 MiB there and back")


def _folder() -> Path:
    """Of check's attempts, the same for every repository: a killed check is cleared by the next."""
    home = os.environ.get("XDG_CACHE_HOME") or str(Path("~/.cache").expanduser())
    return Path(home, "darwin-git", "check")


def _ok(name: str, found: str) -> Check:
    return {"name": name, "state": "ok", "found": found, "cure": ""}


def _note(name: str, found: str, cure: str) -> Check:
    return {"name": name, "state": "note", "found": found, "cure": cure}


def _bad(name: str, found: str, cure: str) -> Check:
    return {"name": name, "state": "bad", "found": found, "cure": cure}
