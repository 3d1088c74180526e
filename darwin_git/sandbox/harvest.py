"""Files of a container's volume, copied to the host: regular, bounded, never followed."""

import os
import tarfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from darwin_git.ports import Command, UnsafeOutput
from darwin_git.sandbox import container
from darwin_git.sandbox.attach import Attached
from darwin_git.sandbox.engine import Engine
from darwin_git.sandbox.job import Job
from darwin_git.sandbox.parcel import is_safe

CHUNK = 1 << 20
SLACK = 1 << 20
_MODE_TYPE = 0x8F280000  # Go's io/fs.ModeType: what is no regular file
_MODE_DIR = 1 << 31
MAX_CACHE_FILES = 20_000


def fetch_file(api: Any, keeper: str, folder: str, name: str, limit: int, target: Path) -> None:
    """Copy one regular file; raises UnsafeOutput, or OSError where the host's disk is full."""
    if not is_file_name(name):
        raise UnsafeOutput(f"{name!r} is no file name")
    stream, found = _archive(api, keeper, f"{folder}/{name}")
    try:
        if int(found["mode"]) & _MODE_TYPE:
            raise UnsafeOutput(f"{name} is no regular file")
        if int(found["size"]) > limit:
            raise UnsafeOutput(f"{name} has {found['size']} bytes, more than {limit}")
        with tarfile.open(fileobj=_bounded(stream, limit + SLACK), mode="r|") as tar:
            member = tar.next()
            if member is None or not member.isreg() or member.size > limit:
                raise UnsafeOutput(f"{name} is no regular file of at most {limit} bytes")
            _copy(tar, member, target)
    except (tarfile.TarError, EOFError) as error:
        raise UnsafeOutput(f"{name} cannot be read: {error}") from None
    finally:
        stream.close()


def is_file_name(name: str) -> bool:
    """One name, no path."""
    return bool(name) and name not in (".", "..") and not {"/", "\0"} & set(name)


_READER = """
import os, stat, sys
file = os.open(sys.argv[1], os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
found = os.fstat(file)
if not stat.S_ISREG(found.st_mode) or found.st_size > int(sys.argv[2]): sys.exit(1)
sys.stdout.buffer.write(found.st_size.to_bytes(8, "little"))
with open(file, "rb") as source:
    while data := source.read(1 << 20): sys.stdout.buffer.write(data)
"""


def read_within(
    api: Any, keeper: str, python: str, user: str, path: str, limit: int, target: Path
) -> None:
    """As fetch_file, by a process inside the container.

    An engine before Docker 25 that was restarted under running containers (live-restore) has
    unmounted their volumes on its side: get_archive then sees an empty folder.
    """
    argv = [python, "-I", "-S", "-c", _READER, path, str(limit)]
    asked = api.exec_create(keeper, argv, stdout=True, stderr=False, user=user)
    attached = Attached(api.exec_start(asked["Id"], socket=True))
    stream = _Stream((bytes(piece) for _, piece in iter(attached.read, None)), limit + 8)
    try:
        head = stream.read(8)
        if len(head) < 8 or int.from_bytes(head, "little") > limit:
            raise UnsafeOutput(f"{path} is no regular file of at most {limit} bytes")
        _write(stream, int.from_bytes(head, "little"), target)
    except EOFError as error:
        raise UnsafeOutput(f"{path} cannot be read: {error}") from None
    finally:
        attached.close()


def fetch_folder(api: Any, keeper: str, path: str, limit: int, target: Path) -> bool:
    """Copy regular files below a folder into a tar of at most `limit` bytes; False: nothing fits.

    Links, pipes and names that leave the folder stay behind.
    """
    try:
        stream, found = _archive(api, keeper, path)
    except UnsafeOutput:
        return False
    draft = target.with_name(f"{target.name}.{os.getpid()}")
    try:
        if not int(found["mode"]) & _MODE_DIR:
            return False
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with (
            tarfile.open(fileobj=_bounded(stream, limit + SLACK), mode="r|") as tar,
            tarfile.open(draft, "w") as kept,
        ):
            for count, member in enumerate(tar):
                if count > MAX_CACHE_FILES:
                    return False
                name = member.name.partition("/")[2]  # the folder's own name comes first
                if not member.isreg() or not is_safe(name):
                    continue
                clean = tarfile.TarInfo(name)
                clean.size = member.size
                kept.addfile(clean, tar.extractfile(member))
        draft.replace(target)
        return True
    except (tarfile.TarError, EOFError, UnsafeOutput):
        return False
    finally:
        draft.unlink(missing_ok=True)
        stream.close()


def collect(engine: Engine, image: container.Image, job: Job, command: Command, out: Path) -> None:
    """Copy what somebody will ask for; raises what the engine raises, or OSError."""
    job.silence()
    limit, api = command.limits.output_bytes, engine.api
    for name in dict.fromkeys(command.keep):
        with suppress(UnsafeOutput):  # whoever asks for it is told that it is missing
            try:
                fetch_file(api, job.keeper, container.OUT, name, limit, out / name)
            except UnsafeOutput:
                if not job.lost or not is_file_name(name):
                    raise
                path = f"{container.OUT}/{name}"
                user = container.USER
                read_within(api, job.keeper, image.python, user, path, limit, out / name)


def _archive(api: Any, keeper: str, path: str) -> tuple[Any, dict[str, Any]]:
    import docker.errors

    try:
        stream, found = api.get_archive(keeper, path, chunk_size=CHUNK)
    except docker.errors.NotFound:
        raise UnsafeOutput(f"{path} is not there") from None
    except docker.errors.APIError as error:
        # A link to itself is an error of the engine's: where the folder can be read, it is not.
        folder, _, name = path.rpartition("/")
        if not folder or getattr(error.response, "status_code", 0) < 500:
            raise
        beside, _ = api.get_archive(keeper, folder)
        beside.close()
        raise UnsafeOutput(f"{name} cannot be read: {error.explanation}") from None
    return stream, found


def _copy(tar: tarfile.TarFile, member: tarfile.TarInfo, target: Path) -> None:
    file = tar.extractfile(member)
    assert file  # it is a regular one
    _write(file, member.size, target)


def _write(source: Any, left: int, target: Path) -> None:
    try:
        with target.open("xb") as copy:
            while left:
                data = source.read(min(left, CHUNK))
                if not data:
                    raise EOFError("it ended early")
                copy.write(data)
                left -= len(data)
    except BaseException:
        target.unlink(missing_ok=True)  # half a checkpoint would be held against the genome
        raise


def _bounded(pieces: Iterator[bytes], limit: int) -> Any:
    return _Stream(pieces, limit)


class _Stream:
    """What tarfile reads from: an iterator of pieces, bounded."""

    def __init__(self, pieces: Iterator[bytes], limit: int) -> None:
        self._pieces = pieces
        self._limit = limit
        self._rest = memoryview(b"")

    def read(self, size: int) -> bytes:
        parts = []
        while size:
            if not self._rest:
                piece = next(self._pieces, b"")
                if not piece:
                    break
                self._limit -= len(piece)
                if self._limit < 0:
                    raise UnsafeOutput("it is larger than it said")
                self._rest = memoryview(piece)
            part, self._rest = self._rest[:size], self._rest[size:]
            parts.append(part)
            size -= len(part)
        return b"".join(parts)
