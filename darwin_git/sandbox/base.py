"""The base of a training image: found, pulled or imported, and asked what is in it.

A base is any Linux image with glibc and Python: a name the engine has or its registry knows, or a
root filesystem as a tar file (scripts/base-rootfs.sh makes one without a registry).
"""

import contextlib
import hashlib
import json
import os
import platform
import secrets
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from darwin_git.config import IMAGE_NAME
from darwin_git.errors import DarwinError
from darwin_git.sandbox.container import ROLE
from darwin_git.sandbox.engine import Engine, faults

ROOTFS = "darwin-git/base"
BUILDER = "darwin-git.builder"
PROBE_SECONDS = 120
OLDEST_PYTHON = (3, 10)

_PROBE = """
import json, platform, sys, sysconfig
from importlib import metadata
found = {}
for name in json.loads(sys.argv[1]):
    try:
        found[name] = metadata.version(name)
    except metadata.PackageNotFoundError:
        pass
print(json.dumps({
    "executable": sys.executable,
    "version": list(sys.version_info[:3]),
    "implementation": platform.python_implementation(),
    "threaded": bool(sysconfig.get_config_var("Py_GIL_DISABLED")),
    "machine": platform.machine(),
    "glibc": platform.libc_ver()[1] if platform.libc_ver()[0] == "glibc" else "",
    "packages": found,
}))
"""


@dataclass(frozen=True)
class Base:
    """An image to build on, and what its Python said.

    Attributes:
        id: the engine's sha256:...
        name: how the person named it.
        python: path of the interpreter inside.
        version: of the interpreter.
        machine: as wheels call it, for example ``x86_64``.
        glibc: minor version of glibc 2.
        packages: versions by name, of those that were asked about and are there.
        path: the image's own PYTHONPATH.
    """

    id: str
    name: str
    python: str
    version: tuple[int, int, int]
    machine: str
    glibc: int
    packages: dict[str, str]
    path: str


def find(engine: Engine, name: str) -> tuple[str, str]:
    """The base's image id and what was done to have it: nothing, ``pulled`` or ``imported``.

    Raises:
        DarwinError: it cannot be had.
    """
    path = Path(name)
    if path.is_file():
        return _imported(engine, path)
    if path.suffix in (".tar", ".tgz", ".gz", ".xz", ".bz2") or name.startswith(("/", "./", "../")):
        what = "is no plain file" if path.exists() else "no such file"
        raise DarwinError(f"{name}: {what}", hint="--base takes an image or a rootfs tar")
    if not IMAGE_NAME.fullmatch(name):
        raise DarwinError(
            f"{name!r} is neither a file nor an image's name",
            hint="--base takes an image, as in python:3.12-slim, or a rootfs tar",
        )
    if found := id_of(engine, name):
        return found, ""
    return _pulled(engine, name), "pulled"


def id_of(engine: Engine, name: str) -> str | None:
    """Id of an image that the engine has."""
    from docker.errors import ImageNotFound

    try:
        return str(engine.api.inspect_image(name)["Id"])
    except ImageNotFound:
        return None


def _pulled(engine: Engine, name: str) -> str:
    from docker.errors import APIError
    from docker.utils import parse_repository_tag

    repository, tag = parse_repository_tag(name)
    try:
        for event in engine.api.pull(repository, tag or "latest", stream=True, decode=True):
            if "error" in event:
                raise _not_had(name, str(event["error"]))
        return str(engine.api.inspect_image(name)["Id"])
    except APIError as error:
        raise _not_had(name, str(error.explanation or error)) from None


def _not_had(name: str, why: str) -> DarwinError:
    return DarwinError(
        f"the base image {name} cannot be had: {_short(why)}",
        hint="check its name and the engine's way to the registry; without a registry: "
        "--base IMAGE that `docker images` shows, or --base ROOTFS.tar "
        "(`darwin-git image rootfs` prints a script that makes one)",
    )


def _imported(engine: Engine, path: Path) -> tuple[str, str]:
    """A root filesystem as an image, named after its content."""
    from docker.errors import APIError

    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DarwinError(f"{path} cannot be read: {error.strerror}", hint="check it") from None
    name = f"{ROOTFS}-{digest[:16]}:latest"  # Podman ignores an import's tag
    if found := id_of(engine, name):
        return found, ""
    try:
        answer = str(
            engine.api.import_image_from_file(
                str(path),
                repository=name.partition(":")[0],
                tag="latest",
                changes=[f"LABEL {ROLE}=base"],
            )
        )
    except APIError as error:
        if "no space left" in str(error).lower():
            raise
        answer = json.dumps({"error": str(error.explanation or error)})
    told = [json.loads(line) for line in answer.splitlines() if line.strip()]
    for why in (one["error"] for one in told if "error" in one):
        raise DarwinError(
            f"{path} is no root filesystem that the engine takes: {_short(why)}",
            hint="it must be a tar of a Linux root folder, plain or gzip, bzip2, xz",
        )
    return str(engine.api.inspect_image(name)["Id"]), "imported"


