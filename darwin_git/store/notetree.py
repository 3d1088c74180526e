"""The trees of git notes: a note of commit abcd… stands at ``ab/cd…``, ``abcd…`` or ``ab/cd/…``.

git chooses the fan-out by the number of notes; we always write ``ab/cd…`` (one folder, so that an
append rewrites two small trees) and read all three.
"""

import re
from collections.abc import Iterable, Iterator, Mapping

from darwin_git.store.objects import Objects
from darwin_git.store.trees import EMPTY_TREE, FILE, FOLDER, Entry

_HEX = re.compile(r"[0-9a-f]+")


def positions(commit: str) -> tuple[str, str, str]:
    """Where git may have put a note."""
    return f"{commit[:2]}/{commit[2:]}", commit, f"{commit[:2]}/{commit[2:4]}/{commit[4:]}"


def unite(contents: Iterable[bytes]) -> bytes:
    """Sorted unique lines without empty ones: what `git notes merge -s cat_sort_uniq` writes."""
    lines = {line for content in contents for line in content.split(b"\n")}
    return b"".join(line + b"\n" for line in sorted(lines) if line)


def note_map(objects: Objects, tree: str) -> dict[str, list[str]]:
    """Note blobs by commit. A commit has several where fan-outs are mixed."""
    found: dict[str, list[str]] = {}
    for commit, oid in _walk(objects, tree, ""):
        found.setdefault(commit, []).append(oid)
    return found


def _walk(objects: Objects, tree: str, prefix: str) -> Iterator[tuple[str, str]]:
    for name, entry in objects.tree(tree).items():
        whole = prefix + name
        if not _HEX.fullmatch(name) or len(whole) > 40:
            continue
        if entry.mode == FOLDER and len(name) == 2:
            yield from _walk(objects, entry.oid, whole)
        elif entry.mode != FOLDER and len(whole) == 40:
            yield whole, entry.oid


def splice_notes(objects: Objects, tree: str, notes: Mapping[str, bytes]) -> str:
    """The tree with these notes as the commits' only ones; empty content removes a note.

    Only the folders touched are rewritten.
    """
    root = dict(objects.tree(tree))
    by_folder: dict[str, dict[str, bytes]] = {}
    for commit, content in notes.items():
        root.pop(commit, None)
        by_folder.setdefault(commit[:2], {})[commit[2:]] = content
    for name, inner in by_folder.items():
        old = root.get(name)
        oid = _splice_folder(objects, old.oid if old else EMPTY_TREE, inner)
        if oid == EMPTY_TREE:
            root.pop(name, None)
        else:
            root[name] = Entry(FOLDER, oid)
    return objects.write_tree(root)


def _splice_folder(objects: Objects, tree: str, notes: Mapping[str, bytes]) -> str:
    entries = dict(objects.tree(tree))
    for rest, content in notes.items():
        deeper = entries.get(rest[:2])
        if deeper is not None and deeper.mode == FOLDER:
            inner = dict(objects.tree(deeper.oid))
            if inner.pop(rest[2:], None) is not None:
                oid = objects.write_tree(inner)
                entries.pop(rest[:2])
                if oid != EMPTY_TREE:
                    entries[rest[:2]] = Entry(FOLDER, oid)
        if content:
            entries[rest] = Entry(FILE, objects.write_blob(content))
        else:
            entries.pop(rest, None)
    return objects.write_tree(entries)
