"""What a person's program left behind, as a Reply, and what a Reply says: all of it is hostile.

The reply's text is one JSON object, so that a recorded run needs no container::

    files      path -> new text, null where it was deleted; only what differs
    refused    path -> what is wrong with it
    message    what the program said it did
    failed     why there is nothing of this, in our words; log: the end of what it printed
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from darwin_git.domain import strict_json
from darwin_git.domain.exchange import Reply, Usage
from darwin_git.domain.message import one_line
from darwin_git.domain.quoting import clean, hidden, line
from darwin_git.domain.strict_json import UnsafeJson
from darwin_git.ports import Finished, UnsafeOutput

CHANGES, MESSAGE = "changes.json", "message.txt"
MOST_TEXT = 768 << 10
"""Bytes of changed text."""
MOST_JSON = 8 << 20
MOST_REPLY = 1 << 20
MOST_MESSAGE = 16 << 10
LOG = 2000
_IDEA = re.compile(r"^Idea:(.*)$", re.MULTILINE | re.IGNORECASE)
_EXPECTED = re.compile(r"^Expected:(.*)$", re.MULTILINE | re.IGNORECASE)
_NO_NAME = re.compile(r"[^a-z0-9]+")


class Refused(Exception):
    """No mutation, and why."""


@dataclass(frozen=True)
class Said:
    """A program's message: empty where it said nothing."""

    subject: str = ""
    idea: str = ""
    why: str = ""
    expected: str = ""


# --- from a dead command to a reply --------------------------------------------------------------


def reply_of(finished: Finished, before: Mapping[str, str]) -> Reply:
    """The reply that is kept; `before` are the checkout's files."""
    usage = Usage(seconds=round(finished.seconds, 3))
    if finished.cause == "infra":
        return Reply("infra", usage=usage, reason=line(finished.errors, 300) or "it never ran")
    log = hidden(finished.errors[-4 * LOG :])[-LOG:].strip()
    try:
        if failed := _failed(finished, log):
            raise Refused(failed)
        text = _text(_changes(finished, before), _message(finished))
    except Refused as error:
        text = _json({"failed": str(error), "log": log})
    return Reply("ok", text, usage)


def _failed(finished: Finished, log: str) -> str:
    killed = {
        "deadline": f"it was stopped after {finished.seconds:.0f} s",
        "memory": "it needed more memory than sandbox.memory_gb",
        "output": "it wrote too much",
        "processes": "it started too many processes",
    }
    if finished.cause in killed:
        return killed[finished.cause]
    if not finished.exit_code:
        return ""
    last = line(log.rpartition("\n")[2], 200)
    return f"it ended with exit code {finished.exit_code}" + (f": {last}" if last else "")


def _changes(finished: Finished, before: Mapping[str, str]) -> dict[str, Any]:
    try:
        found = strict_json.parse(finished.outputs.read(CHANGES, MOST_JSON))
    except (UnsafeOutput, UnsafeJson) as error:
        raise Refused(f"its changes cannot be read: {line(str(error), 200)}") from None
    files, refused = _shaped(found)
    return {
        "files": {
            path: text
            for path, text in files.items()
            if (path in before if text is None else before.get(path) != text)
        },
        "refused": refused,
    }


def _message(finished: Finished) -> str:
    try:
        data = finished.outputs.read(MESSAGE, MOST_MESSAGE)
    except UnsafeOutput:
        return ""
    return clean(data.decode("utf-8", "replace"))


def _text(changes: Mapping[str, Any], message: str) -> str:
    text = _json({**changes, "message": message})
    if len(text.encode()) > MOST_REPLY:
        raise Refused(f"its changes are larger than {MOST_REPLY >> 20} MiB")
    return text


def _json(data: Mapping[str, Any]) -> str:
    try:
        return json.dumps(data, ensure_ascii=False, sort_keys=True).encode().decode()
    except UnicodeEncodeError:
        raise Refused("its changes are no UTF-8 text") from None


# --- from a reply to changes ---------------------------------------------------------------------


def changes_of(reply: Reply) -> tuple[dict[str, str | None], Said]:
    """New texts by path (None deletes), and what the program said.

    Raises:
        Refused: there are none, or something among them cannot be taken.
    """
    try:
        found = strict_json.parse(reply.text.encode())
    except (UnsafeJson, UnicodeEncodeError):
        raise Refused("its changes cannot be read") from None
    if isinstance(found, dict) and isinstance(found.get("failed"), str):
        raise Refused(line(found["failed"], 300))
    files, refused = _shaped(found)
    for path, why in sorted(refused.items()):
        raise Refused(f"{line(path, 200)} {line(why, 100)}")
    if not files:
        raise Refused("it changed nothing")
    message = found.get("message", "")
    return files, said(message) if isinstance(message, str) else Said()


def said(message: str) -> Said:
    """A message's parts: title, then why; lines for the idea's name and the effect."""
    text = clean(message[:MOST_MESSAGE])
    idea, expected = _IDEA.search(text), _EXPECTED.search(text)
    rest = _EXPECTED.sub("", _IDEA.sub("", text)).strip()
    subject, _, why = rest.partition("\n")
    return Said(
        one_line(subject),
        name(idea[1]) if idea else "",
        why.strip()[:4000],
        one_line(expected[1], 300) if expected else "",
    )


def name(text: str) -> str:
    """A short name as lineages carry it; empty where nothing of the text can be one."""
    return _NO_NAME.sub("-", text.lower()).strip("-")[:40].strip("-")


def _shaped(found: Any) -> tuple[dict[str, str | None], dict[str, str]]:
    """Files and refused paths of a JSON object; raises Refused for any other shape."""
    files = found.get("files") if isinstance(found, dict) else None
    refused = found.get("refused", {}) if isinstance(found, dict) else None
    if not isinstance(files, dict) or not isinstance(refused, dict):
        raise Refused("its changes are not the object that they must be")
    if not all(text is None or isinstance(text, str) for text in files.values()):
        raise Refused("its changes hold what is no text")
    if not all(isinstance(why, str) for why in refused.values()):
        raise Refused("its changes are not the object that they must be")
    return files, refused
