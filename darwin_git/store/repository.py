"""The repository: everything the rest of darwin-git may do to git, behind one door."""

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, TypeVar

from darwin_git.domain import names
from darwin_git.domain.records import Record
from darwin_git.errors import DarwinError
from darwin_git.store import refusals, stale
from darwin_git.store.catfile import CatFile
from darwin_git.store.commits import CommitInfo, parse_commit
from darwin_git.store.corpus import Corpus
from darwin_git.store.exchange import Exchanges
from darwin_git.store.git import Git
from darwin_git.store.ledger import Ledger
from darwin_git.store.lock import session_lock
from darwin_git.store.memory import Memory
from darwin_git.store.merge import Merge, Merger
from darwin_git.store.notes import Notes
from darwin_git.store.objects import Objects, require_commit
from darwin_git.store.stamps import Stamps
from darwin_git.store.transition import Intent, Transitions, checked_out
from darwin_git.store.trees import Change, Entry, read_tree, splice
from darwin_git.store.updateref import RefUpdate, UpdateRef

if TYPE_CHECKING:
    import git

_LOOSE_REFS = 1000
_REMEMBERED = 256

V = TypeVar("V")


def _remember(known: dict[str, V], key: str, value: V) -> None:
    """Keep what never changes, the latest 256."""
    if len(known) >= _REMEMBERED:
        del known[next(iter(known))]
    known[key] = value


