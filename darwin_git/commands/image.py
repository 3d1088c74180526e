"""`image build`, `image list`, `image clean`: the training image and what we keep on the engine."""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from darwin_git.commands.read import schema
from darwin_git.commands.settings import root_of
from darwin_git.config import Config, load
from darwin_git.errors import DarwinError
from darwin_git.sandbox import base as bases
from darwin_git.sandbox import image, wheels
from darwin_git.sandbox.engine import Engine, faults
from darwin_git.sandbox.leftovers import clone_id
from darwin_git.store.history import GitHistory
from darwin_git.store.repository import Repository

TOLD = ("torch", "numpy")
"""What our own scripts need beside the standard library."""
PATIENCE = 1800.0
"""Seconds for one answer of the engine: it writes gigabytes before it gives some."""

Tell = Callable[[str], None]


def build(
    folder: Path,
    *,
    base: str,
    packages: Sequence[str],
    torch_index: str,
    cuda: bool,
    wheel_folders: Sequence[Path],
    python: str,
    name: str,
    again: bool,
    tell: Tell,
) -> dict[str, Any]:
    """Make the training image, or find the one that was made from the same inputs.

    Args:
        folder: where darwin.toml is looked for.
        base: an image or a root filesystem's tar; empty for Python's own image of this version.
        packages: further requirements, as pip takes them.
        torch_index: an index by URL or short name.
        cuda: torch for CUDA.
        wheel_folders: folders with wheels.
        python: the interpreter in the base.
        name: of the image; empty for sandbox.image.
        again: build even where the inputs are the same.
        tell: told what happens.

    Raises:
        DarwinError: engine, base or wheels cannot be had, or there is no space.
    """
    config = load(root_of(folder))
    wanted = name or config.sandbox.image
    image.split(wanted)
    for place in wheel_folders:
        if not place.is_dir():
            raise DarwinError(f"--wheels {place} is no folder", hint="a folder of *.whl files")
    sources = wheels.Sources(
        wheels.index_of(torch_index or (wheels.CUDA if cuda else "")), tuple(wheel_folders)
    )
    named = {wheels.name_of(one): one for one in packages}
    with reached(config) as engine:
        bases.sweep(engine)
        chosen = base or default_base(config)
        found, done = bases.find(engine, chosen)
        if done:
            tell(f"{done} the base {chosen}")
        ground = bases.probe(engine, found, chosen, python, {*TOLD, *named})
        asked = [*named.values(), *(wheels.pinned(one) for one in TOLD if one not in named)]
        missing = _missing(ground, named, fresh_torch=bool(sources.index))
        spoken = ".".join(map(str, ground.version))
        tell(f"base {chosen}: Python {spoken}, {ground.machine}, {_spoken(ground.packages)}")
        inputs = image.inputs_of(ground, missing, sources)
        made = None if again else image.made_from(engine, inputs)
        reused = made is not None
        if made is None:
            if missing:
                tell(f"fetching {', '.join(missing)}")
            with wheels.site_of(ground, missing, sources) as site:
                tell("making the image")
                made = image.make(engine, ground, site, asked, inputs, wanted)
        else:
            engine.api.tag(made, *image.split(wanted))
        told = image.described(engine, made)
    return {"schema": schema("image-build"), "name": wanted, "reused": reused, **asdict(told)}


def default_base(config: Config) -> str:
    """Python's own image; torch.compile needs a compiler, which the slim one lacks."""
    version = f"{sys.version_info[0]}.{sys.version_info[1]}"
    return f"python:{version}" if config.genome.compile else f"python:{version}-slim"


def _missing(ground: bases.Base, named: dict[str, str], *, fresh_torch: bool) -> list[str]:
    """Requirements that the base does not have; what the person named is always installed."""
    missing = [
        wheels.pinned(one)
        for one in TOLD
        if one not in named and (one not in ground.packages or (one == "torch" and fresh_torch))
    ]
    return [*missing, *named.values()]


def _spoken(packages: dict[str, str]) -> str:
    return ", ".join(f"{name} {version}" for name, version in packages.items()) or "no torch"


def listing(folder: Path) -> dict[str, Any]:
    """Our images, which one darwin.toml names, and the cache volumes."""
    config = load(root_of(folder))
    clone = _clone(folder)
    with reached(config) as engine:
        ours = image.images(engine)
        named = bases.id_of(engine, config.sandbox.image)
        volumes = image.caches(engine)
    return {
        "schema": schema("image-list"),
        "named": config.sandbox.image,
        "ready": named,
        "images": [{**asdict(one), "named": one.id == named} for one in ours],
        "caches": [
            {"name": name, "bytes": size, "own": owner == clone} for name, owner, size in volumes
        ],
    }


def clean(folder: Path, *, images: bool, wait: float) -> dict[str, Any]:
    """Remove this clone's caches, and with `images` our images that nobody here names.

    An image that darwin.toml names stays, and the one that the baseline was measured in.

    Args:
        wait: seconds to wait for another command's lock.
    """
    config = load(root_of(folder))
    kept = [config.sandbox.image]
    gone: list[str] = []
    with ExitStack() as stack:
        engine = stack.enter_context(reached(config))
        bases.sweep(engine)
        if found := _repository(folder):
            repository = stack.enter_context(found)
            stack.enter_context(repository.session(wait, "image clean"))  # nothing of ours runs
            state = GitHistory(repository).state()
            kept += [str(state.measured.get("image", ""))] if state else []
            gone = _cleaned(config, repository, engine)
        away, busy = image.remove_images(engine, filter(None, kept)) if images else ([], [])
    return {"schema": schema("image-clean"), "caches": gone, "images": away, "in_use": busy}


def _cleaned(config: Config, repository: Repository, engine: Engine) -> list[str]:
    """Names of the caches that are gone; the runner also drops what it keeps on the host."""
    from darwin_git.sandbox.docker import DockerRunner

    attempts = repository.git.common_dir / "darwin" / "attempts"
    if not (attempts / "clone").exists():
        return []  # it has never used an engine
    own = clone_id(attempts)
    names = [name for name, clone, _ in image.caches(engine) if clone == own]
    runner = DockerRunner(attempts, config.sandbox.image, engine=config.sandbox.engine)
    try:
        compiled = runner.clean() - len(names)
    finally:
        runner.close()
    return names + [f"{compiled} compile caches"] * bool(compiled)


def _repository(folder: Path) -> Repository | None:
    try:
        return Repository.open(folder, thorough=False)
    except DarwinError:
        return None


def _clone(folder: Path) -> str | None:
    """This clone's name on engines, where it has used one."""
    if not (found := _repository(folder)):
        return None
    with found as repository:
        attempts = repository.git.common_dir / "darwin" / "attempts"
        return clone_id(attempts) if (attempts / "clone").exists() else None


@contextmanager
def reached(config: Config) -> Iterator[Engine]:
    """The configured engine; its refusals become DarwinError."""
    engine = Engine(config.sandbox.engine)
    try:
        engine.api.timeout = PATIENCE
        yield engine
    except faults() as error:
        raise engine.explain(error) from error
    finally:
        engine.close()
