"""The folder of a person's own program: read once, told apart by its content, copied for a run."""

import hashlib
import os
import stat
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from darwin_git.errors import DarwinError
from darwin_git.ports import File

MOST_BYTES = 64 << 20
MOST_FILES = 4000
IGNORED = frozenset({"__pycache__", ".git", ".DS_Store"})
"""What running, versioning or looking at a folder leaves in it."""


@dataclass(frozen=True)
class ProgramFolder:
    """A program's files by path, as they were when the agent was set up."""

    files: Mapping[str, File]

    @property
    def digest(self) -> str:
        """SHA-256 over names, modes and contents: a changed program is another one."""
        whole = hashlib.sha256()
        for path, file in sorted(self.files.items()):
            content = hashlib.sha256(file.content).hexdigest()
            whole.update(f"{path}\0{file.executable:d}\0{content}\n".encode())
        return whole.hexdigest()

    @contextmanager
    def copied(self) -> Iterator[Path]:
        """A copy for one run, which no other run sees; raises OSError where there is no room."""
        with tempfile.TemporaryDirectory(prefix="darwin-program-") as name:
            root = Path(name)
            root.chmod(0o755)  # a container's user must read it
            for path, file in self.files.items():
                place = root / path
                place.parent.mkdir(parents=True, exist_ok=True)
                place.write_bytes(file.content)
                place.chmod(0o555 if file.executable else 0o444)
            yield root


def read(folder: Path) -> ProgramFolder:
    """All files of a folder.

    Raises:
        DarwinError: it is missing, empty, too large, or holds a link that leaves it.
    """
    try:
        root = folder.resolve(strict=True)
    except (OSError, RuntimeError):
        raise DarwinError(
            f"the program's folder {folder} is not there",
            hint="an agent's `program` in darwin.toml is absolute, or relative to darwin.toml",
        ) from None
    if not root.is_dir():
        raise DarwinError(f"{folder} is no folder", hint="name the folder that the program lies in")
    files: dict[str, File] = {}
    size = 0
    for path, place in _places(root):
        size += place.stat().st_size
        if size > MOST_BYTES or len(files) >= MOST_FILES:
            raise DarwinError(
                f"the program's folder {folder} is larger than {MOST_BYTES >> 20} MiB or "
                f"{MOST_FILES} files",
                hint="install large things in an image and name it as the agent's `image`",
            )
        files[path] = File(place.read_bytes(), bool(place.stat().st_mode & 0o111))
    if not files:
        raise DarwinError(f"the program's folder {folder} has no files", hint="put it there")
    return ProgramFolder(files)


def _places(root: Path) -> Iterator[tuple[str, Path]]:
    """(path, plain file); links count as what they point at, where that lies inside."""
    for here, folders, names in os.walk(root):
        folders[:] = sorted(name for name in folders if name not in IGNORED)
        for name in folders:
            if (Path(here) / name).is_symlink():
                _refuse(Path(here) / name, "is a link to a folder")
        for name in sorted(names):
            if name not in IGNORED:
                path = Path(here) / name
                yield path.relative_to(root).as_posix(), _plain(path, root)


def _plain(path: Path, root: Path) -> Path:
    try:
        target = path.resolve(strict=True)
    except (OSError, RuntimeError):
        _refuse(path, "is a link to nowhere")
    if not target.is_relative_to(root):
        _refuse(path, "is a link that leaves the program's folder")
    if not stat.S_ISREG(target.stat().st_mode):
        _refuse(path, "is no plain file")
    return target


def _refuse(path: Path, why: str) -> NoReturn:
    raise DarwinError(f"{path} {why}", hint="put the file itself there: the folder is copied")