class Repository:
    """One repository, opened. Close it, or use it as a context: it keeps git processes.

    Attributes:
        git: running other git commands.
        objects: reading and writing blobs, trees, commits.
        notes: fitness records.
        ledger: plans, population, memory.
        memory: the ledger's lessons.
        exchanges: what models were asked and answered.
        corpus: the data of the run.
        work_tree: where darwin.toml is read, None inside ``.git``.
        redone: the interrupted transition that the current session finished, if there was one.
        stamps: who made which commit when, in a replay of a recorded run.
    """

    def __init__(self, git: Git, work_tree: Path | None) -> None:
        self.git = git
        self.work_tree = work_tree
        self.cat = CatFile(git)
        self.objects = Objects(git, self.cat)
        self._update_ref = UpdateRef(git)
        self.notes = Notes(git, self.cat, self.objects, self._update_ref)
        self.ledger = Ledger(self.cat, self.objects, self._update_ref)
        self.memory = Memory(self.ledger)
        self.exchanges = Exchanges(self.cat, self.objects, self._update_ref)
        self.corpus = Corpus(git, self.cat, self.objects, self._update_ref)
        self._merger = Merger(git, self.cat, self.objects)
        self._transitions = Transitions(git, self.cat, self.objects, self.ledger, self._update_ref)
        self._in_session = False
        self._infos: dict[str, CommitInfo] = {}
        self._listings: dict[str, dict[str, Entry]] = {}
        self.redone: Intent | None = None
        self.stamps: Stamps | None = None

    # --- opening ---

    @classmethod
    def open(
        cls, path: Path | str, *, allow_empty: bool = False, thorough: bool = True
    ) -> "Repository":
        """The repository around a path.

        Args:
            path: a folder or file in it.
            allow_empty: accept one without a commit.
            thorough: read HEAD's tree for submodules and LFS pointers; readers can do without.

        Raises:
            DarwinError: it cannot carry a run; nothing was changed.
        """
        git, work_tree = refusals.locate(Path(path))
        repository = cls(git, work_tree)
        try:
            refusals.refuse_names(git, repository.cat)
            if not allow_empty:
                refusals.refuse_empty(git, repository.cat)
            if thorough and repository.cat.info("HEAD^{commit}") is not None:
                refusals.refuse_tree(git, repository.cat)
        except BaseException:
            repository.close()
            raise
        return repository

    @classmethod
    def create(cls, path: Path | str) -> "Repository":
        """A new repository with the branch ``main`` and no commit."""
        import git  # 80 ms: here it pays, on the hot path it does not

        misleading = [name for name in ("GIT_DIR", "GIT_WORK_TREE") if name in os.environ]
        if misleading:
            raise DarwinError(
                f"{misleading[0]} is set: a new repository would land there, not at {path}",
                hint=f"unset {misleading[0]}",
            )
        if (Path(path) / ".git").exists():
            raise DarwinError(f"{path} is a git repository already", hint="choose another folder")
        with git.Repo.init(path, mkdir=True, expand_vars=False, initial_branch="main"):
            pass
        return cls.open(path, allow_empty=True)

    def gitpython(self) -> "git.Repo":
        """GitPython's view, for reading in one thread; the caller closes it. Never for writing."""
        import git

        return git.Repo(self.work_tree or self.git.git_dir, search_parent_directories=True)

    def close(self) -> None:
        """End the git processes."""
        self.cat.close()
        self._update_ref.close()

    def __enter__(self) -> "Repository":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    # --- writing ---

    @contextlib.contextmanager
    def session(self, wait_s: float = 0.0, command: str = "darwin-git") -> Iterator["Repository"]:
        """Hold the lock; first clear what a killed command left, and finish what it began.

        Raises:
            DarwinError: another command holds the lock, or the interrupted transition conflicts.
        """
        with session_lock(self.git, command, wait_s):
            stale.clear(self.git)
            self.redone = self._transitions.redo()
            self._in_session = True
            try:
                if self.notes.pending_count:
                    self.notes.fold()
                yield self
            finally:
                self._in_session = False

    def publish(self, updates: Sequence[RefUpdate], records: Sequence[Record] = ()) -> None:
        """Move references, with records of fitness, in one transaction without an intent.

        For what is additive (a new variant's branch with its first note); a kill can leave a part.
        Raises RefConflict.
        """
        self.notes.append_many(records, also=updates)

    def transition(
        self,
        updates: Sequence[RefUpdate],
        ledger_files: Mapping[str, bytes | None],
        message: str,
    ) -> str:
        """Move all references and write the ledger, or nothing, whatever kills us; see there."""
        if not self._in_session:
            raise RuntimeError("a transition needs the session lock")
        return self._transitions.transition(updates, ledger_files, message)

    def commit(
        self,
        tree: str,
        parents: Sequence[str],
        message: str,
        author: tuple[str, str] | None = None,
        when: int | None = None,
    ) -> str:
        """Store a commit; see Objects.commit. In a replay with the people and dates recorded."""
        stamps = self.stamps
        people = None if stamps is None else stamps.people(tree, parents, message, author)
        return self.objects.commit(tree, parents, message, author, when, people)

    def splice(self, tree: str, changes: Mapping[str, Change]) -> str:
        """The tree with some files changed; see trees.splice."""
        return splice(self.objects, tree, changes)

    def pack(self, *, at_least: int = _LOOSE_REFS) -> bool:
        """`git pack-refs --all` once that many archived references are loose files."""
        loose = sum(len(files) for _, _, files in os.walk(self.git.common_dir / names.ARCHIVE))
        if loose < at_least:
            return False
        self.git.run("pack-refs", "--all")
        return True

    # --- reading ---

    def resolve(self, rev: str) -> str:
        """The commit that a revision means. Raises DarwinError."""
        found = self.commit_of(rev)
        if found is None:
            raise DarwinError(
                f"{rev!r} is no commit in {self.git.git_dir}",
                hint="git branch --list 'darwin/*' shows what there is",
            )
        return found

    def commit_of(self, rev: str) -> str | None:
        """The commit that a revision or reference means, None if there is none."""
        if not rev or "\n" in rev or "\0" in rev or len(rev) > 1000:
            return None
        found = self.cat.info(f"{rev}^{{commit}}")
        return found[0] if found else None

    def commit_info(self, oid: str) -> CommitInfo:
        """A commit's people, message and trailers."""
        found = self._infos.get(oid)
        if found is None:
            found = parse_commit(oid, require_commit(self.cat, oid))
            _remember(self._infos, oid, found)
        return found

    def files(self, commit: str) -> dict[str, Entry]:
        """Every file of a commit by path, checked: see trees.read_tree."""
        tree = self.commit_info(commit).tree
        found = self._listings.get(tree)
        if found is None:
            found = read_tree(self.objects, tree)
            _remember(self._listings, tree, found)
        return found

    def refs(self, *prefixes: str) -> dict[str, str]:
        """Object id by reference under the prefixes (all of ours by default), one process."""
        rows = self.git.for_each_ref("%(refname) %(objectname)", *(prefixes or names.OURS))
        return {row[0]: row[1] for row in rows}

    def trees_of_refs(self, *prefixes: str) -> dict[str, str]:
        """A commit for each tree that the references under the prefixes point to, one process."""
        found: dict[str, str] = {}
        for tree, commit in self.git.for_each_ref("%(tree) %(objectname)", *prefixes):
            if tree:
                found.setdefault(tree, commit)
        return found

    def checked_out(self) -> dict[str, Path]:
        """Branches that a work tree shows, rebases or bisects, with its path."""
        return checked_out(self.git)

    def is_ancestor(self, ancestor: str, descendant: str) -> bool:
        """Whether one commit is in the history of the other."""
        done = self.git.call("merge-base", "--is-ancestor", ancestor, descendant, check=False)
        if done.returncode not in (0, 1):
            raise DarwinError(
                f"{ancestor} or {descendant} is no commit", hint="name commits that exist"
            )
        return done.returncode == 0

    def merge(self, ours: str, theirs: str) -> Merge:
        """Join two commits; see Merger.merge."""
        return self._merger.merge(ours, theirs)

    def replay(self, parked: str, parked_parent: str, onto: str) -> Merge:
        """A parked change on top of another commit; see Merger.replay."""
        return self._merger.replay(parked, parked_parent, onto)
