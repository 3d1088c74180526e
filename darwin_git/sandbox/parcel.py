"""What enters a container, as one tar: never held in memory as a whole, its length known before."""

import io
import tarfile
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from darwin_git.ports import Command
from darwin_git.sandbox.output import FileArtifact

CHUNK = 1 << 20


@dataclass
class Parcel:
    """Files under names, in the order in which they were added."""

    _entries: list[tuple[bytes, bytes | Path, int]] = field(default_factory=list)

    @property
    def files(self) -> int:
        """How many."""
        return len(self._entries)

    @property
    def content_bytes(self) -> int:
        """Bytes of all files together."""
        return sum(size for _, _, size in self._entries)

    @property
    def largest(self) -> int:
        """Bytes of the largest file."""
        return max((size for _, _, size in self._entries), default=0)

    @property
    def length(self) -> int:
        """Bytes of the tar."""
        return sum(len(head) + _padded(size) for head, _, size in self._entries) + 1024

    def add(self, name: str, content: bytes | Path, *, executable: bool = False) -> None:
        """A regular file; a path is read when it is sent."""
        if not is_safe(name):
            raise ValueError(f"{name!r} leaves the checkout")
        size = len(content) if isinstance(content, bytes) else content.stat().st_size
        info = tarfile.TarInfo(name)
        info.size = size
        info.mode = 0o755 if executable else 0o644
        self._entries.append((info.tobuf(tarfile.PAX_FORMAT), content, size))

    def folder(self, name: str) -> None:
        """An empty folder."""
        info = tarfile.TarInfo(name)
        info.type, info.mode = tarfile.DIRTYPE, 0o755
        self._entries.append((info.tobuf(tarfile.PAX_FORMAT), b"", 0))

    def stream(self) -> Iterator[bytes]:
        """The tar; raises OSError where a file changed its size."""
        for head, content, size in self._entries:
            yield head
            if isinstance(content, bytes):
                yield content
            else:
                yield from _read(content, size)
            if padding := _padded(size) - size:
                yield b"\0" * padding
        yield b"\0" * 1024

    def framed(self) -> Iterator[bytes]:
        """As boot.py takes it: the length first."""
        yield self.length.to_bytes(8, "little")
        buffer = io.BytesIO()
        for piece in self.stream():  # many small files make many small pieces
            buffer.write(piece)
            if buffer.tell() >= CHUNK:
                yield buffer.getvalue()
                buffer = io.BytesIO()
        yield buffer.getvalue()


def pack(command: Command, cache: Path | None = None) -> Parcel:
    """Checkout, tools and artifacts of a command; what a data folder covers stays out.

    Args:
        cache: a tar that `harvest.fetch_folder` wrote and checked.
    """
    parcel = Parcel()
    for path, file in command.genome.items():
        if not any(path == at or path.startswith(f"{at}/") for at in command.data):
            parcel.add(f"genome/{path}", file.content, executable=file.executable)
    for name, content in command.tools.items():
        parcel.add(f"tools/{name}", content)
    for name, artifact in command.artifacts.items():
        if not isinstance(artifact, FileArtifact):
            raise TypeError(f"artifact {name} belongs to another runner")
        parcel.add(f"tools/{name}", artifact.path)
    if cache:
        for name, content in cached(cache):
            parcel.add(f"cache/{name}", content, executable=True)
    return parcel


def links(command: Command) -> dict[str, str]:
    """Data folders of a command: path below the root -> where the volume's content is mounted."""
    found = {}
    for number, path in enumerate(command.data):
        beside = path.removeprefix("../")
        place = beside if beside != path else f"genome/{path}"
        if not is_safe(place):
            raise ValueError(f"{path!r} leaves the checkout")
        found[place] = f"/darwin/data/{number}"
    return found


def cached(path: Path) -> Iterator[tuple[str, bytes]]:
    """Regular files of a tar, nothing else of it; none of one that a loss of power cut."""
    with suppress(tarfile.TarError), tarfile.open(path, "r:") as tar:
        for member in tar:
            if member.isreg() and is_safe(member.name) and (file := tar.extractfile(member)):
                yield member.name, file.read()


def tree(folder: Path) -> Mapping[str, Path]:
    """Regular files below one of the person's folders by relative path, links followed."""
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} is no folder")
    found: dict[str, Path] = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            found[path.relative_to(folder).as_posix()] = path
    return found


def is_safe(name: str) -> bool:
    """A relative path that stays where it is unpacked; the trees that we check out never leave."""
    return not {"", ".", "..", ".git"} & set(name.split("/")) and "\0" not in name


def _padded(size: int) -> int:
    return -(-size // 512) * 512


def _read(path: Path, size: int) -> Iterator[bytes]:
    left = size
    with path.open("rb") as file:
        while left:
            data = file.read(min(left, CHUNK))
            if not data:
                raise OSError(f"{path} became shorter while it was read")
            left -= len(data)
            yield data
