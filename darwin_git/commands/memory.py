"""`memory …`: the lessons of the run, read from the ledger's events; what a person adds to them."""

import difflib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from darwin_git.commands.read import Data, metric_of, must_state, schema
from darwin_git.domain.learning.fold import fold
from darwin_git.domain.learning.lesson import (
    KINDS,
    TEXT,
    Lesson,
    MemoryEvent,
    cleaned,
    lesson_event,
    new_lesson,
    retire_event,
)
from darwin_git.domain.metric import PERPLEXITY
from darwin_git.domain.names import LEDGER
from darwin_git.errors import DarwinError
from darwin_git.store.history import GitHistory
from darwin_git.store.repository import Repository

SHOW = "git show --first-parent --notes=darwin/summary {commit}"
SHORT = 4
"""Letters of an id that may stand for all of it."""


def listing(folder: Path, kind: str | None, everything: bool) -> Data:
    """The lessons, those that served best first.

    Args:
        kind: only of this kind.
        everything: retired ones, too.
    """
    _check_kind(kind)
    with Repository.open(folder, thorough=False) as repository:
        read = repository.memory.scan()
    lessons = fold(read.records).values()
    chosen = [one for one in lessons if kind in (None, one.kind)]
    rows = [row(one) for one in _ranked(chosen) if everything or not one.retired]
    retired = sum(bool(one.retired) for one in chosen)
    return _data("list", lessons=rows, retired=retired, corrupt=read.corrupt)


def show(folder: Path, text: str) -> Data:
    """One lesson with its evidence, what it did for whom, and who retired it."""
    with Repository.open(folder, thorough=False) as repository:
        events = repository.memory.scan().records
        state = GitHistory(repository).state()
    lesson = find(fold(events), text)
    evidence = [
        {**one._asdict(), "command": SHOW.format(commit=one.commit[:12]) if one.commit else ""}
        for one in lesson.evidence
    ]
    metric = metric_of(state) if state else PERPLEXITY
    return _data(
        "show",
        metric=metric.to_json(),
        lesson=row(lesson),
        evidence=evidence,
        mutations=_mutations(events, lesson.id),
        changes=_changes(events, lesson.id),
    )


def retire(folder: Path, ids: Sequence[str], why: str, wait: float) -> Data:
    """Show lessons to nobody any more.

    Raises:
        DarwinError: no reason, an unknown id, a held lock; nothing was written then.
    """
    if not cleaned(why):
        raise DarwinError("why?", hint='give --why "…": whoever reads the memory later asks that')
    with _writing(folder, wait, "memory retire") as (repository, lessons, generation):
        found = {one.id: one for one in (find(lessons, text) for text in ids)}
        gone = [key for key, one in found.items() if not one.retired]
        repository.memory.append(
            generation, [retire_event(key, why, "person", generation) for key in gone]
        )
    return _data("retire", retired=gone, known=[key for key in found if key not in gone])


def revive(folder: Path, ids: Sequence[str], wait: float) -> Data:
    """Show retired lessons again."""
    with _writing(folder, wait, "memory revive") as (repository, lessons, generation):
        found = {one.id: one for one in (find(lessons, text) for text in ids)}
        back = [key for key, one in found.items() if one.retired]
        repository.memory.append(generation, [_revival(key, generation) for key in back])
    return _data("revive", revived=back, known=[key for key in found if key not in back])


def add(folder: Path, kind: str, scope: str, text: str, wait: float) -> Data:
    """A person's own lesson; one that is there already is shown again if it was retired.

    Raises:
        DarwinError: an unknown kind, no text, a text that is too long, a held lock.
    """
    _check_kind(kind)
    chosen = next(one for one in KINDS if one == kind)
    lesson = new_lesson(chosen, text, [scope], "person", 0)
    if not lesson.text:
        raise DarwinError("the lesson has no text", hint='darwin-git memory add --kind recipe "…"')
    if lesson.text != cleaned(text, len(text)):
        raise DarwinError(
            f"the lesson is longer than {TEXT} characters", hint="say it shorter, or add two"
        )
    with _writing(folder, wait, "memory add") as (repository, lessons, generation):
        known = lessons.get(lesson.id)
        events = [lesson_event(lesson, generation, None)]
        if known and known.retired:
            events.append(_revival(lesson.id, generation))
        if known is None or known.retired or known.source != "person":
            repository.memory.append(generation, events)
        after = fold(events, lessons)[lesson.id]
    return _data("add", lesson=row(after), new=known is None)


