"""Which references a git child is about to lock, known before it does and after it is killed.

A file per child, ``<common dir>/darwin/children/<pid>-<start>``: one byte of state, ``+`` while a
transaction is open and ``-`` between two, then one line of JSON. It is written in place: two system
calls for a transaction, where a file of its own would cost more than the references.
"""

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from darwin_git.store.children import Child
from darwin_git.store.git import Git


def folder(git: Git) -> Path:
    """Where the journals are."""
    return git.private_dir / "children"


class Journal:
    """The journal of one child, written by its parent."""

    def __init__(self, git: Git, child: Child) -> None:
        self._path = folder(git) / child.stem
        self._child = child
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._handle = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
        self._write(b"-", (), deletes=False)

    def open_entry(self, refs: Sequence[str], *, deletes: bool) -> None:
        """Before the first line goes to the child."""
        self._write(b"+", refs, deletes=deletes)

    def close_entry(self) -> None:
        """After the child said that it has committed."""
        os.pwrite(self._handle, b"-", 0)

    def end(self, *, keep: bool) -> None:
        """The child is dead."""
        os.close(self._handle)
        if not keep:
            self._path.unlink(missing_ok=True)

    def _write(self, state: bytes, refs: Sequence[str], *, deletes: bool) -> None:
        entry = {"child": self._child.as_json(), "refs": list(refs), "deletes": deletes}
        os.pwrite(self._handle, state + json.dumps(entry).encode() + b"\n", 0)


@dataclass(frozen=True)
class JournalEntry:
    """A journal as somebody else finds it."""

    path: Path
    text: bytes
    open: bool
    child: Child
    refs: tuple[str, ...]
    deletes: bool

    def unchanged(self) -> bool:
        """Whether the journal still says so."""
        try:
            return self.path.read_bytes() == self.text
        except OSError:
            return False


def entries(git: Git) -> Iterator[JournalEntry]:
    """All journals; a file that cannot be read as one is skipped."""
    place = folder(git)
    for path in sorted(place.iterdir()) if place.is_dir() else []:
        try:
            text = path.read_bytes()
            value = json.loads(text[1:].partition(b"\n")[0])
            child = Child.of_json(value["child"])
            refs = tuple(str(ref) for ref in value["refs"])
            deletes = bool(value["deletes"])
        except (OSError, ValueError, KeyError, TypeError):
            continue
        if child is not None:
            yield JournalEntry(path, text, text[:1] == b"+", child, refs, deletes)
