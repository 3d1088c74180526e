"""Many references and the ledger as one step that survives a kill at any instant.

`update-ref` alone does not: it writes the new values one after the other, deletes last, and a kill
in between leaves the rest (of 60 SIGKILLs 3 did). So a transition is

1. an *intent*: one ledger commit with every reference, its old and its new value, and the files;
2. one `start / prepare / commit` that moves all references and verifies that the intent stands;
3. the close: the ledger moves to the commit with the files and without the intent.

The close has its own transaction because deletions come last inside one: a ledger that was closed
together with them could hide branches that are still to be deleted. Every session first redoes an
open intent: each reference holds its old or its new value, anything else is a named conflict.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from darwin_git.domain import names
from darwin_git.errors import DarwinError
from darwin_git.store import stale
from darwin_git.store.catfile import CatFile
from darwin_git.store.children import Child, is_alive
from darwin_git.store.commits import parse_commit
from darwin_git.store.git import Git
from darwin_git.store.ledger import INTENT, Ledger
from darwin_git.store.objects import Objects, require_commit
from darwin_git.store.trees import FILE, Change, Entry, splice
from darwin_git.store.updateref import RefConflict, RefUpdate, UpdateRef

SCHEMA = "darwin-git/intent/1"
FOLDER = "intent/"  # the files to be written at the close wait here, so that gc keeps them


@dataclass(frozen=True)
class Intent:
    """An open transition.

    ``files``: by path the blob to be written at the close, None for a file to be deleted.
    """

    message: str
    updates: tuple[RefUpdate, ...]
    files: Mapping[str, str | None]
    child: Child | None

    def to_json(self) -> bytes:
        """For the ledger."""
        value = {
            "schema": SCHEMA,
            "message": self.message,
            "updates": [{"ref": u.ref, "old": u.old, "new": u.new} for u in self.updates],
            "files": dict(self.files),
            "child": self.child.as_json() if self.child else None,
        }
        return (json.dumps(value, indent=1, sort_keys=True) + "\n").encode()

    @classmethod
    def of_json(cls, data: bytes) -> "Intent":
        """The inverse; DarwinError where the file was edited into something else."""
        try:
            value = json.loads(data)
            if value["schema"] != SCHEMA:
                raise ValueError(value["schema"])
            updates = tuple(RefUpdate(u["ref"], u["old"], u["new"]) for u in value["updates"])
            for update in updates:
                update.command()  # refuses foreign references and what is no object id
            return cls(
                value["message"], updates, dict(value["files"]), Child.of_json(value["child"])
            )
        except (ValueError, KeyError, TypeError) as error:
            raise DarwinError(
                f"{INTENT} on {names.LEDGER} cannot be read: {error}",
                hint=f"drop the transition: git update-ref {names.LEDGER} {names.LEDGER}^",
            ) from error


class Transitions:
    """Transitions of one repository; the caller holds the session lock."""

    def __init__(
        self, git: Git, cat: CatFile, objects: Objects, ledger: Ledger, update_ref: UpdateRef
    ) -> None:
        self._git = git
        self._cat = cat
        self._objects = objects
        self._ledger = ledger
        self._update_ref = update_ref

    def transition(
        self,
        updates: Sequence[RefUpdate],
        ledger_files: Mapping[str, bytes | None],
        message: str,
    ) -> str:
        """Move all references and write the ledger's files, or nothing; the ledger's commit.

        Raises:
            RefConflict: a reference stood elsewhere; nothing was moved or written.
            DarwinError: a reference is checked out somewhere; nothing was moved or written.
            HalfDone: git was killed at work; the next session finishes the transition.
        """
        for update in updates:
            update.command()  # refuses what must never reach git
        self._refuse_checked_out(updates)
        blobs = {
            path: None if data is None else self._objects.write_blob(data)
            for path, data in ledger_files.items()
        }
        intent = Intent(message, tuple(updates), blobs, self._update_ref.child())
        opened = self._open(intent)
        try:
            self._move(intent.updates, opened)
        except RefConflict as conflict:
            self._finish(opened, {}, intent, f"refused: {message}\n\n{conflict.detail}")
            raise
        return self._close(intent, opened)

    def redo(self) -> Intent | None:
        """Finish an open transition, if there is one; what it was.

        Raises:
            DarwinError: a reference holds neither its old nor its new value, or is checked out.
        """
        data = self._ledger.read(INTENT)
        if data is None:
            return None
        opened = self._ledger.tip
        assert opened is not None
        intent = Intent.of_json(data)
        self._free_locks(intent)
        self._refuse_foreign(intent, opened)
        todo = [u for u in intent.updates if self._tip(u.ref) != u.new]
        self._refuse_checked_out(todo)
        self._move(todo, opened)
        self._close(intent, opened)
        return intent

    # --- the three parts ---

    def _open(self, intent: Intent) -> str:
        tip = self._ledger.tip
        waiting: dict[str, Change] = {
            FOLDER + path: Entry(FILE, oid) for path, oid in intent.files.items() if oid
        }
        tree = splice(self._objects, self._ledger.tree(tip), {**waiting, INTENT: intent.to_json()})
        opened = self._objects.commit(tree, [tip] if tip else [], f"open: {intent.message}")
        self._update_ref.transact([RefUpdate(names.LEDGER, tip, opened)])
        return opened

    def _move(self, updates: Sequence[RefUpdate], opened: str) -> None:
        if updates:
            self._update_ref.transact([RefUpdate(names.LEDGER, opened, opened), *updates])

    def _close(self, intent: Intent, opened: str) -> str:
        files: dict[str, Change] = {
            path: Entry(FILE, oid) if oid else None for path, oid in intent.files.items()
        }
        return self._finish(opened, files, intent, intent.message)

    def _finish(
        self, opened: str, files: Mapping[str, Change], intent: Intent, message: str
    ) -> str:
        gone: dict[str, Change] = {FOLDER + path: None for path, oid in intent.files.items() if oid}
        tree = splice(self._objects, self._ledger.tree(opened), {**files, **gone, INTENT: None})
        closed = self._objects.commit(tree, [opened], message)
        self._update_ref.transact([RefUpdate(names.LEDGER, opened, closed)])
        return closed

    # --- what may stand in the way ---

    def _free_locks(self, intent: Intent) -> None:
        # The journals were cleared when the session began; this is for an intent whose journal is
        # gone. A child that lives has no open journal any more: it left no lock.
        if intent.child is not None and is_alive(intent.child) is False:
            refs = [names.LEDGER, *(update.ref for update in intent.updates)]
            stale.release(self._git, refs, packed=any(u.new is None for u in intent.updates))

    def _refuse_foreign(self, intent: Intent, opened: str) -> None:
        foreign = [
            f"{u.ref} is {tip or 'missing'}, not {u.old or 'missing'} or {u.new or 'missing'}"
            for u in intent.updates
            if (tip := self._tip(u.ref)) not in (u.old, u.new)
        ]
        if foreign:
            parents = parse_commit(opened, require_commit(self._cat, opened)).parents
            raise DarwinError(
                f"“{intent.message}” was interrupted and cannot be finished: " + "; ".join(foreign),
                hint="put these references back (git update-ref REF VALUE), or drop the rest of "
                "the transition: git update-ref "
                + (f"{names.LEDGER} {parents[0]}" if parents else f"-d {names.LEDGER}"),
            )

    def _refuse_checked_out(self, updates: Sequence[RefUpdate]) -> None:
        if not any(u.ref.startswith("refs/heads/") and u.old != u.new for u in updates):
            return
        busy = checked_out(self._git)
        for update in updates:
            place = busy.get(update.ref)
            if place is not None and update.old is not None and update.old != update.new:
                short = update.ref.removeprefix("refs/heads/")
                raise DarwinError(
                    f"{short} is checked out in {place}; moving it would stage a revert there",
                    hint=f"git -C {place} switch --detach",
                )

    def _tip(self, ref: str) -> str | None:
        found = self._cat.info(ref)
        return found[0] if found else None


def checked_out(git: Git) -> dict[str, Path]:
    """Branches that some work tree shows, rebases or bisects, with the work tree's path."""
    found: dict[str, Path] = {}
    for block in (
        git.run("worktree", "list", "--porcelain", "-z")
        .decode(errors="surrogateescape")
        .split("\0\0")
    ):
        fields = dict(line.partition(" ")[::2] for line in block.split("\0") if line)
        if "branch" in fields and "prunable" not in fields:
            found[fields["branch"]] = Path(fields["worktree"])
    for folder, place in _work_trees(git):
        for name in ("rebase-merge/head-name", "rebase-apply/head-name", "BISECT_START"):
            try:
                text = (folder / name).read_text().strip()
            except (FileNotFoundError, NotADirectoryError):
                continue
            ref = text if text.startswith("refs/heads/") else f"refs/heads/{text}"
            found.setdefault(ref, place)
    return found


def _work_trees(git: Git) -> Iterator[tuple[Path, Path]]:
    yield git.common_dir, git.common_dir.parent
    linked = git.common_dir / "worktrees"
    for folder in sorted(linked.iterdir()) if linked.is_dir() else []:
        pointer = folder / "gitdir"
        if pointer.exists():
            yield folder, Path(pointer.read_text().strip()).parent