def probe(engine: Engine, image: str, name: str, python: str, packages: Iterable[str]) -> Base:
    """Ask the Python in an image about itself, behind the limits that any command has.

    Raises:
        DarwinError: another architecture, no python, no glibc, too old.
    """
    config = engine.image(image).get("Config") or {}
    told = _ask(engine, image, name, python, sorted(set(packages)))
    version = tuple(told["version"])
    spoken = ".".join(map(str, version))
    if told["implementation"] != "CPython" or told["threaded"] or version < OLDEST_PYTHON:
        kind = "free-threaded " if told["threaded"] else ""
        raise DarwinError(
            f"the base {name} has {kind}{told['implementation']} {spoken}: torch needs CPython "
            "3.10 or newer",
            hint="name another base or another interpreter in it (--python PATH)",
        )
    if not told["glibc"].startswith("2."):
        raise DarwinError(
            f"the base {name} has no glibc (Alpine?): torch has no wheels for it",
            hint="name a base with glibc, such as a Debian or Ubuntu one",
        )
    environment = dict(one.partition("=")[::2] for one in config.get("Env") or ())
    return Base(
        id=image,
        name=name,
        python=told["executable"],
        version=(version[0], version[1], version[2]),
        machine=told["machine"],
        glibc=int(told["glibc"].split(".")[1]),
        packages=told["packages"],
        path=environment.get("PYTHONPATH", ""),
    )


def _ask(engine: Engine, image: str, name: str, python: str, packages: list[str]) -> dict[str, Any]:
    from docker.errors import APIError

    api = engine.api
    with created(engine, image, [python, "-c", _PROBE, json.dumps(packages)]) as container:
        try:
            api.start(container)
        except APIError as error:
            told_by = str(error.explanation).lower()
            if not any(one in told_by for one in ("executable file", "no such file", "not found")):
                raise
            raise DarwinError(
                f"the base {name} has no {python}",
                hint="name a base with Python 3.10 or newer, or its interpreter: --python PATH",
            ) from None
        status = wait(engine, container, PROBE_SECONDS)
        text = api.logs(container, stdout=True, stderr=False, tail=1).decode("utf-8", "replace")
        errors = api.logs(container, stdout=False, stderr=True, tail=5).decode("utf-8", "replace")
    if status == 0:
        with contextlib.suppress(json.JSONDecodeError):
            told: dict[str, Any] = json.loads(text)
            return told
    cure = "name another base, or its interpreter: --python PATH"
    if "exec format error" in errors.lower():
        cure = "it is made for another processor: name a base for the engine's machine"
    raise DarwinError(
        f"python in the base {name} does not answer (exit {status}): {_short(errors)}", hint=cure
    )


def wait(engine: Engine, container: str, seconds: float) -> int:
    """Exit code; killed at the deadline: 137."""
    import requests

    try:
        return int(engine.api.wait(container, timeout=seconds)["StatusCode"])
    except (requests.exceptions.ReadTimeout, requests.exceptions.ConnectionError):
        with contextlib.suppress(*faults()):
            engine.api.kill(container)
        return 137


@contextlib.contextmanager
def created(engine: Engine, image: str, command: Sequence[str], user: str = "") -> Iterator[str]:
    """A container of ours, created and not started; removed at the end, however it comes.

    It has no network and no capabilities.
    """
    config = {
        "Image": image,
        "Entrypoint": [],  # the base's own is not asked; a commit would keep one of ours
        "Cmd": list(command),
        "User": user,
        "Healthcheck": {"Test": ["NONE"]},
        "Labels": {ROLE: "build", BUILDER: f"{platform.node()}/{os.getpid()}"},
        "HostConfig": {
            "NetworkMode": "none",
            "CapDrop": ["ALL"],
            "SecurityOpt": ["no-new-privileges"],
        },
    }
    # Named in advance: an interrupt may come before the engine's answer.
    container = f"darwin-build-{secrets.token_hex(6)}"
    try:
        engine.api.create_container_from_config(config, container)
        yield container
    finally:
        with contextlib.suppress(*faults()):
            engine.api.remove_container(container, force=True, v=True)


def lives(process: int) -> bool:
    """Whether a process of this machine lives."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def sweep(engine: Engine) -> int:
    """Remove containers of builds on this machine whose process is dead; returns how many."""
    gone = 0
    for one in engine.api.containers(all=True, filters={"label": f"{ROLE}=build"}):
        node, _, process = str(one["Labels"].get(BUILDER, "")).rpartition("/")
        if node != platform.node() or not process.isdecimal() or lives(int(process)):
            continue
        with contextlib.suppress(*faults()):
            engine.api.remove_container(one["Id"], force=True, v=True)
            gone += 1
    return gone


def _short(text: str) -> str:
    return " ".join(text.split())[-300:]
