"""Reading what a dead command left: regular files of bounded size, nothing else."""

import itertools
import os
import secrets
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from darwin_git.domain import strict_json
from darwin_git.ports import UnsafeOutput

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(frozen=True)
class FileArtifact:
    """An Artifact that lies in the host's file system."""

    path: Path
    size: int


def open_regular(folder: Path, name: str, limit: int) -> tuple[int, int]:
    """Open one file of a folder that somebody else wrote; returns (descriptor, size).

    Links, pipes, devices, hard links and files over `limit` bytes raise UnsafeOutput. Only for
    folders whose writer is dead: what is checked here must not change afterwards.
    """
    if not name or name in (".", "..") or "/" in name or "\0" in name:
        raise UnsafeOutput(f"{name!r} is no file name")
    parent = file = -1
    try:
        parent = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        # O_NONBLOCK: opening a pipe must not wait for a writer
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        file = os.open(name, flags, dir_fd=parent)
        found = os.fstat(file)
        if not stat.S_ISREG(found.st_mode):
            raise UnsafeOutput(f"{name} is no regular file")
        if found.st_nlink != 1:
            raise UnsafeOutput(f"{name} is linked from elsewhere")
        if found.st_size > limit:
            raise UnsafeOutput(f"{name} has {found.st_size} bytes, more than {limit}")
        opened, file = file, -1
        return opened, found.st_size
    except OSError as error:
        raise UnsafeOutput(f"{name} cannot be read: {error.strerror}") from None
    finally:
        for descriptor in (parent, file):
            if descriptor >= 0:
                os.close(descriptor)


def read_regular(folder: Path, name: str, limit: int) -> bytes:
    """The whole content of a file that open_regular takes."""
    descriptor, _ = open_regular(folder, name, limit)
    with os.fdopen(descriptor, "rb") as file:
        data = file.read(limit + 1)
    if len(data) > limit:
        raise UnsafeOutput(f"{name} has more than {limit} bytes")
    return data


def read_json(folder: Path, name: str, limit: int) -> Any:
    """Strict JSON from a file that open_regular takes."""
    try:
        return strict_json.parse(read_regular(folder, name, limit))
    except strict_json.UnsafeJson as error:
        raise UnsafeOutput(f"{name}: {error}") from None


@dataclass(frozen=True)
class FolderOutputs:
    """Outputs that lie in a folder of the host.

    Attributes:
        folder: the command's out folder.
        limit: no artifact is larger.
        on_discard: deletes the folder and what stands around it.
    """

    folder: Path
    limit: int
    on_discard: Callable[[], None]

    def read(self, name: str, limit: int) -> bytes:
        """Bytes of one regular file of at most `limit` bytes; raises UnsafeOutput otherwise."""
        return read_regular(self.folder, name, min(limit, self.limit))

    def artifact(self, name: str) -> FileArtifact | None:
        """A handle for another command, None where no safe regular file has that name."""
        try:
            descriptor, size = open_regular(self.folder, name, self.limit)
        except UnsafeOutput:
            return None
        os.close(descriptor)
        return FileArtifact(self.folder / name, size)

    def discard(self) -> None:
        """Delete everything the command left; may be called twice."""
        self.on_discard()


class NoOutputs:
    """Outputs of a command that never started."""

    def read(self, name: str, limit: int) -> bytes:
        """Raises UnsafeOutput."""
        raise UnsafeOutput(f"{name} cannot be read: the command never started")

    def artifact(self, name: str) -> None:
        """None."""

    def discard(self) -> None:
        """Nothing to delete."""


def remove_tree(folder: Path) -> None:
    """Delete a folder that somebody else wrote: closed folders included, and deep ones.

    Folders within folders are moved to the top first, so that no path becomes too long and nothing
    recurses.
    """
    if folder.is_symlink() or not folder.is_dir():
        folder.unlink(missing_ok=True)
        return
    folder.chmod(0o700)
    fresh = f".{secrets.token_hex(8)}-"
    numbers = itertools.count()
    while entries := _entries(folder):
        for entry, is_folder in entries:
            if not is_folder:
                entry.unlink()
                continue
            entry.chmod(0o700)
            for inner, is_deep in _entries(entry):
                if is_deep:
                    inner.chmod(0o700)
                    inner.rename(folder / f"{fresh}{next(numbers)}")
                else:
                    inner.unlink()
            entry.rmdir()
    folder.rmdir()


def _entries(folder: Path) -> list[tuple[Path, bool]]:
    """What lies in a folder, and whether it is one itself; links are not."""
    with os.scandir(folder) as listing:
        return [(Path(entry.path), entry.is_dir(follow_symlinks=False)) for entry in listing]
