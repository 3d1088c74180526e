"""Three-way merges of commits without a work tree: `git merge-tree --write-tree`.

It runs in a bare repository of its own that borrows the object store. With the user's repository
around it, `merge-tree` obeys .gitattributes of the work tree, info/attributes and the user's
configuration, and starts the merge drivers they name: programs, and another result for each user.
"""

import re
from dataclasses import dataclass
from pathlib import Path

from darwin_git.store.catfile import CatFile
from darwin_git.store.git import Git, GitFailed, run_git
from darwin_git.store.objects import Objects, require_commit
from darwin_git.store.trees import EXECUTABLE, FILE, FOLDER

_SYNTHETIC = b"darwin-git <darwin-git@darwin-git.invalid> 0 +0000"


_FILES = (FILE, EXECUTABLE)
_MARKER = re.compile(rb"^<{7} ", re.MULTILINE)


@dataclass(frozen=True)
class Conflict:
    """A path that both sides changed; contents, None where a side has no such file.

    ``marked`` has git's conflict markers, the base's lines among them; None where git made none:
    one side deleted the file, or it is no text.
    """

    path: str
    ours: bytes | None
    base: bytes | None
    theirs: bytes | None
    marked: bytes | None


@dataclass(frozen=True)
class Merge:
    """A merged tree, or None with what stands in its way.

    ``marked`` is the tree with conflict markers in it, for whoever resolves them.
    """

    tree: str | None
    conflicts: tuple[Conflict, ...]
    marked: str


class Merger:
    """Merges of one repository."""

    def __init__(self, git: Git, cat: CatFile, objects: Objects) -> None:
        self._git = git
        self._cat = cat
        self._objects = objects

    def merge(self, ours: str, theirs: str) -> Merge:
        """Join two commits that have a common ancestor."""
        return self._merge_tree(ours, theirs)

    def replay(self, parked: str, parked_parent: str, onto: str) -> Merge:
        """What `parked` changed against `parked_parent`, on top of `onto`.

        With (parent, commit, tip) it takes a commit back: a revert. The base is explicit by three
        synthetic commits, since git 2.39 lacks `merge-tree --merge-base`; nothing refers to them.
        """
        base = self._synthetic(self._tree(parked_parent), ())
        ours = self._synthetic(self._tree(onto), (base,))
        theirs = self._synthetic(self._tree(parked), (base,))
        if ours == theirs or theirs == base:
            return Merge(self._tree(onto), (), self._tree(onto))
        return self._merge_tree(ours, theirs)

    def _merge_tree(self, ours: str, theirs: str) -> Merge:
        room = self._room()
        env = {
            **self._git.env,
            "GIT_OBJECT_DIRECTORY": str(self._git.common_dir / "objects"),
            "GIT_CONFIG_GLOBAL": "/dev/null",
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_ATTR_NOSYSTEM": "1",
        }
        args = [
            f"--git-dir={room}",
            *("-c", "core.attributesFile=/dev/null"),
            # Whole ids: how long a short one is depends on what else the repository holds, and
            # what a model is shown must not.
            *("-c", "merge.conflictStyle=diff3", "-c", "core.abbrev=no"),
            *("merge-tree", "--write-tree", "-z", "--end-of-options", ours, theirs),
        ]
        done = run_git(args, cwd=room, env=env, check=False)
        if done.returncode not in (0, 1):
            raise GitFailed(args, done.returncode, done.stderr)
        tree, _, rest = done.stdout.partition(b"\0")
        if done.returncode == 0:
            return Merge(tree.decode(), (), tree.decode())
        return Merge(None, self._conflicts(rest, tree.decode()), tree.decode())

    def _conflicts(self, rest: bytes, marked: str) -> tuple[Conflict, ...]:
        stages: dict[str, dict[str, str]] = {}
        for row in rest.split(b"\0\0")[0].split(b"\0"):
            if row:
                fields, _, path = row.partition(b"\t")
                mode, oid, stage = fields.decode().split(" ")
                found = stages.setdefault(path.decode(errors="surrogateescape"), {})
                if mode in _FILES:
                    found[stage] = oid
        return tuple(
            Conflict(
                path,
                ours=self._blob(found.get("2")),
                base=self._blob(found.get("1")),
                theirs=self._blob(found.get("3")),
                marked=self._marked(marked, path),
            )
            for path, found in sorted(stages.items())
        )

    def _marked(self, tree: str, path: str) -> bytes | None:
        """A file of the marked tree, where there are markers in it."""
        *folders, name = path.split("/")
        for folder in folders:
            below = self._objects.tree(tree).get(folder)
            if below is None or below.mode != FOLDER:
                return None
            tree = below.oid
        entry = self._objects.tree(tree).get(name)
        if entry is None or entry.mode not in _FILES:
            return None
        content = self._objects.blob(entry.oid)
        return content if _MARKER.search(content) else None

    def _blob(self, oid: str | None) -> bytes | None:
        return None if oid is None else self._objects.blob(oid)

    def _tree(self, commit: str) -> str:
        return require_commit(self._cat, commit)[5:45].decode()

    def _synthetic(self, tree: str, parents: tuple[str, ...]) -> str:
        lines = [f"tree {tree}".encode(), *(f"parent {parent}".encode() for parent in parents)]
        lines += [b"author " + _SYNTHETIC, b"committer " + _SYNTHETIC, b"", b"replay", b""]
        return self._objects.write("commit", b"\n".join(lines))

    def _room(self) -> Path:
        """The bare repository without references, attributes or configuration of the user."""
        room = self._git.private_dir / "merge.git"
        if not (room / "HEAD").exists():
            for folder in ("refs", "objects"):
                (room / folder).mkdir(parents=True, exist_ok=True)
            (room / "config").write_text("[core]\n\trepositoryformatversion = 0\n\tbare = true\n")
            (room / "HEAD").write_text("ref: refs/heads/none\n")
        return room
