"""The port History on a repository: what a generation may ask of git, and nothing more."""

import contextlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from darwin_git.config import FILE_NAME
from darwin_git.domain import names
from darwin_git.domain.evidence import summary_note
from darwin_git.domain.exchange import Exchange
from darwin_git.domain.learning.lesson import Lesson, MemoryEvent
from darwin_git.domain.message import one_line
from darwin_git.domain.planning import Plan
from darwin_git.domain.population import State, from_json, to_json
from darwin_git.domain.records import Record, canonical_json, make_record
from darwin_git.errors import DarwinError
from darwin_git.ports import File, Measured, Merged, Move
from darwin_git.ports.history import Conflict
from darwin_git.store import ledger
from darwin_git.store.clone import Clone
from darwin_git.store.merge import Merge
from darwin_git.store.repository import Repository
from darwin_git.store.trees import Entry, tree_id
from darwin_git.store.updateref import RefUpdate

EXECUTABLE = "100755"
SESSION = 1_000_000
"""Records of one command at most, for their order."""
TREES_KEPT = 64
MAX_TEXT = 1 << 20
"""Bytes of a file that a mutator may see."""


class GitHistory:
    """A repository as a generation sees it. Only the main thread uses it.

    Attributes:
        settings: darwin.toml as this command read it; plans and transitions keep a copy in the
            ledger, so that a recorded run says how it was configured.
        held: what somebody had checked out when a replayed run was recorded, with the place.
    """

    def __init__(self, repository: Repository) -> None:
        self.settings: bytes | None = None
        self.held: Mapping[str, str] = {}
        self._repository = repository
        self._clone = Clone(repository.git.private_dir)
        repository.notes.summarise = summary_note
        self._seq = 0
        self._tips: dict[int, dict[str, str]] = {}
        self._island = ""
        self._trees: dict[str, str] | None = None
        self._files: dict[str, dict[str, str]] = {}
        self._measured: dict[str, str] = {}
        self._records: dict[str, list[Record]] = {}

    # --- who we are ---

    @property
    def island(self) -> str:
        """This clone's population: the ledger's word, else a name made once for the clone."""
        if not self._island:
            state = self.state()
            self._island = state.island if state else self._clone.island()
        return self._island

    def adopt_island(self, island: str) -> None:
        """Be another clone's population: a replay is the run that it repeats."""
        self._clone.adopt_island(island)

    # --- the population ---

    def state(self) -> State | None:
        """See History.state."""
        data = self._repository.ledger.read(ledger.SUMMARY)
        return None if data is None else from_json(json.loads(data))

    def plan(self, generation: int) -> Plan | None:
        """See History.plan."""
        data = self._repository.ledger.read(ledger.plan_path(generation))
        return None if data is None else Plan.from_json(json.loads(data))

    def write_plan(self, plan: Plan) -> None:
        """See History.write_plan."""
        text = json.dumps(plan.to_json(), indent=1, sort_keys=True) + "\n"
        path = ledger.plan_path(plan.generation)
        files = {path: text.encode(), **self._kept_settings()}
        self._repository.ledger.write(files, f"Plan generation {plan.generation}")

    def _kept_settings(self) -> dict[str, bytes]:
        known = self.settings is None or self._repository.ledger.read(FILE_NAME) == self.settings
        return {} if known or self.settings is None else {FILE_NAME: self.settings}

    def events(self, generation: int) -> list[dict[str, Any]]:
        """The events of one generation, in order."""
        data = self._repository.ledger.read(ledger.population_path(generation)) or b""
        return [json.loads(line) for line in data.splitlines() if line.strip()]

    def settle(
        self,
        moves: Sequence[Move],
        generation: int,
        events: Sequence[Mapping[str, Any]],
        state: State,
        files: Mapping[str, bytes],
        subject: str,
        memory: Sequence[MemoryEvent] = (),
    ) -> None:
        """See History.settle."""
        for move in moves:
            self._refuse_unrecorded(move.new, subject)
        path = ledger.population_path(generation)
        lines = [canonical_json(event) for event in events]
        self._tips.clear()
        summary = json.dumps(to_json(state), sort_keys=True) + "\n"
        self._repository.transition(
            [RefUpdate(move.ref, move.old, move.new) for move in moves],
            {
                path: self._repository.ledger.appended(path, lines),
                ledger.SUMMARY: summary.encode(),
                **self._kept_settings(),
                **self._repository.memory.written(generation, memory),
                **files,
            },
            subject,
        )

    def memory(self) -> Sequence[MemoryEvent]:
        """See History.memory. A line that cannot be read is left out."""
        return self._repository.memory.scan().records

    def lessons(self) -> Mapping[str, Lesson]:
        """See History.lessons."""
        return self._repository.memory.lessons()

    # --- exchanges ---

    def exchanges(self, prefix: str) -> Sequence[Exchange]:
        """See History.exchanges."""
        return self._repository.exchanges.read(prefix)

    def publish(self, exchange: Exchange) -> str:
        """See History.publish."""
        stamps = self._repository.stamps
        kept = exchange if stamps is None else stamps.asked(exchange)
        return self._repository.exchanges.publish(kept)

    # --- trees and commits ---

    def checkout(self, commit: str) -> dict[str, File]:
        """A commit's files without darwin.toml, for a runner."""
        objects = self._repository.objects
        return {
            path: File(objects.blob(entry.oid), entry.mode == EXECUTABLE)
            for path, entry in self._repository.files(commit).items()
            if path != FILE_NAME
        }

    def files(self, commit: str) -> Mapping[str, str]:
        """See History.files."""
        tree = self.full_tree(commit)
        if tree not in self._files:
            while len(self._files) >= TREES_KEPT:
                del self._files[next(iter(self._files))]
            self._files[tree] = _texts(self.checkout(commit))
        return self._files[tree]

    def changed(self, commit: str, base: str) -> frozenset[str]:
        """See History.changed."""
        mine, theirs = self._repository.files(commit), self._repository.files(base)
        return frozenset(p for p in mine.keys() | theirs.keys() if mine.get(p) != theirs.get(p))

    def full_tree(self, commit: str) -> str:
        """See History.full_tree."""
        return self._repository.commit_info(commit).tree

    def tree(self, commit: str) -> str:
        """See History.tree. Only its id: the object itself is nobody's."""
        full = self.full_tree(commit)
        if full not in self._measured:
            entries: Mapping[str, Entry] = self._repository.objects.tree(full)
            kept = {name: entry for name, entry in entries.items() if name != FILE_NAME}
            self._measured[full] = full if len(kept) == len(entries) else tree_id(kept)
        return self._measured[full]

    def message(self, commit: str) -> tuple[str, Mapping[str, str]]:
        """See History.message."""
        info = self._repository.commit_info(commit)
        return info.subject, {key: values[-1] for key, values in info.trailers.items()}

    def splice(self, commit: str, files: Mapping[str, str | None]) -> str:
        """See History.splice."""
        changes = {p: None if text is None else text.encode() for p, text in files.items()}
        return self._repository.splice(self.full_tree(commit), changes)

    def commit(
        self, tree: str, parents: Sequence[str], message: str, author: tuple[str, str] | None
    ) -> str:
        """See History.commit. Trusted where all parents are."""
        trusted = all(self.trusted(parent) for parent in parents)
        oid = self._repository.commit(tree, parents, message, author)
        if trusted:
            self.trust(oid)
        return oid

    def grow(
        self,
        variant: str,
        tree: str,
        parents: Sequence[str],
        message: str,
        author: tuple[str, str],
        *,
        trusted: bool,
    ) -> str:
        """See History.grow."""
        ref = names.VariantName.parse(variant).ref
        oid = self._repository.commit(tree, parents, message, author)
        self._refuse_unrecorded(oid, variant)
        if trusted:
            self.trust(oid)
        old = self.tip(variant) and self.resolve(ref)
        self._repository.publish([RefUpdate(ref, old, oid)])
        self._tips[names.VariantName.parse(variant).generation][ref] = oid
        if self._trees is not None:
            self._trees.setdefault(tree, oid)
        return oid

    def merge(self, ours: str, theirs: str) -> Merged:
        """See History.merge."""
        return self._merged(self._repository.merge(ours, theirs))

    def replay(self, change: str, base: str, onto: str) -> Merged:
        """See History.replay."""
        return self._merged(self._repository.replay(change, base, onto))

    def _refuse_unrecorded(self, commit: str | None, what: str) -> None:
        """In a replay: whatever a reference is to name was there in the recorded run."""
        stamps = self._repository.stamps
        if stamps is not None and commit is not None and commit not in stamps:
            subject = one_line(self._repository.commit_info(commit).subject)
            raise DarwinError(
                f"the replay left the recording at {what}: nobody made “{subject}” there",
                hint="another version of darwin-git, or another darwin.toml, made the recording",
            )

    def _merged(self, merge: Merge) -> Merged:
        conflicts = (
            Conflict(c.path, *map(_text, (c.ours, c.base, c.theirs, c.marked)))
            for c in merge.conflicts
        )
        return Merged(merge.tree, tuple(conflicts), merge.marked)

    def mend(self, merged: Merged, files: Mapping[str, str]) -> str:
        """See History.mend."""
        left = {conflict.path for conflict in merged.conflicts} - files.keys()
        if left:
            raise ValueError(f"a conflict is left in {min(left)}")
        return self._repository.splice(
            merged.marked, {path: text.encode() for path, text in files.items()}
        )

    def twin(self, commit: str) -> str | None:
        """See History.twin."""
        found = self.holder(self.full_tree(commit))
        return found if found != commit else None

    def holder(self, tree: str) -> str | None:
        """See History.holder."""
        if self._trees is None:
            self._trees = self._repository.trees_of_refs(
                names.VARIANTS, names.ARCHIVE, names.AGENTS, names.CHAMPION
            )
        return self._trees.get(tree)

    # --- references ---

    def tip(self, variant: str) -> str | None:
        """See History.tip."""
        name = names.VariantName.parse(variant)
        generation = name.generation
        if generation not in self._tips:
            folder = f"{generation:04d}/"
            refs = self._repository.refs(names.ARCHIVE + folder, names.VARIANTS + folder)
            self._tips = {generation: refs}
        tips = self._tips[generation]
        return tips.get(name.ref) or tips.get(name.archive_ref)

    def resolve(self, ref: str) -> str | None:
        """See History.resolve."""
        return self._repository.commit_of(ref)

    def occupied(self) -> Mapping[str, str]:
        """See History.occupied."""
        here = {ref: str(path) for ref, path in self._repository.checked_out().items()}
        return {**self.held, **here}

    # --- records ---

    def records(self, commit: str) -> list[dict[str, Any]]:
        """See History.records."""
        if commit not in self._records:
            self._records[commit] = self._repository.notes.of(commit)
        return self._records[commit]

    def record(self, *measured: Measured) -> None:
        """See History.record."""
        made = [self._made_record(one) for one in measured]
        self._repository.notes.append_many(made)
        for record in made:
            if record["commit"] in self._records:
                self._records[record["commit"]].append(record)

    def _made_record(self, one: Measured) -> Record:
        self._seq = self._seq + 1 if self._seq else self._clone.session() * SESSION + 1
        subject = one.subject
        fixed = one.kind, self.island, one.generation
        about = subject.commit, subject.tree, one.identity
        record = make_record(*fixed, self._seq, *about, **one.fields)
        stamps = self._repository.stamps
        place = None if stamps is None else stamps.place(record)
        return record if place is None else make_record(*fixed, place, *about, **one.fields)

    def fold(self) -> None:
        """See History.fold."""
        self._repository.notes.fold()
        self._repository.pack()
        self._records.clear()

    # --- who made it ---

    def trusted(self, commit: str) -> bool:
        """See Subject.trusted: a local file says so, never a trailer or a fetched ledger."""
        return self._clone.made(commit)

    def trust(self, commit: str) -> None:
        """Remember that this clone's own catalogue (or its person, at the start) made a commit."""
        self._clone.remember_made(commit)


def _texts(files: Mapping[str, File]) -> dict[str, str]:
    """Those that a mutator may see."""
    texts = {path: _text(file.content) for path, file in files.items()}
    return {path: text for path, text in texts.items() if text is not None}


def _text(content: bytes | None) -> str | None:
    """A file that a mutator may see; None for what is none."""
    if content is None or len(content) > MAX_TEXT or b"\0" in content:
        return None
    with contextlib.suppress(UnicodeDecodeError):
        return content.decode("utf-8")
    return None
