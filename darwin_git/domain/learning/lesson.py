"""What the run learned, as typed lessons with evidence: remembered, shown, validated, retired.

After HealthFlow's experience records, with credit that those lack: a mutation stores which lessons
its mutator was shown, and the outcome validates or retires each of them.

The ledger's memory/0003.jsonl holds a generation's events; the lessons are the fold of all
(fold.py), kept beside them (file.py). rules.py writes them, credit.py
judges them, retrieval.py finds them. A text may come from a model or from a genome's log:
bounded, one paragraph, without control characters, and nothing but data to whoever reads it.
"""

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, get_args

from darwin_git.domain.message import one_line
from darwin_git.domain.records import canonical_json

LessonKind = Literal["safeguard", "workflow", "recipe", "dead_end"]
KINDS: tuple[LessonKind, ...] = get_args(LessonKind)
SOURCES = ("rule", "model", "person")
CLASSES = ("syntax", "import", "shape", "oom", "nan", "timeout", "rule", "other")
"""Of failures, as a screen names them."""

TEXT = 600
SCOPE_WORDS = 12
SCOPE_LETTERS = 40
ID_LENGTH = 12
EVIDENCE_KEPT = 8

_SCOPE_WORD = re.compile(r"[^\W_][\w./-]*")
_WORD = re.compile(r"[^\W\d_]{2,}")
_APART = str.maketrans({chr(code): " " for code in range(128) if not chr(code).isalpha()})
_LETTERS = frozenset("abcdefghijklmnopqrstuvwxyz")
_FILE = re.compile(r"/|\.[a-z]{1,4}$")


class Evidence(NamedTuple):
    """One outcome behind a lesson: gain in the metric's loss units, positive is better."""

    variant: str
    commit: str
    gain: float | None = None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Lesson:
    """One thing learned.

    Attributes:
        id: 12 hexadecimal digits, of kind, scope and text.
        kind: safeguard (what breaks, and how not to), workflow (how a failure was mended), recipe
            (what helped), dead_end (what did not).
        text: bounded, one paragraph; quoted to models as data.
        scope: words that say where it holds: ideas, families, files, failure classes.
        evidence: outcomes behind it, the latest eight.
        source: "rule", "model" or "person".
        generation: when it was first written.
        shown, helped: mutations whose mutator saw it, and those of them that it served.
        retired: why it is not shown any more; empty while it is.
    """

    id: str
    kind: LessonKind
    text: str
    scope: frozenset[str]
    evidence: Sequence[Evidence] = ()
    source: str = "rule"
    generation: int = 0
    shown: int = 0
    helped: int = 0
    retired: str = ""

    @property
    def confidence(self) -> float:
        """Posterior mean of the chance to help, Beta(1, 1) prior, evidence counted as successes."""
        return (1 + self.helped + len(self.evidence)) / (2 + self.shown + len(self.evidence))


@dataclass(frozen=True)
class Draft:
    """A lesson that a model proposed: kind, text and scope are hostile until checked."""

    kind: str
    text: str
    scope: tuple[str, ...] = ()


@dataclass(frozen=True)
class Reflection:
    """What a reflecting model answered: new lessons, and known ones to retire, with why."""

    drafts: tuple[Draft, ...] = ()
    retire: Mapping[str, str] = field(default_factory=dict)


MemoryEvent = Mapping[str, Any]
"""A line of memory/0003.jsonl: ``lesson``, ``shown``, ``retire`` or ``revive``."""


def cleaned(text: str, limit: int = TEXT) -> str:
    """One paragraph without control characters and bidirectional overrides, bounded."""
    text = text[: 16 * limit]
    if text.isprintable() and len(text) <= limit:  # the same, at once
        return " ".join(text.split())
    return one_line(text, limit)


def scope_of(words: Iterable[str]) -> frozenset[str]:
    """At most 12 words of at most 40 characters, in lower case: ideas, files, failure classes."""
    found: dict[str, None] = {}
    for text in words:
        for word in _SCOPE_WORD.findall(cleaned(text.lower())):
            found[word[:SCOPE_LETTERS]] = None
            if len(found) == SCOPE_WORDS:
                return frozenset(found)
    return frozenset(found)


def words_in(text: str) -> frozenset[str]:
    """Words to compare texts by: letters only, so `qk-norm-x2` is qk, norm; at least two."""
    text = text.lower().replace("“", " ").replace("”", " ")  # the quotes that rules write
    if text.isascii():  # the same, at a third of the price: every step does it for every lesson
        return frozenset(text.translate(_APART).split()) - _LETTERS
    return frozenset(_WORD.findall(text))


def lesson_id(kind: LessonKind, scope: Iterable[str], text: str) -> str:
    """sha256[:12] of kind, scope and text."""
    content = canonical_json([kind, sorted(scope), text])
    return hashlib.sha256(content.encode()).hexdigest()[:ID_LENGTH]


def new_lesson(
    kind: LessonKind, text: str, scope: Iterable[str], source: str, generation: int
) -> Lesson:
    """A lesson with its id, cleaned; nothing is known of it yet."""
    text, words = cleaned(text), scope_of(scope)
    return Lesson(lesson_id(kind, words, text), kind, text, words, (), source, generation)


def classes_of(lesson: Lesson) -> frozenset[str]:
    """The failure classes in a lesson's scope; a recipe and a dead end have none."""
    if lesson.kind in ("recipe", "dead_end"):
        return frozenset()
    return lesson.scope & frozenset(CLASSES)


def ideas_of(lesson: Lesson) -> frozenset[str]:
    """The ideas in a lesson's scope: what is neither a failure class nor a file."""
    rest = lesson.scope - classes_of(lesson)
    return frozenset(word for word in rest if not _FILE.search(word))


def lesson_event(lesson: Lesson, generation: int, evidence: Evidence | None) -> MemoryEvent:
    """The event that writes a lesson, or adds evidence to a known one."""
    event: dict[str, Any] = {
        "kind": "lesson",
        "id": lesson.id,
        "lesson": lesson.kind,
        "text": lesson.text,
        "scope": sorted(lesson.scope),
        "source": lesson.source,
        "generation": generation,
    }
    return event if evidence is None else event | {"evidence": evidence._asdict()}


def retire_event(lesson_id: str, why: str, by: str, generation: int) -> MemoryEvent:
    """The event after which a lesson is not shown any more."""
    return {
        "kind": "retire",
        "id": lesson_id,
        "why": cleaned(why, 200) or "no reason given",
        "by": by,
        "generation": generation,
    }
