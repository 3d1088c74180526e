"""Read-only data folders as volumes of the engine: filled once, kept between runs."""

import fcntl
import hashlib
import json
import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from darwin_git.sandbox import container
from darwin_git.sandbox.engine import Engine, faults
from darwin_git.sandbox.leftovers import remove_container, remove_volume
from darwin_git.sandbox.parcel import Parcel, tree

CHUNK = 1 << 20


class DataVolumes:
    """One volume for each content. That one is filled is written on the host, beside the attempts.

    Args:
        folder: on the host, for the marks; outlives the runs.
        clone: whose volumes they are.
    """

    def __init__(self, engine: Engine, folder: Path, clone: str) -> None:
        self._engine = engine
        self._folder = folder
        self._clone = clone
        self._ready: dict[Path, str] = {}
        self._guard = threading.Lock()

    def of(self, folder: Path, image: container.Image, labels: Mapping[str, str]) -> str:
        """The volume with a folder's content; raises OSError or what the engine raises.

        Args:
            labels: of the container that fills it.
        """
        with self._guard:  # a folder's content never changes under its name (ports.Command)
            if folder not in self._ready:
                self._ready[folder] = self._volume(folder, image, labels)
            return self._ready[folder]

    def forget(self) -> None:
        """Look again: somebody removed volumes."""
        with self._guard:
            self._ready.clear()

    def _volume(self, folder: Path, image: container.Image, labels: Mapping[str, str]) -> str:
        import docker.errors

        name = f"darwin-{self._clone}-data-{content_hash(folder)[:24]}"
        mark = self._folder / f"{name}.json"
        api = self._engine.api
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with _locked(self._folder / f"{name}.lock"):
            with suppress(docker.errors.NotFound):
                if _marked(mark) == self._stamp(api.inspect_volume(name)):
                    return name
                remove_volume(api, name)  # its filling was interrupted
            kept = {container.CLONE: self._clone, container.ROLE: "data"}
            api.create_volume(name, driver="local", labels=kept)
            self._fill(folder, name, image, labels)
            draft = mark.with_suffix(".tmp")
            draft.write_text(json.dumps(self._stamp(api.inspect_volume(name))))
            draft.replace(mark)
        return name

    def _fill(
        self, folder: Path, name: str, image: container.Image, labels: Mapping[str, str]
    ) -> None:
        api = self._engine.api
        parcel = Parcel()
        for path, file in tree(folder).items():
            parcel.add(path, file, executable=os.access(file, os.X_OK))
        created = api.create_container_from_config(container.fill(image, name, labels))
        try:
            api.put_archive(created["Id"], container.FILL, parcel.stream())
        finally:
            with suppress(*faults()):
                remove_container(api, created["Id"])

    def _stamp(self, volume: dict[str, object]) -> list[object]:
        # A volume of that name which was made anew, or on another engine, is another one.
        return [self._engine.info().get("ID"), volume.get("CreatedAt")]


def content_hash(folder: Path) -> str:
    """SHA-256 over names and contents."""
    whole = hashlib.sha256()
    for name, path in tree(folder).items():
        one = hashlib.sha256()
        with path.open("rb") as file:
            while data := file.read(CHUNK):
                one.update(data)
        whole.update(f"{name}\0{os.access(path, os.X_OK):d}\0{one.hexdigest()}\n".encode())
    return whole.hexdigest()


def _marked(mark: Path) -> object:
    try:
        return json.loads(mark.read_text())
    except (OSError, ValueError):
        return None


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
