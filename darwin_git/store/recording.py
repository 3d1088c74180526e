"""A recorded run, fetched from a repository or a bundle: what was done, measured, answered, when.

It lies under refs/darwin/recording/ for as long as it is read, so that nothing takes it for the
run that is made from it.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from darwin_git.config import FILE_NAME
from darwin_git.domain import names, records
from darwin_git.domain.exchange import Exchange
from darwin_git.domain.planning import Plan
from darwin_git.domain.records import Record
from darwin_git.errors import DarwinError
from darwin_git.store import ledger
from darwin_git.store.git import run_git
from darwin_git.store.notetree import note_map
from darwin_git.store.repository import Repository
from darwin_git.store.stamps import Stamps
from darwin_git.store.transition import Intent
from darwin_git.store.trees import EMPTY_TREE, Entry

FOLDER = names.HIDDEN + "recording/"
_PLACES = (
    (names.HEADS, FOLDER + "heads/"),
    (names.ARCHIVE, FOLDER + "archive/"),
    (names.EXCHANGE, FOLDER + "exchange"),
    (names.NOTES_FITNESS, FOLDER + "notes/fitness"),
    (names.WRITERS, FOLDER + "notes/w/"),
)

DeedKind = Literal["baseline", "generation", "minimise", "certificate", "champion", "other"]
_MARKS: tuple[DeedKind, ...] = ("baseline", "generation", "minimise", "certificate", "champion")


@dataclass(frozen=True)
class Deed:
    """One step of the recorded run, as the ledger tells of it.

    Attributes:
        kind: ``champion`` is a scale-bound certificate that a person accepted; ``other`` is a
            person's, too: stepping stones pruned, a lesson retired.
        generation: whose events or memory they are.
        events, memory: what was added to the ledger.
        plan: of a generation.
        settings: darwin.toml as the run read it, None where the ledger has no copy.
    """

    kind: DeedKind
    generation: int
    subject: str
    events: tuple[Mapping[str, Any], ...]
    memory: tuple[Mapping[str, Any], ...]
    plan: Plan | None
    settings: bytes | None


def recorded_refs(recording: Path) -> dict[str, str]:
    """The references of a recording: object id by name. Touches nothing.

    Raises:
        DarwinError: there is no repository or bundle, or none that holds a run.
    """
    bundle = "git -C RUN bundle create run.bundle --all"
    if not recording.exists():
        raise DarwinError(f"{recording} does not exist", hint=f"a recording is made by: {bundle}")
    place = str(recording.resolve())
    done = run_git(["ls-remote", "--end-of-options", place], cwd="/", check=False)
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().splitlines() or ["git gave no reason"]
        raise DarwinError(
            f"{recording} is neither a git repository nor a bundle of one: {said[0]}",
            hint=f"a recording is made by: {bundle}",
        )
    rows = (line.split("\t", 1) for line in done.stdout.decode(errors="replace").splitlines())
    refs = {row[1]: row[0] for row in rows if len(row) == 2 and not row[1].endswith("^{}")}
    if names.LEDGER not in refs:
        raise DarwinError(
            f"{recording} holds no run: {names.LEDGER} is missing",
            hint=f"`git clone` leaves most of a run out; where it ran, make a bundle: {bundle}",
        )
    return refs


class RecordedRun:
    """A recorded run whose objects are in a repository.

    Attributes:
        refs: the recording's references as they were named there.
    """

    def __init__(self, repository: Repository, refs: Mapping[str, str]) -> None:
        self.refs = dict(refs)
        self._repository = repository

    @classmethod
    def fetched(cls, repository: Repository, recording: Path) -> "RecordedRun":
        """Copy a recording's objects into a repository, without its corpus.

        Raises:
            DarwinError: it cannot be read, or holds no run.
        """
        refs = recorded_refs(recording)
        specs = [f"+{ref}:{place}" for ref in refs if (place := _place(ref))]
        done = repository.git.call(
            *("fetch", "--quiet", "--no-tags", "--no-write-fetch-head", "--no-auto-maintenance"),
            *("--no-recurse-submodules", "--stdin", "--end-of-options", str(recording.resolve())),
            input="".join(spec + "\n" for spec in specs).encode(),
            check=False,
        )
        if done.returncode:
            said = done.stderr.decode(errors="replace").strip().splitlines()
            raise DarwinError(
                f"{recording} could not be read: {said[-1] if said else 'git gave no reason'}",
                hint="repair it there (git fsck says more), or make the bundle again",
            )
        return cls(repository, refs)

    def forget(self) -> None:
        """Remove the references under which the recording was read."""
        rows = self._repository.git.for_each_ref("%(refname)", FOLDER)
        text = "".join(f"delete {row[0]}\n" for row in rows)
        self._repository.git.run("update-ref", "--no-deref", "--stdin", input=text.encode())

    # --- what was done ---

    @cached_property
    def deeds(self) -> list[Deed]:
        """The run's steps, the first one first. Raises DarwinError for a ledger that is none."""
        found = list(self._deeds())
        if not any(deed.kind == "baseline" for deed in found):
            raise DarwinError("the recording has no baseline", hint="record a run from its start")
        return found

    def _deeds(self) -> Iterator[Deed]:
        tip = FOLDER + "heads/ledger"
        out = self._repository.git.run("rev-list", "--first-parent", "--reverse", tip)
        before = EMPTY_TREE
        for commit in out.decode().split():
            info = self._repository.commit_info(commit)
            if ledger.INTENT in self._repository.objects.tree(info.tree):
                continue  # a transition's first half: its second half says what was done
            deed = self._deed(before, info.tree, info.subject)
            before = info.tree
            if deed is not None:
                yield deed

    def _deed(self, before: str, after: str, subject: str) -> Deed | None:
        generation, events = self._gained(before, after, "population")
        at, memory = self._gained(before, after, "memory")
        if not events and not memory:
            return None
        generation = generation if events else at
        kinds = {event["kind"] for event in events}
        kind: DeedKind = next((one for one in _MARKS if one in kinds), "other")
        plan = self._content(after, ledger.plan_path(generation)) if kind == "generation" else None
        return Deed(
            kind,
            generation,
            subject,
            tuple(events),
            tuple(memory),
            Plan.from_json(json.loads(plan)) if plan else None,
            self._content(after, FILE_NAME),
        )

    def _gained(self, before: str, after: str, folder: str) -> tuple[int, list[Record]]:
        """What the generations' files gained, and the last generation whose file did."""
        generation, found = -1, list[Record]()
        old = self._entries(before, folder)
        for name, entry in sorted(self._entries(after, folder).items()):
            if old.get(name) != entry:
                found += self._news(before, after, f"{folder}/{name}")
                generation = int(name.partition(".")[0])
        return generation, found

    def _entries(self, tree: str, folder: str) -> Mapping[str, Entry]:
        found = self._repository.objects.tree(tree).get(folder)
        return self._repository.objects.tree(found.oid) if found else {}

    def _content(self, tree: str, path: str) -> bytes | None:
        found = self._repository.cat.get(f"{tree}:{path}")
        return found.data if found and found.type == "blob" else None

    def _news(self, before: str, after: str, path: str) -> list[Record]:
        old, new = self._content(before, path) or b"", self._content(after, path) or b""
        if not new.startswith(old):
            raise DarwinError(
                f"the recording's {path} was rewritten, not continued",
                hint="replay another recording of the run, from before that",
            )
        return records.parse_lines(new[len(old) :])

    @property
    def baseline(self) -> Mapping[str, Any]:
        """The baseline's event. Raises DarwinError where its commit is missing."""
        events = (event for deed in self.deeds for event in deed.events)
        found = next(event for event in events if event["kind"] == "baseline")
        if self._repository.resolve(str(found["commit"])) != found["commit"]:
            raise DarwinError("the recording's baseline is no commit", hint="record the run again")
        return found

    @cached_property
    def tips(self) -> dict[str, str]:
        """Where branches and archive stood after the last deed.

        A recording that ends inside a transition is taken as it stood before it.
        """
        found = {ref: oid for ref, oid in self.refs.items() if _is_code(ref)}
        data = self._content(f"{FOLDER}heads/ledger^{{tree}}", ledger.INTENT)
        for update in Intent.of_json(data).updates if data else ():
            if update.old is None:
                found.pop(update.ref, None)
            else:
                found[update.ref] = update.old
        return found

    # --- what was measured, answered, and when ---

    @cached_property
    def records(self) -> dict[str, list[Record]]:
        """The notes by commit, in the order in which they were made."""
        objects = self._repository.objects
        blobs: dict[str, list[str]] = {}
        for _, tree in self._repository.git.for_each_ref("%(refname) %(tree)", FOLDER + "notes/"):
            for commit, oids in note_map(objects, tree).items():
                blobs.setdefault(commit, []).extend(oids)
        contents = self._repository.git.batch(oid for oids in blobs.values() for oid in oids)
        return {
            commit: [
                one
                for one in records.merge(*(records.parse_lines(next(contents)[1]) for _ in oids))
                if records.is_intact(one)
            ]
            for commit, oids in blobs.items()
        }

    @cached_property
    def exchanges(self) -> list[Exchange]:
        """Everything that was asked and answered."""
        return self._repository.exchanges.at(FOLDER + "exchange").read()

    def stamps(self) -> Stamps:
        """Who made which commit when and the like, the baseline's commit included."""
        tips = [oid for ref, oid in self.refs.items() if _is_code(ref)]
        start = str(self.baseline["commit"])
        asked = "".join(f"{oid}\n" for oid in [*tips, f"^{start}"])
        out = self._repository.git.run("rev-list", "--stdin", input=asked.encode()).decode()
        found = self._repository.git.batch([start, *out.split()])
        measured = (one for each in self.records.values() for one in each)
        return Stamps(found, measured, self.exchanges)


def _place(ref: str) -> str:
    """Where a recording's reference is read from here; empty for what is not needed."""
    if not ref.startswith(names.OURS):
        # A person's branch that a variant was made from.
        own = ref.startswith("refs/heads/")
        return f"{FOLDER}branches/{ref.removeprefix('refs/heads/')}" if own else ""
    for prefix, place in _PLACES:
        if ref == prefix or (prefix.endswith("/") and ref.startswith(prefix)):
            return place + ref.removeprefix(prefix) if names.parse(ref) else ""
    return ""


def _is_code(ref: str) -> bool:
    """Whether a reference names somebody's code: a lineage, the champion, a variant."""
    kind = names.parse(ref)
    return ref == names.CHAMPION or isinstance(
        kind, names.AgentName | names.VariantName | names.Archived
    )
