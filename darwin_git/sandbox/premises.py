"""What the container runner asks once: image, runtime, who we are in the engine."""

import hashlib
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from darwin_git.errors import DarwinError
from darwin_git.sandbox import container, leftovers
from darwin_git.sandbox.engine import Engine, faults
from darwin_git.sandbox.volumes import DataVolumes

CACHE_SECONDS = 14 * 24 * 3600.0


class Premises:
    """One clone's place in one engine. Nothing is asked before it is needed.

    Args:
        base: folder for attempts, private to the clone.
        image: name or id of the training image.
        runtime: of the containers; empty for the engine's default.
    """

    def __init__(self, engine: Engine, base: Path, image: str, runtime: str) -> None:
        self.engine = engine
        self.runtime = runtime
        self._base = base
        self._name = image
        self._images: dict[str, container.Image] = {}
        self._clone = ""
        self._data: DataVolumes | None = None
        self._asking = threading.RLock()  # not the one that `cancel` takes: an engine may hang

    def image(self, name: str = "") -> container.Image:
        """An image, the training image by default.

        Raises:
            DarwinError: it, or the runtime, is not to be had.
        """
        with self._asking:
            if name not in self._images:
                if name:
                    cure = "build or load it there, or correct the agent's `image` in darwin.toml"
                    found = container.Image.of(self.engine.image(name, cure))
                else:
                    found = container.Image.of(self.engine.image(self._name))
                self._check_runtime()
                self._images[name] = found
            return self._images[name]

    def _check_runtime(self) -> None:
        known = self.engine.info().get("Runtimes") or {}
        if self.runtime and known and self.runtime not in known:
            raise DarwinError(
                f"the engine at {self.engine.address} has no runtime {self.runtime!r}",
                hint=f"it has {', '.join(sorted(known))}: set one of them as `runtime` under "
                "[sandbox], or register yours in the engine's configuration",
            )

    def runtime_name(self) -> str:
        """The runtime in effect."""
        return self.runtime or str(self.engine.info().get("DefaultRuntime") or "")

    def shares(self) -> bool:
        """A job can join its keeper's PID namespace."""
        return self.runtime_name() in container.SHARING

    def clone(self) -> str:
        """This clone's id."""
        with self._asking:
            if not self._clone:
                self._clone = leftovers.clone_id(self._base)
            return self._clone

    def labels(self, attempt: str, role: str) -> dict[str, str]:
        """What everything of ours in the engine carries."""
        return {container.CLONE: self.clone(), container.ATTEMPT: attempt, container.ROLE: role}

    def data(self) -> DataVolumes:
        """The volumes with data folders."""
        with self._asking:
            if self._data is None:
                self._data = DataVolumes(self.engine, self._base / "volumes", self.clone())
            return self._data

    def cache(self, name: str) -> Path:
        """Where the compile cache of that name lies on the host."""
        return self._caches / f"{hashlib.sha256(name.encode()).hexdigest()[:32]}.tar"

    def forget_caches(self, older_than: float = CACHE_SECONDS) -> int:
        """Delete compile caches that nobody filled for so many seconds; how many."""
        count = 0
        for path in self._caches.glob("*.tar*"):
            if time.time() - path.stat().st_mtime >= older_than:
                path.unlink(missing_ok=True)
                count += 1
        return count

    @property
    def _caches(self) -> Path:
        return self._base / "caches"

    @contextmanager
    def refusals(self) -> Iterator[None]:
        """What the engine refuses before a command runs is for the person to mend: DarwinError."""
        try:
            yield
        except faults() as error:
            if is_our_disk(error):
                raise
            raise self.engine.explain(error) from error


def is_our_disk(error: Exception) -> bool:
    """A fault of the host's file system, not of the engine."""
    # the SDK's own exceptions and broken connections are other subclasses of OSError
    return type(error) in (OSError, FileNotFoundError, PermissionError)
