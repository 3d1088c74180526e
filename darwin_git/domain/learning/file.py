"""lessons.json: what memory's events fold to, so that a step reads it instead of all events.

Derived, and never believed further than it is theirs: it names the events that it folds by the id
of git's tree of them, and whoever finds other events there folds these. A merge, an older tool and
a hand can thus add lines without knowing of this file. What is no lesson's is not read at all.
"""

import json
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any, NoReturn, overload

from darwin_git.domain.learning.lesson import EVIDENCE_KEPT, KINDS, SOURCES, TEXT, Evidence, Lesson
from darwin_git.domain.learning.retrieval import Shelf

SCHEMA = "darwin-git/lessons/1"
FIELDS = (
    *("id", "kind", "text", "scope", "source", "generation", "shown", "helped", "retired"),
    "evidence",
)
"""Of a lesson, in this order. Evidence is a line each: commit, gain, its interval, variant."""
_COUNT = frozenset({int})
_MOST = 10**9
_LINE = 300
"""Letters of a line of evidence: at most 64 of a commit, 80 of a name, and three numbers."""
_NONE = "-"


def to_json(shelf: Shelf, folds: str) -> bytes:
    """The file: a lesson a line, so that two versions differ where their lessons do.

    Args:
        folds: names the events that the shelf is the fold of.
    """
    head = {"schema": SCHEMA, "folds": folds, "fields": FIELDS, "loose": shelf.loose}
    lines = ",\n".join(_dumped(_row(lesson)) for lesson in shelf.values())
    return f'{_dumped(head)[:-1]},"lessons":[\n{lines}\n]}}\n'.encode("ascii")


def from_json(data: bytes | None, folds: str) -> Shelf | None:
    """The shelf; None where there is none, it folds other events, or it cannot be read."""
    try:
        value = _decoder.decode((data or b"").decode())
        if (value["schema"], value["folds"], value["fields"]) != (SCHEMA, folds, list(FIELDS)):
            return None
        lessons = [_lesson(row) for row in value["lessons"]]
        loose = {key: _loose(counts) for key, counts in value["loose"].items()}
        return Shelf({one.id: one for one in lessons}, loose)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None


def folded(data: bytes) -> str | None:
    """Which events a file says it folds; None for what is no such file."""
    try:
        value = _decoder.decode(data.decode())
        return str(value["folds"])
    except (ValueError, TypeError, KeyError, RecursionError):
        return None


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no number of JSON")


_decoder = json.JSONDecoder(parse_constant=_refuse)
_dumped = json.JSONEncoder(separators=(",", ":"), allow_nan=False).encode


def _row(lesson: Lesson) -> list[Any]:
    behind = lesson.evidence
    lines = behind.lines if isinstance(behind, Outcomes) else [_line(one) for one in behind]
    return [
        *(lesson.id, lesson.kind, lesson.text, sorted(lesson.scope), lesson.source),
        *(lesson.generation, lesson.shown, lesson.helped, lesson.retired, lines),
    ]


def _lesson(row: Any) -> Lesson:
    """A row's lesson. Raises ValueError or TypeError for what the fold would not have made."""
    key, kind, text, scope, source, generation, shown, helped, retired, lines = row
    if not "".join([key, text, retired, *scope]).isprintable() or not 0 < len(text) <= TEXT:
        raise ValueError("a text that no lesson has")
    if kind not in KINDS or source not in SOURCES:
        raise ValueError("no kind or source of ours")
    if len(lines) > EVIDENCE_KEPT or len("".join(lines)) > EVIDENCE_KEPT * _LINE:
        raise ValueError("more evidence than a lesson has")
    if not {type(generation), type(shown), type(helped)} <= _COUNT or not (
        0 <= helped <= shown < _MOST and 0 <= generation < _MOST
    ):
        raise ValueError("a number that is none")
    words, behind = frozenset(scope), Outcomes(lines)
    return Lesson(key, kind, text, words, behind, source, generation, shown, helped, retired)


def _loose(counts: Any) -> tuple[int, int, str]:
    shown, helped, retired = counts
    if not {type(shown), type(helped)} <= _COUNT or not 0 <= helped <= shown < _MOST:
        raise ValueError("a number that is none")
    if not str.isprintable(retired):
        raise ValueError("what no event said")
    return shown, helped, retired


class Outcomes(Sequence[Evidence]):
    """A lesson's evidence as the file has it, read once somebody looks: a step looks at few."""

    def __init__(self, lines: list[str]) -> None:
        self.lines = lines

    @cached_property
    def _all(self) -> tuple[Evidence, ...]:
        return tuple(map(_evidence, self.lines))

    def __len__(self) -> int:
        return len(self.lines)

    @overload
    def __getitem__(self, at: int) -> Evidence: ...
    @overload
    def __getitem__(self, at: slice) -> tuple[Evidence, ...]: ...
    def __getitem__(self, at: int | slice) -> Evidence | tuple[Evidence, ...]:
        return self._all[at]

    def __iter__(self) -> Iterator[Evidence]:
        return iter(self._all)

    def __eq__(self, other: object) -> bool:
        return self._all == (other._all if isinstance(other, Outcomes) else other)

    def __hash__(self) -> int:
        return hash(self._all)

    def __repr__(self) -> str:
        return repr(self._all)


def _line(one: Evidence) -> str:
    numbers = (
        _NONE if number is None else repr(number) for number in (one.gain, one.low, one.high)
    )
    return " ".join((one.commit or _NONE, *numbers, one.variant))


def _evidence(line: str) -> Evidence:
    """What `_line` wrote; of what it did not write, nothing is known."""
    if not line.isprintable():
        return Evidence("", "")
    commit, *numbers, variant = f"{line}     ".split(" ", 4)
    gain, low, high = map(_number, numbers)
    return Evidence(variant[:-5], "" if commit == _NONE else commit, gain, low, high)


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if -1e300 < number < 1e300 else None
