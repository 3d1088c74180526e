"""Edits as a JSON object, for models that answer so whatever they are asked for."""

import json
import re
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from darwin_git.domain.answers.edits import Edit
from darwin_git.domain.answers.paths import known
from darwin_git.domain.answers.text import AnswerRefused
from darwin_git.domain.syntax import literal

LISTS = ("edits", "changes", "files", "patches", "modifications")
_PATH = ("path", "file", "filename", "file_path", "filepath", "file_name", "name")
_OLD = ("search", "old", "old_str", "old_string", "old_text", "find", "original", "before",
        "old_code")  # fmt: skip
_NEW = ("replace", "new", "new_str", "new_string", "new_text", "replacement", "updated", "after",
        "new_code", "replace_with")  # fmt: skip
_WHOLE = ("content", "contents", "text", "new_content", "full_content", "code")
_STRING_OR_COMMA = re.compile(r'"(?:[^"\\]|\\.)*+"?|,(?=\s*+[}\]])', re.DOTALL)
_ESCAPE = re.compile(r'\\(["\\/bfnrtu])?')
_LITERAL = 20_000
"""Longer ones are not worth reading as a Python literal."""


def loads(text: str) -> Any:
    """JSON as models write it, else None.

    With newlines and TeX's backslashes in strings, trailing commas, single quotes.
    """
    try:
        return json.loads(text, strict=False)
    except (ValueError, RecursionError):
        pass
    plain = _STRING_OR_COMMA.sub(lambda found: "" if found[0] == "," else found[0], text)
    plain = _ESCAPE.sub(lambda found: found[0] if found[1] else "\\\\", plain)
    try:
        return json.loads(plain, strict=False)
    except (ValueError, RecursionError):
        return _literal(text)


def _literal(text: str) -> Any:
    if len(text) > _LITERAL or not text.lstrip().startswith("{'"):
        return None
    try:
        return literal(text.strip())
    except (ValueError, SyntaxError, RecursionError, MemoryError, TypeError):
        return None


def entries(value: Any) -> list[Mapping[str, Any]]:
    """The edits in a JSON value as objects; empty where it holds none."""
    if isinstance(value, list):
        found = [one for entry in value if isinstance(entry, dict) for one in _of_a_file(entry)]
        return [entry for entry in found if _first(entry, _PATH) is not None]
    if not isinstance(value, dict):
        return []
    result: list[Mapping[str, Any]] = []
    for key in LISTS:
        inner = value.get(key)
        if isinstance(inner, dict) and all(isinstance(text, str) for text in inner.values()):
            result += [{"path": path, "content": text} for path, text in inner.items()]
        elif isinstance(inner, dict) and all(isinstance(one, list) for one in inner.values()):
            result += entries([{"path": path, "edits": one} for path, one in inner.items()])
        else:
            result += entries(inner) if isinstance(inner, list) else []
    if not result and _first(value, _PATH) is not None and _first(value, _OLD) is not None:
        return [value]
    return result


def _of_a_file(entry: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The edits that lie in an entry for their file; the entry itself where there are none."""
    path = _first(entry, _PATH)
    lists = [entry[key] for key in LISTS if isinstance(entry.get(key), list)]
    inner = [one for listed in lists for one in listed if isinstance(one, dict)]
    if path is None or not inner:
        return [entry]
    return [one if _first(one, _PATH) else {**one, "path": path} for one in inner]


def blocks(values: Iterable[Any]) -> list[str]:
    """Texts in JSON objects that hold SEARCH/REPLACE blocks."""
    texts = (
        text
        for value in values
        if isinstance(value, dict)
        for key, text in value.items()
        if key in (*LISTS, "answer", "patch", "diff", "blocks", "edit")
    )
    return [text for text in texts if isinstance(text, str) and "<<<<<" in text]


def edit_of(entry: Mapping[str, Any], paths: Collection[str]) -> Edit:
    """One entry as an edit; raises AnswerRefused where it is none."""
    path = _first(entry, _PATH) or ""
    path = known(path, paths) or path.removeprefix("./")
    action = _first(entry, ("action", "type", "kind", "op", "operation")) or ""
    old, new, whole = (_first(entry, keys) for keys in (_OLD, _NEW, _WHOLE))
    if entry.get("delete") is True or (action.lower() in ("delete", "remove") and old is None):
        return Edit(path, "delete")
    if old is not None and (new is not None or whole is not None):
        return Edit(path, "replace", old, (new if new is not None else whole) or "")
    if old is None and whole is not None:
        return Edit(path, "write", text=whole)
    raise AnswerRefused(
        'an entry of your JSON list is no edit: it needs "path" with "search" and "replace", '
        'or with "content". Better: send SEARCH/REPLACE blocks.'
    )


def _first(entry: Mapping[str, Any], keys: tuple[str, ...]) -> str | None:
    for key in keys:
        value = entry.get(key)
        if isinstance(value, str):
            return value
        if isinstance(value, list) and value and all(isinstance(line, str) for line in value):
            return "\n".join(value)
    return None
