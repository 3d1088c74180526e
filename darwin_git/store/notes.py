"""Fitness records as git notes: every writer on its own reference, folded into one under the lock.

`git notes add` from 8 processes lost 156 of 200 notes with exit code 0, since it commits without an
expected old value. Here a writer appends to ``refs/notes/darwin/w/<pid>-<random>`` only, with
compare-and-set; `fold` unites all of them like `git notes merge -s cat_sort_uniq`.
"""

import os
import secrets
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from darwin_git.domain import names, records
from darwin_git.domain.records import Record
from darwin_git.store.catfile import CatFile
from darwin_git.store.git import Git
from darwin_git.store.notetree import note_map, positions, splice_notes, unite
from darwin_git.store.objects import Objects
from darwin_git.store.trees import EMPTY_TREE
from darwin_git.store.updateref import RefConflict, RefUpdate, UpdateRef

Summarise = Callable[[list[Record]], str]

SUMMARY_LINES = 6
_ATTEMPTS = 20


class Notes:
    """The records of all commits. Safe among threads and processes.

    Attributes:
        summarise: makes the note for people from a commit's records, at most 6 lines; where it is
            None, folding leaves the summary notes alone.
    """

    def __init__(self, git: Git, cat: CatFile, objects: Objects, update_ref: UpdateRef) -> None:
        self._git = git
        self._cat = cat
        self._objects = objects
        self._update_ref = update_ref
        self._lock = threading.Lock()
        self._writer = ""
        self._owner = 0
        self._packed: tuple[object, tuple[str, ...]] = (None, ())
        self.summarise: Summarise | None = None

    # --- writing ---

    def append(self, record: Record) -> str:
        """Make one record durable on its ``commit``; the record's id."""
        return self.append_many([record])[0]

    def append_many(self, new: Sequence[Record], also: Sequence[RefUpdate] = ()) -> list[str]:
        """Make records durable, with further references in the same transaction; their ids.

        Raises:
            RefConflict: one of `also` did not stand where it should; nothing was written.
        """
        by_commit: dict[str, list[bytes]] = {}
        for record in new:
            by_commit.setdefault(record["commit"], []).append(records.to_line(record))
        ids = [str(record["id"]) for record in new]
        if not new:
            self._update_ref.transact(also)
            return ids
        with self._lock:
            ref = names.writer_notes_ref(self.writer)
            for attempt in range(_ATTEMPTS):
                tip = self._tip(ref)
                commit = self._extended(tip, by_commit)
                try:
                    self._update_ref.transact([*also, RefUpdate(ref, tip, commit)])
                    return ids
                except RefConflict as conflict:
                    # Only a fold takes our reference away, and then the next attempt starts afresh.
                    if conflict.ref != ref or attempt == _ATTEMPTS - 1:
                        raise
        raise AssertionError("unreachable")

    @property
    def writer(self) -> str:
        """This process's name among the writers."""
        if self._owner != os.getpid():
            self._owner = os.getpid()
            self._writer = f"{self._owner}-{secrets.token_hex(6)}"
        return self._writer

    def _extended(self, tip: str | None, lines: Mapping[str, list[bytes]]) -> str:
        tree = self._tree(tip)
        changes = {
            commit: unite([*self._contents(tree, commit), *new]) for commit, new in lines.items()
        }
        new_tree = splice_notes(self._objects, tree, changes)
        return self._objects.commit(new_tree, [tip] if tip else [], "darwin-git: records")

    # --- reading ---

    def of(self, commit: str) -> list[Record]:
        """A commit's records, canonical and pending, each once."""
        # Writers first: a fold in between moves records into the canonical notes, not out.
        refs = [*self._writer_refs(), names.NOTES_FITNESS]
        spots = [f"{ref}:{path}" for ref in refs for path in positions(commit)]
        found = self._cat.get_many(spots)
        return records.merge(
            *(records.parse_lines(each.data) for each in found if each and each.type == "blob")
        )

    def all(self) -> Iterator[tuple[str, list[Record]]]:
        """(commit, its records) of everything, canonical and pending; one `cat-file --batch`."""
        blobs: dict[str, list[str]] = {}
        for tip in [*self._pending_tips().values(), self._tip(names.NOTES_FITNESS)]:
            if tip:
                for commit, oids in note_map(self._objects, self._tree(tip)).items():
                    blobs.setdefault(commit, []).extend(oids)
        yield from self._read_all(blobs)

    def pending(self) -> dict[str, list[Record]]:
        """Records that no fold has taken yet, by commit: what a derived summary may lack."""
        blobs: dict[str, list[str]] = {}
        for tip in self._pending_tips().values():
            for commit, oids in note_map(self._objects, self._tree(tip)).items():
                blobs.setdefault(commit, []).extend(oids)
        return dict(self._read_all(blobs)) if blobs else {}

    @property
    def pending_count(self) -> int:
        """How many writers hold records that are not folded."""
        return len(self._writer_refs())

    def _read_all(self, blobs: Mapping[str, Sequence[str]]) -> Iterator[tuple[str, list[Record]]]:
        contents = self._git.batch(oid for oids in blobs.values() for oid in oids)
        for commit, oids in blobs.items():
            yield (
                commit,
                records.merge(*(records.parse_lines(next(contents)[1]) for _ in oids)),
            )

    # --- folding ---

    def fold(self, summarise: Summarise | None = None) -> int:
        """Unite all writers' notes into the canonical ones; how many commits were touched.

        Runs under the session lock. The canonical notes move and the writers' references go in one
        transaction; a writer that appends meanwhile is folded next time. The writers' histories
        become parents, as in `git notes merge`, so that gc packs them.
        """
        skipped: set[str] = set()
        for attempt in range(_ATTEMPTS):
            tips = {r: tip for r, tip in self._pending_tips().items() if r not in skipped}
            if not tips:
                return 0
            try:
                return self._fold(tips, summarise or self.summarise)
            except RefConflict as conflict:
                if attempt >= 3 and conflict.ref in tips:
                    skipped.add(conflict.ref)  # busy: the next fold takes it
                elif attempt == _ATTEMPTS - 1:
                    raise
        return 0

    def _fold(self, tips: Mapping[str, str], summarise: Summarise | None) -> int:
        canonical = self._tip(names.NOTES_FITNESS)
        base = self._tree(canonical)
        lines: dict[str, list[bytes]] = {}
        for tip in tips.values():
            for commit, oids in note_map(self._objects, self._tree(tip)).items():
                lines.setdefault(commit, []).extend(self._blobs(oids))
        merged = {
            commit: unite([*self._contents(base, commit), *new]) for commit, new in lines.items()
        }
        tree = splice_notes(self._objects, base, merged)
        parents = [canonical] if canonical else []
        folded = self._objects.commit(tree, [*parents, *tips.values()], "darwin-git: fold records")
        updates = [RefUpdate(names.NOTES_FITNESS, canonical, folded)]
        if summarise is not None:
            updates += self._summaries(merged, summarise)
        updates += [RefUpdate(ref, tip, None) for ref, tip in tips.items()]
        self._update_ref.transact(updates)
        return len(merged)

    def _summaries(self, merged: Mapping[str, bytes], summarise: Summarise) -> list[RefUpdate]:
        texts = {
            commit: _six_lines(summarise(records.merge(records.parse_lines(data))))
            for commit, data in merged.items()
        }
        return self.rewrite(names.NOTES_SUMMARY, texts, "darwin-git: summaries")

    def rewrite(self, ref: str, texts: Mapping[str, bytes], message: str) -> list[RefUpdate]:
        """The update that makes `ref`'s notes on these commits exactly `texts`; none if they are.

        For notes that are derived, not appended. The caller publishes it.
        """
        old = self._tip(ref)
        before = self._tree(old)
        tree = splice_notes(self._objects, before, texts)
        if tree == before:
            return []
        commit = self._objects.commit(tree, [old] if old else [], message)
        return [RefUpdate(ref, old, commit)]

    def text(self, ref: str, commit: str) -> bytes:
        """The plain note of a commit on any notes reference of ours, b"" if there is none."""
        found = self._cat.get_many([f"{ref}:{path}" for path in positions(commit)])
        return b"".join(each.data for each in found if each and each.type == "blob")

    # --- where things stand ---

    def _tip(self, ref: str) -> str | None:
        found = self._cat.info(ref)
        return found[0] if found else None

    def _tree(self, tip: str | None) -> str:
        if tip is None:
            return EMPTY_TREE
        return self._cat.read(tip, "commit")[5:45].decode()

    def _contents(self, tree: str, commit: str) -> list[bytes]:
        if tree == EMPTY_TREE:
            return []
        found = self._cat.get_many([f"{tree}:{path}" for path in positions(commit)])
        return [each.data for each in found if each and each.type == "blob"]

    def _blobs(self, oids: Iterable[str]) -> list[bytes]:
        return [self._objects.blob(oid) for oid in oids]

    def _pending_tips(self) -> dict[str, str]:
        tips = {ref: self._tip(ref) for ref in self._writer_refs()}
        return {ref: tip for ref, tip in tips.items() if tip}

    def _writer_refs(self) -> list[str]:
        """Writers' references, without a process where references are files.

        Loose ones first: packing writes packed-refs before it removes a loose file.
        """
        if (self._git.common_dir / "reftable").exists():
            return [row[0] for row in self._git.for_each_ref("%(refname)", names.WRITERS)]
        found = set()
        try:
            with os.scandir(self._git.common_dir / names.WRITERS) as folder:
                found = {names.WRITERS + each.name for each in folder}
        except FileNotFoundError:
            pass
        found.update(self._packed_writers())
        return sorted(ref for ref in found if names.parse(ref) is not None)

    def _packed_writers(self) -> tuple[str, ...]:
        path = self._git.common_dir / "packed-refs"
        try:
            stat = path.stat()
        except FileNotFoundError:
            return ()
        stamp = (stat.st_ino, stat.st_mtime_ns, stat.st_size)
        if self._packed[0] != stamp:
            prefix = b" " + names.WRITERS.encode()
            rows = [line for line in path.read_bytes().split(b"\n") if prefix in line]
            self._packed = (stamp, tuple(row.split(b" ")[1].decode() for row in rows))
        return self._packed[1]


def _six_lines(text: str) -> bytes:
    lines = [line.rstrip() for line in text.strip().splitlines() if line.strip()]
    return "".join(line + "\n" for line in lines[:SUMMARY_LINES]).encode()
