"""Attempt directories: one per command, owned by a lock that dies with its owner.

::

    <base>/<name>.lock      held (flock) by the tool that owns the attempt: a kill releases it
    <base>/<name>.json      written once a resumable command ended well; beside, never inside
    <base>/<name>/          mode 700: genome/ tools/ out/ home/ tmp/ cache/
"""

import fcntl
import json
import os
import re
import secrets
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from darwin_git.ports import Artifact, Command, Finished, Line
from darwin_git.sandbox.family import Family
from darwin_git.sandbox.output import FileArtifact, FolderOutputs, remove_tree

FOLDERS = ("genome", "tools", "out", "home", "tmp", "cache")
ADOPTABLE_SECONDS = 14 * 24 * 3600.0
_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,150}")


class Occupied(Exception):
    """Another living process owns the attempt of that name."""


@dataclass
class Attempt:
    """A locked place for one command."""

    base: Path
    name: str
    lock: int
    limit: int

    @property
    def folder(self) -> Path:
        """Where the command works."""
        return self.base / self.name

    @property
    def marker(self) -> str:
        """What all processes of the attempt carry in their environment."""
        return str(self.folder)

    @classmethod
    def claim(cls, base: Path, key: str, limit: int) -> "Attempt":
        """Lock the attempt of that key, or a fresh one for an empty key; raises Occupied."""
        if key and not _KEY.fullmatch(key):
            raise ValueError(f"{key!r} is no attempt key")
        base.mkdir(mode=0o700, parents=True, exist_ok=True)
        # resolved: the marker must be the same however the base was spelled
        base = base.resolve()
        name = f"k-{key}" if key else f"x-{secrets.token_hex(8)}"
        lock = _lock(base / f"{name}.lock")
        if lock is None:
            raise Occupied(f"another process runs {key}")
        return cls(base, name, lock, limit)

    def finished(self) -> Finished | None:
        """How the command of this key ended for an owner that died before it took the result."""
        try:
            kept = json.loads((self.base / f"{self.name}.json").read_text())
        except (FileNotFoundError, ValueError):  # the machine lost its power while it was new
            return None
        if not (self.folder / "out").is_dir():
            return None
        lines = tuple(Line(at, text) for at, text in kept["lines"])
        return Finished("exit", 0, kept["seconds"], lines, kept["errors"], self.outputs())

    def save(self, finished: Finished) -> None:
        """Make the result outlive this process; only for commands that ended well."""
        kept = {
            "v": 1,
            "seconds": finished.seconds,
            "lines": [(line.at, line.text) for line in finished.lines],
            "errors": finished.errors,
        }
        try:
            self._mark(json.dumps(kept))
        except OSError:
            # The disk is full: what only the running command needed makes room.
            for name in FOLDERS:
                if name != "out":
                    remove_tree(self.folder / name)
            self._mark(json.dumps(kept))

    def _mark(self, text: str) -> None:
        draft = self.base / f"{self.name}.json.tmp"
        draft.write_text(text)
        draft.replace(self.base / f"{self.name}.json")

    def outputs(self) -> FolderOutputs:
        """What lies in out/."""
        return FolderOutputs(self.folder / "out", self.limit, self.discard)

    def empty(self) -> None:
        """An empty out folder and nothing else; what stood here before is gone."""
        self._clear()
        (self.folder / "out").mkdir(mode=0o700, parents=True)

    def build(self, command: Command) -> None:
        """Write checkout, tools and artifacts, link the data; what stood here before is gone."""
        self._clear()
        self.folder.mkdir(mode=0o700)
        for name in FOLDERS:
            (self.folder / name).mkdir(mode=0o700)
        genome = self.folder / "genome"
        for path, file in command.genome.items():
            if any(path == at or path.startswith(f"{at}/") for at in command.data):
                continue  # the data folder covers it, as a mount would
            target = _inside(genome, path)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(file.content)
            target.chmod(0o700 if file.executable else 0o600)
        for path, folder in command.data.items():
            target = self._data_at(path)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.symlink_to(folder.resolve(strict=True), target_is_directory=True)
        self._tools(command.tools, command.artifacts)

    def _data_at(self, path: str) -> Path:
        """In the checkout, or beside it by a name of its own."""
        beside = path.removeprefix("../")
        if beside == path:
            return _inside(self.folder / "genome", path)
        if "/" in beside or beside in FOLDERS:
            raise ValueError(f"{path!r} leaves the checkout")
        return _inside(self.folder, beside)

    def _tools(self, tools: Mapping[str, bytes], artifacts: Mapping[str, Artifact]) -> None:
        folder = self.folder / "tools"
        for name, content in tools.items():
            _inside(folder, name).write_bytes(content)
        for name, artifact in artifacts.items():
            if not isinstance(artifact, FileArtifact):
                raise TypeError(f"artifact {name} belongs to another runner")
            _inside(folder, name).symlink_to(artifact.path)

    def discard(self) -> None:
        """Delete everything and give up the lock; may be called twice."""
        if self.lock < 0:
            return
        self._clear()
        (self.base / f"{self.name}.lock").unlink(missing_ok=True)
        self.release()

    def release(self) -> None:
        """Give up the lock, leave the rest for whoever claims the key next."""
        if self.lock >= 0:
            os.close(self.lock)
            self.lock = -1

    def _clear(self) -> None:
        for draft in (f"{self.name}.json", f"{self.name}.json.tmp"):
            (self.base / draft).unlink(missing_ok=True)
        remove_tree(self.folder)


@contextmanager
def owned(base: Path, name: str) -> Iterator[bool]:
    """Own an attempt for a while; False where another living process owns it."""
    base.mkdir(mode=0o700, parents=True, exist_ok=True)
    lock = _lock(base / f"{name}.lock")
    try:
        yield lock is not None
    finally:
        if lock is not None:
            os.close(lock)


def reap(base: Path, scored: Collection[str] = ()) -> list[str]:
    """Kill and remove what dead owners left, but for results that can still be taken.

    Args:
        base: folder of the attempts.
        scored: keys whose results were taken by an owner that died before it deleted them.

    Returns:
        Names of the attempts that were removed.
    """
    removed: list[str] = []
    if not base.is_dir():
        return removed
    base = base.resolve()
    for name in sorted(path.stem for path in base.glob("*.lock")):
        lock = _lock(base / f"{name}.lock")
        if lock is None:
            continue  # its owner lives
        attempt = Attempt(base, name, lock, 0)
        Family(None, attempt.marker).kill()
        kept = base / f"{name}.json"
        wanted = name.removeprefix("k-") not in scored
        if wanted and kept.exists() and time.time() - kept.stat().st_mtime < ADOPTABLE_SECONDS:
            attempt.release()
            continue
        attempt.discard()
        removed.append(name)
    return removed


def _lock(path: Path) -> int | None:
    """An exclusive lock on a file that exists, None where somebody living holds it."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if path.stat().st_ino == os.fstat(descriptor).st_ino:
                return descriptor
        except BlockingIOError:
            os.close(descriptor)
            return None
        except FileNotFoundError:
            pass
        os.close(descriptor)  # deleted by its last owner between open and flock: once more


def _inside(folder: Path, path: str) -> Path:
    """A path below a folder; the trees that we check out never leave it."""
    parts = PurePosixPath(path)
    if parts.is_absolute() or not parts.parts or {"..", ".git"} & set(parts.parts) or "\0" in path:
        raise ValueError(f"{path!r} leaves the checkout")
    return folder / parts
