"""The port History on a repository: what a generation may ask of git, and nothing more."""

import contextlib
import json
import os
import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from darwin_git.config import FILE_NAME
from darwin_git.domain import names
from darwin_git.domain.evidence import summary_note
from darwin_git.domain.planning import Plan
from darwin_git.domain.population import State, from_json, to_json
from darwin_git.domain.records import Record, canonical_json, make_record
from darwin_git.ports import File, Measured, Merged, Move
from darwin_git.store import ledger
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
    """A repository as a generation sees it. Only the main thread uses it."""

    def __init__(self, repository: Repository) -> None:
        self._repository = repository
        self._folder = repository.git.common_dir / "darwin"
        repository.notes.summarise = summary_note
        self._seq = 0
        self._tips: dict[int, dict[str, str]] = {}
        self._island = ""
        self._made: set[str] | None = None
        self._trees: dict[str, str] | None = None
        self._files: dict[str, dict[str, str]] = {}
        self._measured: dict[str, str] = {}
        self._records: dict[str, list[Record]] = {}

    # --- who we are ---

    @property
    def island(self) -> str:
        """This clone's population: the ledger's word, else a name made once for the clone."""
        if not self._island:
            state, path = self.state(), self._folder / "island"
            if state is None and not path.exists():
                self._folder.mkdir(parents=True, exist_ok=True)
                _replace_file(path, secrets.token_hex(4))
            self._island = state.island if state else path.read_text().strip()
        return self._island

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
        self._repository.ledger.write({path: text.encode()}, f"Plan generation {plan.generation}")

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
    ) -> None:
        """See History.settle."""
        path = ledger.population_path(generation)
        lines = [canonical_json(event) for event in events]
        self._tips.clear()
        summary = json.dumps(to_json(state), sort_keys=True) + "\n"
        self._repository.transition(
            [RefUpdate(move.ref, move.old, move.new) for move in moves],
            {
                path: self._repository.ledger.appended(path, lines),
                ledger.SUMMARY: summary.encode(),
                **files,
            },
            subject,
        )

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
        merge = self._repository.merge(ours, theirs)
        return Merged(merge.tree, tuple(sorted({c.path for c in merge.conflicts})))

    def replay(self, change: str, base: str, onto: str) -> Merged:
        """See History.replay."""
        merge = self._repository.replay(change, base, onto)
        return Merged(merge.tree, tuple(sorted({c.path for c in merge.conflicts})))

    def twin(self, commit: str) -> str | None:
        """See History.twin."""
        if self._trees is None:
            self._trees = self._repository.trees_of_refs(
                names.VARIANTS, names.ARCHIVE, names.AGENTS, names.CHAMPION
            )
        found = self._trees.get(self.full_tree(commit))
        return found if found != commit else None

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
        return {ref: str(path) for ref, path in self._repository.checked_out().items()}

    # --- records ---

    def records(self, commit: str) -> list[dict[str, Any]]:
        """See History.records."""
        if commit not in self._records:
            self._records[commit] = self._repository.notes.of(commit)
        return self._records[commit]

    def record(self, *measured: Measured) -> None:
        """See History.record."""
        made = []
        for one in measured:
            self._seq = self._seq + 1 if self._seq else self._session() * SESSION + 1
            record = make_record(
                one.kind,
                self.island,
                one.generation,
                self._seq,
                one.subject.commit,
                one.subject.tree,
                one.identity,
                **one.fields,
            )
            made.append(record)
        self._repository.notes.append_many(made)
        for record in made:
            if record["commit"] in self._records:
                self._records[record["commit"]].append(record)

    def _session(self) -> int:
        """Counts the commands that recorded something, so that `seq` orders their records."""
        path = self._folder / "session"
        known = path.read_text().strip() if path.exists() else "0"
        number = int(known) + 1 if known.isdigit() else 1
        self._folder.mkdir(parents=True, exist_ok=True)
        _replace_file(path, str(number))
        return number

    def fold(self) -> None:
        """See History.fold."""
        self._repository.notes.fold()
        self._repository.pack()
        self._records.clear()

    # --- who made it ---

    def trusted(self, commit: str) -> bool:
        """See Subject.trusted: a local file says so, never a trailer or a fetched ledger."""
        if self._made is None:
            path = self._folder / "made"
            self._made = set(path.read_text().split()) if path.exists() else set()
        return commit in self._made

    def trust(self, commit: str) -> None:
        """Remember that this clone's own catalogue (or its person, at the start) made a commit."""
        if self.trusted(commit):
            return
        assert self._made is not None
        self._folder.mkdir(parents=True, exist_ok=True)
        with (self._folder / "made").open("a") as file:
            file.write(f"\n{commit}\n")  # a line that a full disk cut stays by itself
        self._made.add(commit)


def _texts(files: Mapping[str, File]) -> dict[str, str]:
    """Those that a mutator may see."""
    texts = {}
    for path, file in files.items():
        if len(file.content) <= MAX_TEXT and b"\0" not in file.content:
            with contextlib.suppress(UnicodeDecodeError):
                texts[path] = file.content.decode("utf-8")
    return texts


def _replace_file(path: Path, text: str) -> None:
    temporary = path.with_name(f"{path.name}.{os.getpid()}")
    temporary.write_text(text + "\n")
    temporary.replace(path)
