"""The corpus that a run was started with, by its sha256: a blob in git, or a file beside it."""

import contextlib
import hashlib
import os
from pathlib import Path

from darwin_git.domain import names
from darwin_git.errors import DarwinError
from darwin_git.store.catfile import CatFile
from darwin_git.store.git import Git
from darwin_git.store.objects import Objects
from darwin_git.store.updateref import RefUpdate, UpdateRef

IN_GIT = 16 << 20


class Corpus:
    """Keeps data by content."""

    def __init__(self, git: Git, cat: CatFile, objects: Objects, update_ref: UpdateRef) -> None:
        self._git = git
        self._cat = cat
        self._objects = objects
        self._update_ref = update_ref

    def put(self, data: bytes) -> str:
        """Keep data; its sha256. Up to 16 MiB go into git, `where` says where it is."""
        sha256 = hashlib.sha256(data).hexdigest()
        if len(data) > IN_GIT:
            self._put_file(self._file(sha256), data)
            return sha256
        ref = names.data_ref(sha256)
        blob = self._objects.write_blob(data)
        found = self._cat.info(ref)
        old = found[0] if found else None
        if old != blob:
            self._update_ref.transact([RefUpdate(ref, old, blob)])
        return sha256

    def get(self, sha256: str) -> bytes:
        """The data, verified against its hash.

        Raises:
            DarwinError: it is not here, or it was changed.
        """
        found = self._cat.get(names.data_ref(sha256))
        path = self._file(sha256)
        if found is None and not path.is_file():
            raise DarwinError(
                f"the corpus {sha256[:12]}… is neither at {names.data_ref(sha256)} nor at {path}",
                hint="fetch refs/darwin/data/* from where the run began, or copy the file there",
            )
        data = found.data if found else path.read_bytes()
        if hashlib.sha256(data).hexdigest() != sha256:
            raise DarwinError(
                f"the corpus {sha256[:12]}… was changed at {self.where(sha256)}",
                hint="restore it: no number measured on it can be compared otherwise",
            )
        return data

    def where(self, sha256: str) -> str:
        """The reference or the file that holds it, for people."""
        ref = names.data_ref(sha256)
        return ref if self._cat.info(ref) else str(self._file(sha256))

    def _file(self, sha256: str) -> Path:
        return self._git.private_dir / "data" / names.data_ref(sha256).rpartition("/")[2]

    def _put_file(self, path: Path, data: bytes) -> None:
        if path.is_file() and path.stat().st_size == len(data):
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_suffix(f".{os.getpid()}")
        try:
            temporary.write_bytes(data)
            temporary.replace(path)
        finally:
            with contextlib.suppress(FileNotFoundError):
                temporary.unlink()
