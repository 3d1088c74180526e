"""Objects written in this process: a blob, tree or commit costs 0.1 ms instead of a process."""

import hashlib
import os
import re
import threading
import time
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path

from darwin_git.errors import DarwinError
from darwin_git.store.catfile import CatFile
from darwin_git.store.git import Git
from darwin_git.store.trees import EMPTY_TREE, Entry, encode_tree, parse_tree

_CACHED_TREES = 2048
_CACHED_SIZE = 1 << 16


class Objects:
    """The object database of a repository: reading through `CatFile`, writing loose objects.

    Written like git writes them: temporary file, rename, mode 0444; not fsynced, as git's own
    default for loose objects. An object that exists is freshened so that no prune takes it away.
    """

    def __init__(self, git: Git, cat: CatFile) -> None:
        self._git = git
        self._cat = cat
        self._folder = os.fspath(git.common_dir / "objects")
        self._trees: dict[str, Mapping[str, Entry]] = {}
        self._lock = threading.Lock()
        self._token = os.urandom(6).hex()  # process ids repeat where containers share a repository
        self._identities: dict[str, tuple[str, str, str, str]] = {}

    # --- reading ---

    def blob(self, oid: str) -> bytes:
        """A blob's content."""
        return self._cat.read(oid, "blob")

    def tree(self, oid: str) -> Mapping[str, Entry]:
        """The entries of one tree, not of its subtrees, as they stand: unchecked."""
        found = self._trees.get(oid)
        if found is None:
            data = b"" if oid == EMPTY_TREE else self._cat.read(oid, "tree")
            found = parse_tree(data)
            self._remember(oid, found, len(data))
        return found

    def _remember(self, oid: str, entries: Mapping[str, Entry], size: int) -> None:
        if size <= _CACHED_SIZE:
            with self._lock:
                while len(self._trees) >= _CACHED_TREES:
                    del self._trees[next(iter(self._trees))]
                self._trees[oid] = entries

    # --- writing ---

    def write(self, kind: str, data: bytes) -> str:
        """Store an object; its id."""
        whole = b"%s %d\0" % (kind.encode(), len(data)) + data
        oid = hashlib.sha1(whole, usedforsecurity=False).hexdigest()
        folder = f"{self._folder}/{oid[:2]}"
        path = f"{folder}/{oid[2:]}"
        try:
            os.utime(path)
        except FileNotFoundError:
            self._create(folder, path, zlib.compress(whole, 1))
        except PermissionError as error:  # somebody else's object is as good, if it is there
            if not Path(path).exists():
                raise _unwritable(folder, error) from error
        return oid

    def _create(self, folder: str, path: str, packed: bytes) -> None:
        # All temporary files in one folder: ext4 spreads the files of different folders over the
        # disk, which doubles what a file costs. `git prune` clears tmp_obj_* here as well.
        temporary = f"{self._folder}/tmp_obj_{self._token}_{os.getpid()}_{threading.get_ident()}"
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
        try:
            handle = os.open(temporary, flags, 0o600)
            try:
                view = memoryview(packed)
                while view:
                    view = view[os.write(handle, view) :]
                os.fchmod(handle, 0o444)
            finally:
                os.close(handle)
            try:
                os.rename(temporary, path)  # noqa: PTH104 - hot path on plain strings
            except FileNotFoundError:
                os.makedirs(folder, exist_ok=True)  # noqa: PTH103
                os.rename(temporary, path)  # noqa: PTH104
        except OSError as error:
            raise _unwritable(folder, error) from error

    def write_blob(self, data: bytes) -> str:
        """Store a file's content."""
        return self.write("blob", data)

    def write_tree(self, entries: Mapping[str, Entry]) -> str:
        """Store one tree; the mapping is kept, so do not change it afterwards."""
        data = encode_tree(entries)
        oid = self.write("tree", data)
        self._remember(oid, entries, len(data))
        return oid

    def commit(
        self,
        tree: str,
        parents: Sequence[str],
        message: str,
        author: tuple[str, str] | None = None,
        when: int | None = None,
        people: tuple[str, str] | None = None,
    ) -> str:
        """Store a commit; its id.

        The committer is the person who runs the tool. ``author`` is (name, email), None for the
        same person; ``when`` in seconds since 1970, None for now. GIT_AUTHOR_DATE and
        GIT_COMMITTER_DATE win over ``when``, as in git. ``people``, (author, committer) as
        `signature` writes them, takes the place of all that: a commit that was made before.
        """
        made, kept = people or (
            self.signature("AUTHOR", author, when),
            self.signature("COMMITTER", None, when),
        )
        lines = [f"tree {tree}", *(f"parent {parent}" for parent in parents)]
        lines += [f"author {made}", f"committer {kept}"]
        text = "\n".join(lines) + "\n\n" + clean_message(message)
        return self.write("commit", text.encode(errors="replace"))

    def signature(self, role: str, person: tuple[str, str] | None, when: int | None) -> str:
        """``Name <email> seconds zone`` for AUTHOR or COMMITTER."""
        name, email, date, zone = self._identity(role)
        if person is not None:
            name, email = clean_person(person[0]), clean_person(person[1])
            if not name:
                raise ValueError("an author needs a name")
        seconds = date or str(int(time.time()) if when is None else when)
        return f"{name} <{email}> {seconds} {zone}"

    def _identity(self, role: str) -> tuple[str, str, str, str]:
        known = self._identities.get(role)
        if known is None:
            known = self._identities[role] = read_identity(self._git, role)
        return known


def _unwritable(folder: str, error: OSError) -> DarwinError:
    return DarwinError(
        f"the object store cannot be written: {folder}: {error.strerror}",
        hint="free disk space, or give yourself write permission on the repository's .git folder",
    )


def read_identity(git: Git, role: str) -> tuple[str, str, str, str]:
    """(name, email, date fixed by the environment or "", zone) as `git var` says."""
    done = git.call("var", f"GIT_{role}_IDENT", check=False)
    text = done.stdout.decode(errors="replace").strip()
    found = re.fullmatch(r"(.+?) <(.*)> (\d+) ([+-]\d{4})", text)
    if done.returncode != 0 or found is None:
        raise DarwinError(
            "git does not know who you are, and every commit names its committer",
            hint='git config --global user.name "Your Name"; '
            "git config --global user.email you@example.org",
        )
    fixed = found[3] if git.env.get(f"GIT_{role}_DATE") else ""
    return clean_person(found[1]), clean_person(found[2]), fixed, found[4]


def clean_person(text: str) -> str:
    """A name or address as git allows it in a commit: no brackets, no control characters."""
    return "".join(c for c in text if c.isprintable() and c not in "<>").strip(" .,:;\"'")


# C0 but tab and newline; DEL and C1 drive terminals; bidirectional overrides make a log show what
# is not there.
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def clean_message(text: str) -> str:
    """A commit message without control characters but newline and tab, ending in one newline."""
    return _CONTROL.sub("", text.replace("\r\n", "\n")).strip("\n") + "\n"


def require_commit(cat: CatFile, oid: str) -> bytes:
    """The raw commit, or GitFailed."""
    return cat.read(oid, "commit")
