"""The person's own program: packed into one canonical archive, and put beside each checkout."""

import hashlib
import io
import os
import stat
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import NoReturn

from darwin_git.errors import DarwinError

MOST_BYTES = 64 << 20
MOST_FILES = 4000
IGNORED = frozenset({"__pycache__", ".git", ".DS_Store"})
"""What running, versioning or looking at a folder leaves in it."""


def pack(program: Path) -> bytes:
    """A file or a folder as a tar archive that depends on paths, modes and bytes only.

    Raises:
        DarwinError: it is missing, empty, too large, or holds a link that leaves it.
    """
    files = dict(_files(program))
    if not files:
        raise DarwinError(
            f"the judge {program} has no files",
            hint="metric.program names a program, or the folder that it lies in",
        )
    size = sum(path.stat().st_size for path in files.values())
    if size > MOST_BYTES or len(files) > MOST_FILES:
        raise DarwinError(
            f"the judge {program} has {size >> 20} MiB in {len(files)} files; at most "
            f"{MOST_BYTES >> 20} MiB in {MOST_FILES} are kept in git",
            hint="keep only what the measurement needs, or let the program generate it from a seed",
        )
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name in sorted(files):
            content = files[name].read_bytes()
            info = tarfile.TarInfo(name)
            info.size = len(content)
            info.mode = 0o555 if files[name].stat().st_mode & 0o111 else 0o444
            archive.addfile(info, io.BytesIO(content))
    return out.getvalue()


def _files(program: Path) -> Iterator[tuple[str, Path]]:
    """(name in the archive, file); links count as what they point at, where that lies inside."""
    try:
        root = program.resolve(strict=True)
    except (OSError, RuntimeError):
        raise DarwinError(
            f"the judge {program} is not there",
            hint="metric.program in darwin.toml is absolute, or relative to darwin.toml",
        ) from None
    if not root.is_dir():
        yield root.name, _regular(root, root.parent)
        return
    for folder, folders, names in os.walk(root):
        here = Path(folder)
        folders[:] = sorted(name for name in folders if name not in IGNORED)
        for name in folders:
            if (here / name).is_symlink():
                _refuse(here / name, "is a link to a folder")
        for name in sorted(names):
            if name not in IGNORED:
                path = here / name
                yield path.relative_to(root).as_posix(), _regular(path, root)


def _regular(path: Path, root: Path) -> Path:
    try:
        target = path.resolve(strict=True)
    except (OSError, RuntimeError):
        _refuse(path, "is a link to nowhere")
    if not target.is_relative_to(root):
        _refuse(path, "is a link that leaves the judge's folder")
    if not stat.S_ISREG(target.stat().st_mode):
        _refuse(path, "is no plain file")
    return target


def _refuse(path: Path, why: str) -> NoReturn:
    raise DarwinError(f"{path} {why}", hint="put the file itself there: the judge is copied")


@dataclass(frozen=True)
class Judge:
    """A packed program, and where its copies lie.

    Attributes:
        archive: as `pack` made it.
        base: folder for the copies; each slot has its own, so that what a genome does to one in
            spite of its being read-only is nobody else's.
    """

    archive: bytes
    base: Path

    @property
    def sha256(self) -> str:
        """Identity of the program."""
        return hashlib.sha256(self.archive).hexdigest()

    def at(self, slot: int) -> Path:
        """A slot's copy, made or mended where it is not exact."""
        folder = self.base / self.sha256[:32] / str(slot)
        if not self.intact(slot):
            _remove(folder)
            draft = folder.with_name(f".{folder.name}.{os.getpid()}")
            _remove(draft)
            _unpack(self.archive, draft)
            draft.rename(folder)
        return folder

    def intact(self, slot: int) -> bool:
        """Whether a slot's copy holds the program and nothing else."""
        folder = self.base / self.sha256[:32] / str(slot)
        wanted = {name: (mode, content) for name, mode, content in _members(self.archive)}
        if not folder.is_dir() or folder.is_symlink():
            return False
        found = 0
        for path in folder.rglob("*"):
            if path.is_dir() and not path.is_symlink():
                continue
            name = path.relative_to(folder).as_posix()
            if name not in wanted or not stat.S_ISREG(path.lstat().st_mode):
                return False
            mode, content = wanted[name]
            if stat.S_IMODE(path.stat().st_mode) != mode or path.read_bytes() != content:
                return False
            found += 1
        return found == len(wanted)


def _members(archive: bytes) -> Iterator[tuple[str, int, bytes]]:
    """(name, mode, content): the archive may have come with a clone, so it is checked."""
    with tarfile.open(fileobj=io.BytesIO(archive), mode="r:") as opened:
        for info in opened:
            parts = PurePosixPath(info.name)
            file = opened.extractfile(info) if info.isreg() else None
            if file is None or parts.is_absolute() or not parts.parts or ".." in parts.parts:
                raise DarwinError(
                    "the judge kept in git is damaged", hint="set metric.program to its original"
                )
            yield info.name, 0o555 if info.mode & 0o111 else 0o444, file.read()


def _unpack(archive: bytes, folder: Path) -> None:
    """All may read it, as a container's user must; nobody may write."""
    folder.mkdir(parents=True)
    for name, mode, content in _members(archive):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        path.chmod(mode)
    for path in (*folder.rglob("*"), folder):
        if path.is_dir():
            path.chmod(0o755)


def _remove(folder: Path) -> None:
    import shutil

    if folder.is_symlink():
        folder.unlink()
    elif folder.exists():
        for path in (folder, *folder.rglob("*")):
            if path.is_dir() and not path.is_symlink():
                path.chmod(0o755)
        shutil.rmtree(folder)
