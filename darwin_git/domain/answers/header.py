"""What an answer says of itself: idea, title, why, expected; derived where it says nothing."""

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from darwin_git.domain.answers.json_form import loads
from darwin_git.domain.message import one_line

MAX_IDEA = 40
MAX_PROSE = 2000
_KEYS = {
    "idea": ("idea", "name", "slug"),
    "title": ("title", "subject", "summary"),
    "why": ("why", "hypothesis", "rationale", "reason", "explanation"),
    "expected": ("expected", "expected_effect", "expected effect", "effect"),
}
_WORDS = {word: key for key, words in _KEYS.items() for word in words}
_LINE = re.compile(
    r"[ \t]*(?:[-*+][ \t]+|#{1,6}[ \t]*)?[*_\"'`]{0,3}"
    r"(idea|title|subject|why|hypothesis|rationale|expected[ _]effect|expected)"
    r"[*_\"'`]{0,3}[ \t]*[:=][ \t]*(.*)",
    re.IGNORECASE,
)
_KEY = re.compile(r'"(idea|title|why|expected)"[ \t]*:[ \t]*"', re.IGNORECASE)
_CHAT = re.compile(
    r"(?:sure|certainly|of course|okay|ok|here|i |i'|let|below|great|the following)\b",
    re.IGNORECASE,
)
_TRIES = 8


@dataclass(frozen=True)
class Header:
    """The four fields, cleaned and bounded."""

    idea: str
    title: str
    why: str
    expected: str


def short_name(text: str) -> str:
    """An idea as people and lineages carry it: lower case words with dashes."""
    words = re.findall(r"[a-z0-9]+", text[:400].lower())
    name = ""
    for word in words:
        if len(name) + len(word) + 1 > MAX_IDEA:
            break
        name = f"{name}-{word}" if name else word
    return name or "".join(words)[:MAX_IDEA]


def headers(values: Iterable[Any]) -> list[Mapping[str, str]]:
    """The JSON objects that speak of an idea, with our keys."""
    found: list[Mapping[str, str]] = []
    for value in values:
        if isinstance(value, dict):
            fields = _fields(value)
            if fields.get("idea") or fields.get("title"):
                found.append(fields)
    return found


def _fields(value: Mapping[Any, Any]) -> dict[str, str]:
    fields: dict[str, str] = {}
    for name, words in _KEYS.items():
        for word in words:
            text = value.get(word, value.get(word.capitalize(), value.get(word.upper())))
            if isinstance(text, list):
                text = " ".join(part for part in text if isinstance(part, str))
            if isinstance(text, str) and text.strip():
                fields[name] = text
                break
    return fields


def bare_objects(prose: Sequence[str]) -> list[Any]:
    """JSON objects that stand in prose without a fence."""
    found: list[Any] = []
    at = tries = 0
    while at < len(prose) and tries < _TRIES:
        if not prose[at].lstrip().startswith("{"):
            at += 1
            continue
        tries += 1
        end = next(
            (n for n in range(at, min(len(prose), at + 2000)) if prose[n].rstrip()[-1:] == "}"), at
        )
        value = loads("\n".join(prose[at : end + 1]))
        whole = loads("\n".join(prose[at:])) if value is None else value
        if whole is not None:
            found.append(whole)
        at = end + 1
    return found


def spoken(prose: Sequence[str]) -> dict[str, str]:
    """`IDEA: …` and `Title: …` lines; a line goes on to the next empty one."""
    fields: dict[str, str] = {}
    key = ""
    for line in prose:
        found = _LINE.match(line[:MAX_PROSE])
        if found:
            key = _WORDS[found[1].lower().replace("_", " ")]
            if key in fields:
                key = ""
            else:
                fields[key] = found[2].strip().strip("*_\"'`,").strip()
        elif not line.strip() or line.lstrip()[:1] in "{}<`#":
            key = "" if fields.get(key) else key
        elif key and len(fields[key]) < MAX_PROSE:
            fields[key] = f"{fields[key]} {line.strip()[:MAX_PROSE]}".strip()
    kept = {name: text for name, text in fields.items() if text}
    return kept or _quoted_fields("\n".join(prose[:40])[: 4 * MAX_PROSE])


def _quoted_fields(text: str) -> dict[str, str]:
    """The fields of an object that is no JSON, since strings hold quotation marks as they are."""
    starts = list(_KEY.finditer(text)) if text.lstrip().startswith("{") else []
    fields: dict[str, str] = {}
    for at, found in enumerate(starts):
        end = starts[at + 1].start() if at + 1 < len(starts) else len(text)
        body = text[found.end() : end].rstrip().rstrip("},").rstrip()
        fields.setdefault(_WORDS[found[1].lower()], body.removesuffix('"').strip())
    return {name: body for name, body in fields.items() if body}


def header(fields: Mapping[str, str], prose: Sequence[str], changed: Sequence[str]) -> Header:
    """The fields, what is missing derived from the text, else from the files that change."""
    first = _first_sentence(prose)
    files = ", ".join(dict.fromkeys(path.rpartition("/")[2] for path in changed))
    title = one_line(fields.get("title", "")[:400]) or one_line(
        fields.get("idea", "").replace("-", " ")[:400] or first or f"Change {files[:300]}"
    )
    said = fields.get("idea", "")
    idea = short_name(said) or short_name(" ".join(title.split()[:4]))
    if not idea and (said or title):  # in letters that a name cannot have: one name for each
        digest = hashlib.sha256((said or title)[:400].encode(errors="replace")).hexdigest()
        idea = f"idea-{digest[:8]}"
    return Header(
        idea=idea or "change",
        title=title[:1].upper() + title[1:],
        why=one_line(fields.get("why", first)[: 2 * MAX_PROSE], MAX_PROSE),
        expected=one_line(fields.get("expected", "")[: 2 * MAX_PROSE], MAX_PROSE),
    )


def _first_sentence(prose: Sequence[str]) -> str:
    """The first line that says something, its first sentence."""
    for line in prose[:200]:
        text = line[:400].replace("`", "").strip("#*_-> \t")
        if len(text.split()) < 2 or text[0] in "{[<|" or _CHAT.match(text) or text.endswith(":"):
            continue
        return re.split(r"(?<=[.!?])\s", text, maxsplit=1)[0].rstrip(".")
    return ""