def summary(lessons: Mapping[str, Lesson], most: int = 5) -> Data:
    """For reports: how many lessons there are, the best live ones, the ones last retired."""
    live = [one for one in lessons.values() if not one.retired]
    gone = [one for one in lessons.values() if one.retired]
    return {
        "kinds": {kind: sum(one.kind == kind for one in live) for kind in KINDS},
        "shown": sum(one.shown for one in lessons.values()),
        "helped": sum(one.helped for one in lessons.values()),
        "best": [row(one) for one in _ranked(live)[:most]],
        "retired": [row(one) for one in _ranked(gone)[:most]],
        "retired_count": len(gone),
    }


def row(lesson: Lesson) -> Data:
    """A lesson as JSON has it, without its evidence."""
    return {
        "id": lesson.id,
        "kind": lesson.kind,
        "text": lesson.text,
        "scope": sorted(lesson.scope),
        "source": lesson.source,
        "generation": lesson.generation,
        "confidence": round(lesson.confidence, 3),
        "shown": lesson.shown,
        "helped": lesson.helped,
        "evidence": len(lesson.evidence),
        "retired": lesson.retired,
    }


def find(lessons: Mapping[str, Lesson], text: str) -> Lesson:
    """The lesson of an id, or of its first four letters or more where they are one lesson's.

    Raises:
        DarwinError: there is none, or there are several.
    """
    if text in lessons:
        return lessons[text]
    begun = sorted(key for key in lessons if len(text) >= SHORT and key.startswith(text))
    if len(begun) == 1:
        return lessons[begun[0]]
    if begun:
        raise DarwinError(
            f"{text!r} begins several ids: {', '.join(begun[:8])}", hint="give more letters"
        )
    near = difflib.get_close_matches(text.lower(), sorted(lessons), n=1, cutoff=0.5)
    hint = f"did you mean {near[0]}?" if near else "`darwin-git memory list --all` names them all"
    raise DarwinError(f"{text[:80]!r} is no lesson's id", hint=hint)


def _ranked(lessons: Sequence[Lesson]) -> list[Lesson]:
    return sorted(lessons, key=lambda one: (-one.confidence, -one.generation, one.id))


def _data(what: str, **values: Any) -> Data:
    return {"schema": schema("memory"), "command": what, **values}


def _check_kind(kind: str | None) -> None:
    if kind is not None and kind not in KINDS:
        raise DarwinError(f"{kind!r} is no kind of lesson", hint="kinds: " + ", ".join(KINDS))


def _revival(key: str, generation: int) -> MemoryEvent:
    return {"kind": "revive", "id": key, "by": "person", "generation": generation}


@contextmanager
def _writing(
    folder: Path, wait: float, command: str
) -> Iterator[tuple[Repository, Mapping[str, Lesson], int]]:
    """The repository under its lock, the lessons, the number of the last generation."""
    with Repository.open(folder, thorough=False) as repository:
        history = GitHistory(repository)  # first: the session folds what a killed command left
        with repository.session(wait, command):
            place = repository.checked_out().get(LEDGER)
            if place is not None:
                raise DarwinError(
                    f"darwin/ledger is checked out in {place}: writing would stage a revert there",
                    hint=f"git -C {place} switch --detach, then run this again",
                )
            generation = must_state(history).generation
            yield repository, repository.memory.lessons(), generation


def _mutations(events: Sequence[MemoryEvent], key: str) -> list[Data]:
    """Whose mutators saw a lesson, and whether it served them."""
    found = []
    for event in events:
        ids, helped = event.get("ids"), event.get("helped")
        if event.get("kind") == "shown" and isinstance(ids, list) and key in ids:
            served = isinstance(helped, list) and key in helped
            found.append({"variant": _text(event.get("variant")), "helped": served})
    return found


def _changes(events: Sequence[MemoryEvent], key: str) -> list[Data]:
    """Each time that a lesson was retired or revived."""
    return [
        {
            "kind": event["kind"],
            "by": _text(event.get("by")),
            "why": _text(event.get("why")),
            "generation": event.get("generation"),
        }
        for event in events
        if event.get("kind") in ("retire", "revive") and event.get("id") == key
    ]


def _text(value: object) -> str:
    return cleaned(value, 200) if isinstance(value, str) else ""
