"""The lessons, as the fold of memory's events.

The files may have been merged, cut or edited: what cannot be read is passed over, never raised, and
kinds that a later version writes change nothing. An id is the content's hash, so every event of an
id says the same text, and a changed one is no lesson. Therefore the order of lines matters in two
places only: of retire and revive the last one counts, and of more than eight outcomes the last
eight stay.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from darwin_git.domain.learning.lesson import (
    EVIDENCE_KEPT,
    ID_LENGTH,
    KINDS,
    SOURCES,
    Evidence,
    Lesson,
    LessonKind,
    MemoryEvent,
    cleaned,
    lesson_id,
    scope_of,
)
from darwin_git.domain.learning.retrieval import Shelf

_COMMIT = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")
_MOST = 10**9
_HEX = re.compile(rf"[0-9a-f]{{{ID_LENGTH}}}")


@dataclass
class _Sum:
    """What the events say of one id."""

    content: tuple[LessonKind, str, frozenset[str]] | None = None
    raw: tuple[Any, ...] = ()
    source: str = SOURCES[0]
    generation: int = _MOST
    evidence: dict[tuple[str, str], Evidence] = field(default_factory=dict)
    shown: int = 0
    helped: int = 0
    retired: str = ""

    @property
    def counts(self) -> tuple[int, int, str]:
        """What is known even where nobody wrote the lesson yet."""
        return self.shown, self.helped, self.retired


class _Sums(dict[str, _Sum]):
    """By id, what the events say; begun with what was known of an id once they name it."""

    def __init__(self, known: Shelf) -> None:
        super().__init__()
        self._known = known

    def __missing__(self, key: str) -> _Sum:
        lesson = self._known.get(key)
        shown, helped, retired = self._known.loose.get(key, (0, 0, ""))
        one = _Sum(shown=shown, helped=helped, retired=retired) if lesson is None else _of(lesson)
        self[key] = one
        return one


def fold(events: Iterable[MemoryEvent], known: Mapping[str, Lesson] | None = None) -> Shelf:
    """The lessons by id.

    Args:
        known: the fold of earlier events.
    """
    old = known if isinstance(known, Shelf) else Shelf(known or {})
    sums = _Sums(old)
    for event in events:
        kind = event.get("kind")
        if isinstance(kind, str) and kind in _HANDLERS:
            _HANDLERS[kind](sums, event)
    written = {key: _lesson(key, one) for key, one in sums.items() if one.content}
    loose = {key: one.counts for key, one in sums.items() if any(one.counts)}
    both = {**old.loose, **loose}
    gone = sums.keys() - loose.keys() | written.keys()
    return Shelf({**old, **written}, {key: both[key] for key in both.keys() - gone})


def _of(lesson: Lesson) -> _Sum:
    return _Sum(
        content=(lesson.kind, lesson.text, lesson.scope),
        raw=(lesson.kind, lesson.text, sorted(lesson.scope)),
        source=lesson.source,
        generation=lesson.generation,
        evidence={(one.variant, one.commit): one for one in lesson.evidence},
        shown=lesson.shown,
        helped=lesson.helped,
        retired=lesson.retired,
    )


def _lesson(key: str, one: _Sum) -> Lesson:
    assert one.content is not None
    kind, text, scope = one.content
    evidence = tuple(one.evidence.values())[-EVIDENCE_KEPT:]
    return Lesson(
        *(key, kind, text, scope, evidence, one.source, one.generation),
        *(one.shown, one.helped, one.retired),
    )


def _write(sums: _Sums, event: MemoryEvent) -> None:
    key = _id(event.get("id"))
    raw = (event.get("lesson"), event.get("text"), event.get("scope"))
    if not key:
        return
    one = sums[key]
    if one.raw != raw:  # hashed once, not for every outcome
        content = _content(key, *raw)
        if content is None:
            return
        one.content, one.raw = content, raw
    source = event.get("source")
    if source in SOURCES:
        one.source = max(one.source, source, key=SOURCES.index)
    one.generation = min(one.generation, _count(event.get("generation")))
    found = _evidence(event.get("evidence"))
    if found is not None:
        one.evidence.pop((found.variant, found.commit), None)
        one.evidence[found.variant, found.commit] = found


def _content(
    key: str, kind: object, text: object, scope: object
) -> tuple[LessonKind, str, frozenset[str]] | None:
    """Kind, text and scope of a written lesson; None where they are not what the id names."""
    if kind not in KINDS or not isinstance(text, str):
        return None
    if not isinstance(scope, list | tuple) or not all(isinstance(word, str) for word in scope):
        return None
    chosen = KINDS[KINDS.index(kind)]  # the same, with its type
    clean, words = cleaned(text), scope_of(sorted(scope))
    if not clean or key != lesson_id(chosen, words, clean):
        return None
    return chosen, clean, words


def _shown(sums: _Sums, event: MemoryEvent) -> None:
    helped = set(_ids(event.get("helped")))
    for key in dict.fromkeys(_ids(event.get("ids"))):
        one = sums[key]
        one.shown += 1
        one.helped += key in helped


def _retire(sums: _Sums, event: MemoryEvent) -> None:
    key, why = _id(event.get("id")), event.get("why")
    if key:
        said = cleaned(why, 200) if isinstance(why, str) else ""
        sums[key].retired = said or "no reason given"


def _revive(sums: _Sums, event: MemoryEvent) -> None:
    key = _id(event.get("id"))
    if key:
        sums[key].retired = ""


_HANDLERS = {"lesson": _write, "shown": _shown, "retire": _retire, "revive": _revive}


def _id(value: object) -> str:
    return value if isinstance(value, str) and _HEX.fullmatch(value) else ""


def _ids(value: object) -> list[str]:
    return [one for one in map(_id, value) if one] if isinstance(value, list | tuple) else []


def _count(value: object) -> int:
    return value if isinstance(value, int) and 0 <= value < _MOST else 0


def _evidence(value: object) -> Evidence | None:
    if not isinstance(value, Mapping):
        return None
    variant, commit = value.get("variant"), value.get("commit")
    if not isinstance(variant, str) or not isinstance(commit, str):
        return None
    return Evidence(
        variant=cleaned(variant, 80),
        commit=commit if _COMMIT.fullmatch(commit) else "",
        gain=_number(value.get("gain")),
        low=_number(value.get("low")),
        high=_number(value.get("high")),
    )


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if -1e300 < value < 1e300 else None  # neither NaN nor an infinity is
