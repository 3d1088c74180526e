"""Trees: encoding, our own path checks, reading a whole tree, rewriting a few paths of one.

git's mktree accepts an entry called ``.git`` and `git archive` drops what .gitattributes says, so
trees are read and written here, and every path of a genome passes `check_path`.
"""

import hashlib
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, NamedTuple

from darwin_git.ports import NoTree

if TYPE_CHECKING:
    from darwin_git.store.objects import Objects

FILE = "100644"
EXECUTABLE = "100755"
FOLDER = "40000"
EMPTY_TREE = "4b825dc642cb6eb9a060e54bf8d69288fbee4904"

MAX_PATH = 1024
MAX_NAME = 255
MAX_DEPTH = 64

_KINDS = {"120000": "a symbolic link", "160000": "a submodule"}

# What HFS+ ignores in a file name: ".g\u200cit" is ".git" there (git's utf8.c).
_IGNORED_BY_HFS = frozenset(
    map(chr, (*range(0x200C, 0x2010), *range(0x202A, 0x202F), *range(0x206A, 0x2070), 0xFEFF))
)


class Entry(NamedTuple):
    """What stands at a path: mode ("100644", "100755", "40000" …) and object id."""

    mode: str
    oid: str


class BadPath(NoTree):
    """A path or mode in a tree that could leave a checkout or hide in it."""

    def __init__(self, path: str, why: str) -> None:
        shown = path.encode(errors="backslashreplace").decode()
        super().__init__(
            f"{ascii(shown)[1:-1]}: {why}", hint="remove it from the tree, or commit a plain file"
        )
        self.path = path


def encode_tree(entries: Mapping[str, Entry]) -> bytes:
    """The content of a tree object: sorted as git sorts, folders as if they ended in a slash."""
    rows = []
    for name, (mode, oid) in entries.items():
        raw = name.encode(errors="surrogateescape")
        rows.append((raw + b"/" if mode == FOLDER else raw, raw, mode, oid))
    rows.sort()
    return b"".join(
        b"%s %s\0%s" % (mode.encode(), raw, bytes.fromhex(oid)) for _, raw, mode, oid in rows
    )


def tree_id(entries: Mapping[str, Entry]) -> str:
    """The id that a tree of these entries has, without storing it."""
    data = encode_tree(entries)
    return hashlib.sha1(b"tree %d\0" % len(data) + data, usedforsecurity=False).hexdigest()


def parse_tree(data: bytes) -> dict[str, Entry]:
    """The entries of a tree object by name, unchecked but for duplicates."""
    entries: dict[str, Entry] = {}
    at = 0
    while at < len(data):
        space = data.index(b" ", at)
        end = data.index(b"\0", space)
        name = data[space + 1 : end].decode(errors="surrogateescape")
        if name in entries:
            raise BadPath(name, "stands twice in a tree")
        mode = data[at:space].decode()
        entries[name] = Entry(mode, data[end + 1 : end + 21].hex())
        at = end + 21
    return entries


def check_name(name: str, path: str) -> None:
    """One component of a path. Raises BadPath."""
    if name in ("", ".", ".."):
        raise BadPath(path, "has an empty, '.' or '..' component")
    try:
        size = len(name.encode())
    except UnicodeEncodeError:
        raise BadPath(path, "is not UTF-8") from None
    if size > MAX_NAME:
        raise BadPath(path, f"has a component longer than {MAX_NAME} bytes")
    if any(ord(char) < 32 or ord(char) == 127 for char in name):
        raise BadPath(path, "has a control character")
    if "\\" in name:
        raise BadPath(path, "has a backslash")
    if is_dot_git(name):
        raise BadPath(path, "is git's own folder on some file system")


def is_dot_git(name: str) -> bool:
    """Whether some file system opens ``.git`` under this name (git's path.c and utf8.c)."""
    visible = "".join(char for char in name if char not in _IGNORED_BY_HFS).lower()
    windows = visible.partition(":")[0].rstrip(" .")
    return windows in (".git", "git~1")


def check_path(path: str) -> tuple[str, ...]:
    """The components of a relative path with slashes. Raises BadPath."""
    if path.startswith("/"):
        raise BadPath(path, "is absolute")
    if len(path) > MAX_PATH:
        raise BadPath(path, f"is longer than {MAX_PATH} characters")
    parts = tuple(path.split("/"))
    if len(parts) > MAX_DEPTH:
        raise BadPath(path, f"is deeper than {MAX_DEPTH} folders")
    for part in parts:
        check_name(part, path)
    return parts


def read_tree(objects: "Objects", tree: str) -> dict[str, Entry]:
    """Every file of a tree by path: plain files only, all paths checked. Raises BadPath."""
    return dict(_walk(objects, tree, ""))


def _walk(objects: "Objects", tree: str, folder: str) -> Iterator[tuple[str, Entry]]:
    for name, entry in objects.tree(tree).items():
        path = folder + name
        check_path(path)
        if entry.mode == FOLDER:
            yield from _walk(objects, entry.oid, path + "/")
        elif entry.mode in (FILE, EXECUTABLE):
            yield path, entry
        else:
            raise BadPath(path, f"is {_KINDS.get(entry.mode, f'of mode {entry.mode}')}")


Change = bytes | Entry | None  # a file's new content, an object that exists, or its end


def splice(objects: "Objects", tree: str, changes: Mapping[str, Change]) -> str:
    """The tree with some files changed; only the folders above them are rewritten.

    Content keeps a file's mode and makes new files plain. A folder that becomes empty disappears,
    deleting what is not there is nothing. Raises BadPath.
    """
    nested: dict[str, object] = {}
    for path, change in changes.items():
        *folders, name = check_path(path)
        level = nested
        for folder in folders:
            inner = level.setdefault(folder, {})
            if not isinstance(inner, dict):
                raise BadPath(path, "lies below a file")
            level = inner
        if isinstance(level.get(name), dict):
            raise BadPath(path, "is a folder and a file")
        level[name] = change
    return _splice(objects, tree, nested, "") if nested else tree


def _splice(objects: "Objects", tree: str, changes: Mapping[str, object], folder: str) -> str:
    entries = dict(objects.tree(tree))
    for name, change in changes.items():
        old = entries.get(name)
        if isinstance(change, dict):
            new = _splice_folder(objects, old, change, folder + name)
        elif isinstance(change, Entry):
            new = change
        elif isinstance(change, bytes):
            mode = old.mode if old and old.mode in (FILE, EXECUTABLE) else FILE
            new = Entry(mode, objects.write_blob(change))
        else:
            new = None
        if not isinstance(change, dict) and old is not None and old.mode == FOLDER:
            raise BadPath(folder + name, "is a folder, not a file")
        if new is None:
            entries.pop(name, None)
        else:
            entries[name] = new
    return objects.write_tree(entries)


def _splice_folder(
    objects: "Objects", old: Entry | None, changes: Mapping[str, object], path: str
) -> Entry | None:
    if old is not None and old.mode != FOLDER:
        if all(change is None for change in changes.values()):
            return old
        raise BadPath(path, "is a file, not a folder")
    inner = _splice(objects, old.oid if old else EMPTY_TREE, changes, path + "/")
    return None if inner == EMPTY_TREE else Entry(FOLDER, inner)
