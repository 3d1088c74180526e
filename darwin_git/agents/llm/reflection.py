"""A reflecting model's answer as lessons: read leniently, bounded, never an error."""

import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from darwin_git.domain import strict_json
from darwin_git.domain.answers.text import without_thinking
from darwin_git.domain.learning.lesson import Draft, Reflection
from darwin_git.domain.quoting import cut, hidden, line

MAX_ANSWER = 64 * 1024
MAX_TEXT = 600
MAX_RETIRED = 10
_MAX_LINES = 200
_KINDS = frozenset({"safeguard", "workflow", "recipe", "dead_end"})


def read(text: str, known: Collection[str], most: int) -> Reflection:
    """At most `most` drafts, and ids of `known` lessons to retire; whatever is unreadable is left.

    Args:
        text: JSON lines, a JSON list, or an object that holds such a list; fences do not matter.
    """
    drafts: dict[str, Draft] = {}
    retire: dict[str, str] = {}
    for one in _objects(without_thinking(text)[:MAX_ANSWER]):
        if isinstance(one.get("retire"), str):
            if one["retire"] in known and len(retire) < MAX_RETIRED:
                retire[one["retire"]] = line(_text(one.get("why")), 200) or "contradicted"
        elif (draft := _draft(one)) and len(drafts) < most:
            drafts.setdefault(draft.text, draft)
    return Reflection(tuple(drafts.values()), retire)


def _objects(text: str) -> Iterator[Mapping[str, Any]]:
    """Of one JSON value, else of the lines that are JSON."""
    start, end = re.search(r"[\[{]", text), max(text.rfind("]"), text.rfind("}"))
    values = list(_parsed(text[start.start() : end + 1])) if start else []
    if not values:
        lines = (row.strip().rstrip(",") for row in text.splitlines()[:_MAX_LINES])
        values = [value for row in lines if row.startswith("{") for value in _parsed(row)]
    for value in values:
        yield from _flat(value)


def _parsed(text: str) -> Iterator[Any]:
    try:
        yield strict_json.parse(text.encode(errors="replace"))
    except strict_json.UnsafeJson:
        return


def _flat(value: Any) -> Iterator[Mapping[str, Any]]:
    """The objects of a list, or of an object's lists: {"lessons": […], "retire": […]}."""
    if isinstance(value, list):
        yield from (one for one in value if isinstance(one, dict))
    elif isinstance(value, dict):
        lists = [inner for inner in value.values() if isinstance(inner, list)]
        if "text" in value or isinstance(value.get("retire"), str):
            yield value
        else:
            yield from (one for inner in lists for one in inner if isinstance(one, dict))


def _draft(one: Mapping[str, Any]) -> Draft | None:
    kind = re.sub(r"[\s-]+", "_", _text(one.get("kind")).strip().lower()[:20])
    text = " ".join(cut(hidden(_text(one.get("text"))[: 4 * MAX_TEXT]), MAX_TEXT).split())
    words = one.get("scope")
    listed = words if isinstance(words, list) else [words]
    scope = tuple(filter(None, (line(_text(word), 40) for word in listed[:8])))
    return Draft(kind, text, scope) if kind in _KINDS and text else None


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
