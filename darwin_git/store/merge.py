"""Three-way merges of commits without a work tree: `git merge-tree --write-tree`.

It runs in a bare repository of its own that borrows the object store. With the user's repository
around it, `merge-tree` obeys .gitattributes of the work tree, info/attributes and the user's
configuration, and starts the merge drivers they name: programs, and another result for each user.
"""

from dataclasses import dataclass
from pathlib import Path

from darwin_git.store.catfile import CatFile
from darwin_git.store.git import Git, GitFailed, run_git
from darwin_git.store.objects import Objects, require_commit

_SYNTHETIC = b"darwin-git <darwin-git@darwin-git.invalid> 0 +0000"


@dataclass(frozen=True)
class Conflict:
    """A path that both sides changed; contents, None where a side has no such file."""

    path: str
    ours: bytes | None
    base: bytes | None
    theirs: bytes | None


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
            *("merge-tree", "--write-tree", "-z", "--end-of-options", ours, theirs),
        ]
        done = run_git(args, cwd=room, env=env, check=False)
        if done.returncode not in (0, 1):
            raise GitFailed(args, done.returncode, done.stderr)
        tree, _, rest = done.stdout.partition(b"\0")
        if done.returncode == 0:
            return Merge(tree.decode(), (), tree.decode())
        return Merge(None, self._conflicts(rest), tree.decode())

    def _conflicts(self, rest: bytes) -> tuple[Conflict, ...]:
        stages: dict[str, dict[str, str]] = {}
        for row in rest.split(b"\0\0")[0].split(b"\0"):
            if row:
                fields, _, path = row.partition(b"\t")
                _, oid, stage = fields.decode().split(" ")
                stages.setdefault(path.decode(errors="surrogateescape"), {})[stage] = oid
        return tuple(
            Conflict(path, *(self._blob(found.get(stage)) for stage in ("2", "1", "3")))
            for path, found in sorted(stages.items())
        )

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
