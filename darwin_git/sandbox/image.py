"""Training images, made through the engine's API alone: no Dockerfile, no builder, no bind mount.

An image is its base and one layer with the missing packages below /opt/darwin/site. Nothing of
darwin_git is in it. What it was made from stands in its labels; the same inputs are not built
twice, since a new digest is a new measurement.
"""

import contextlib
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from darwin_git import __version__
from darwin_git.config import IMAGE_NAME
from darwin_git.errors import DarwinError
from darwin_git.sandbox.base import BUILDER, Base, created, id_of, wait
from darwin_git.sandbox.container import CLONE, ROLE
from darwin_git.sandbox.engine import Engine
from darwin_git.sandbox.wheels import SITE, Sources, archive, name_of, same_bytecode

LABEL = "darwin-git"
FORMAT = "1"
"""Of the image's layout and labels: another one builds anew."""
COMPILE_SECONDS = 1800


@dataclass(frozen=True)
class Image:
    """A training image; `packages` are versions by name, `size` is in bytes."""

    id: str
    names: tuple[str, ...]
    size: int
    created: str
    python: str
    packages: Mapping[str, str]
    base: str
    inputs: str


def inputs_of(base: Base, requirements: Sequence[str], sources: Sources) -> str:
    """A hash of what an image is made from."""
    wheels = [
        (file.name, _digest(file))
        for folder in sources.wheels
        for file in sorted(folder.glob("*.whl"))
    ]
    parts = [FORMAT, base.id, base.python, sorted(requirements), sources.index, wheels]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def _digest(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def made_from(engine: Engine, inputs: str) -> str | None:
    """Id of the image that was made from these inputs."""
    found = engine.api.images(filters={"label": f"{LABEL}.inputs={inputs}"})
    return str(max(found, key=lambda one: one["Created"])["Id"]) if found else None


def make(
    engine: Engine, base: Base, site: Path, asked: Sequence[str], inputs: str, name: str
) -> str:
    """Put the site folder onto the base and name the result; returns its id.

    Where anything fails, or the caller is interrupted, no image and no container stays.
    """
    repository, tag = split(name)
    compileall = [base.python, "-m", "compileall", "-q", "-j", "0", f"/{SITE}"]
    with created(engine, base.id, compileall, user="0") as container:
        _put(engine, container, site)
        if not same_bytecode(base) and any(site.iterdir()):
            engine.api.start(container)
            wait(
                engine, container, COMPILE_SECONDS
            )  # a file that does not compile is its package's matter
        labels = {
            ROLE: "image",
            BUILDER: "",
            f"{LABEL}.format": FORMAT,
            f"{LABEL}.version": __version__,
            f"{LABEL}.python": base.python,
            f"{LABEL}.path": f"/{SITE}",
            f"{LABEL}.packages": json.dumps(_versions(base, site, asked), sort_keys=True),
            f"{LABEL}.base": f"{base.name} {base.id}",
            f"{LABEL}.inputs": inputs,
        }
        path = ":".join(one for one in (f"/{SITE}", base.path) if one)
        changes = [
            f"ENV PYTHONPATH={json.dumps(path)}",
            "ENTRYPOINT []",
            f"CMD {json.dumps([base.python])}",
            "WORKDIR /",
            *(f"LABEL {key}={json.dumps(value)}" for key, value in labels.items()),
        ]
        made = engine.api.commit(container, repository=repository, tag=tag, changes=changes)
    return str(made["Id"])


def _put(engine: Engine, container: str, site: Path) -> None:
    import requests

    try:
        engine.api.put_archive(container, "/", archive(site))
    except requests.exceptions.ConnectionError as error:
        # An engine that runs out of space hangs up in the middle.
        engine.api.ping()
        raise DarwinError(
            f"the engine broke off while it was sent {_size(site) >> 20} MiB of packages: {error}",
            hint="it may have no space left: look with `docker system df`",
        ) from error


def _size(folder: Path) -> int:
    return sum(one.stat().st_size for one in folder.rglob("*") if one.is_file())


def _versions(base: Base, site: Path, asked: Sequence[str]) -> dict[str, str]:
    """What the image has of the packages asked for: the site's version hides the base's."""
    found = dict(base.packages)
    wanted = {name_of(one) for one in asked}
    for one in metadata.distributions(path=[str(site)]):
        name = name_of(one.metadata["Name"])
        if name in wanted:
            found[name] = one.version
    return found


def split(name: str) -> tuple[str, str]:
    """Repository and tag of an image's name; raises DarwinError where it cannot be a new name."""
    repository, colon, tag = name.rpartition(":")
    if not colon or "/" in tag:
        repository, tag = name, "latest"
    if "@" in name or not repository or not IMAGE_NAME.fullmatch(name):
        raise DarwinError(
            f"{name!r} cannot name a new image",
            hint='darwin.toml\'s sandbox.image, or --tag: as in "darwin-git/train:latest"',
        )
    return repository, tag


def images(engine: Engine) -> list[Image]:
    """Ours, the newest first."""
    found = engine.api.images(filters={"label": f"{ROLE}=image"})
    return [described(engine, one["Id"]) for one in sorted(found, key=lambda i: -i["Created"])]


def described(engine: Engine, name: str) -> Image:
    """An image of ours, or any other with nothing known about its packages."""
    details = engine.api.inspect_image(name)
    labels = (details.get("Config") or {}).get("Labels") or {}
    packages: dict[str, str] = {}
    with contextlib.suppress(json.JSONDecodeError):
        packages = json.loads(labels.get(f"{LABEL}.packages", "{}"))
    return Image(
        id=str(details["Id"]),
        names=tuple(details.get("RepoTags") or ()),
        size=int(details["Size"]),
        created=str(details["Created"])[:19] + "Z",
        python=labels.get(f"{LABEL}.python", "python3"),
        packages=packages,
        base=labels.get(f"{LABEL}.base", "").partition(" ")[0],
        inputs=labels.get(f"{LABEL}.inputs", ""),
    )


def caches(engine: Engine) -> list[tuple[str, str, int]]:
    """Cached data volumes: name, whose clone they are, bytes (-1 where the engine is silent)."""
    found = engine.api.volumes(filters={"label": f"{ROLE}=data"})["Volumes"] or ()
    if not found:
        return []
    sizes = {
        one["Name"]: int((one.get("UsageData") or {}).get("Size", -1))
        for one in engine.api.df().get("Volumes") or ()
    }
    ours = [(one["Name"], (one["Labels"] or {}).get(CLONE, "")) for one in found]
    return [(name, clone, sizes.get(name, -1)) for name, clone in sorted(ours)]


def remove_images(engine: Engine, keep: Iterable[str]) -> tuple[list[str], list[str]]:
    """Remove our images and imported bases but for `keep`; those removed, those in use."""
    from docker.errors import APIError, ImageNotFound

    kept = {id_of(engine, name) for name in keep}
    found = engine.api.images(filters={"label": f"{ROLE}=image"})
    found += engine.api.images(filters={"label": f"{ROLE}=base"})
    gone, used = [], []
    for one in sorted(found, key=lambda image: -int(image["Created"])):  # children first
        if one["Id"] in kept:
            continue
        try:
            for name in one["RepoTags"] or [one["Id"]]:
                if name != "<none>:<none>":
                    engine.api.remove_image(name)
            with contextlib.suppress(ImageNotFound):
                engine.api.remove_image(one["Id"])
        except APIError as error:
            if error.status_code != 409:
                raise
            used.append(one["Id"])
        else:
            gone.append(one["Id"])
    return gone, used
