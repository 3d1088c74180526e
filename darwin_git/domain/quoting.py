"""Foreign text in a prompt: bounded data that cannot close its own quotation.

Logs, tracebacks, other models' words and file contents are written by programs and models that
nobody trusts. They are cleaned, bounded and put between two lines that carry a digest of the text:
a text would have to contain its own digest to end its quotation early.
"""

import hashlib
import re

DIGEST_LENGTH = 16
_ROOMS = 8
"""Text longer than this many limits is cut before it is cleaned, so that megabytes cost nothing."""

# Escape sequences (ECMA-48); a string sequence without an end takes its line only.
_ESCAPES = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]|\x1b[\]PX^_][^\x07\x1b\n]*(?:\x07|\x1b\\)?|\x1b[ -/]*[0-~]?"
)
# Controls, soft hyphens, direction overrides, lone surrogates, and what is invisible: tags and
# variation selectors carry whole sentences that a person does not see and a model reads.
_INVISIBLE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f"
    "\u2028-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb\ufffe\uffff"
    "\ud800-\udfff\U000e0000-\U000e0fff]"
)
# What chat templates of open models read as the start of another turn.
_TURNS = re.compile(
    r"<\|(?=[\w:/-]{1,40}\|>)|<(?=/?s>|(?:start|end)_of_turn>|</?SYS>>)|\[(?=/?INST\])"
)
_VALUES = re.compile(
    r"\b(?:(?:sk|pk|rk|gsk|hf|ghp|gho|ghs|glpat|xox[abps])[-_]|github_pat_|AKIA|ASIA|AIza)"
    r"[A-Za-z0-9_-]{8,}|\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_.-]+|\bBearer\s+[A-Za-z0-9._~+/=-]{8,}",
)
# Most names and titles: but for a key nothing in them can be amiss.
_PLAIN = re.compile(r"[A-Za-z0-9 .,;+()'%#*_-]*")
_SETTINGS = re.compile(
    r"""\b((?:(?:[A-Z0-9]{1,40}_){0,8}(?:API)?(?:KEY|TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIALS?)"""
    r"""|(?i:api[_-]?key|(?:access|auth|secret)[_-](?:key|token)|password|passwd|authorization))"""
    r"""["']?\s{0,4}[=:]\s{0,4}["']?(?:(?:Bearer|Basic)\s+)?)[^\s"',;]+"""
)
_ADDRESSES = re.compile(r"\b[A-Za-z][A-Za-z0-9+.-]{1,15}://[^\s\"'<>)\]}]+")
_PART = r"[^\s/\\:\"'`<>|,;()\[\]{}=*?]"
_PATHS = re.compile(
    # Between quotes a path may have spaces.
    r"(?P<quote>[\"'])/(?P<quoted>[^\"'\s][^\"'\n]*)(?P=quote)"
    r"|(?:(?<![\w.…~/\]})-])|(?<=-[ILo]))/++(?P<bare>" + _PART + r"++(?:/++" + _PART + r"++)+)/*"
    r"|(?<![\w/])/(?P<root>root|home|tmp|work|Users|mnt|srv)\b/?"
    r"|\b[A-Za-z]:\\{1,2}(?P<windows>[^\s\"'<>|:]+)"
)
# Glued to a word, where another folder would be a relative path's.
_GLUED = re.compile(r"(?<=[\w.~\]})-])/+(?:root|(?:home|Users)/+" + _PART + r"+)(?=/)")
_HOMES = frozenset({"home", "Users"})
_LAYOUT = _HOMES | {"root"}


def clean(text: str) -> str:
    """Text without terminal escapes, control, direction and invisible characters."""
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    if "\x1b" in text or "\x9b" in text:
        text = _ESCAPES.sub("", text)
    return _INVISIBLE.sub("", text)


def exact(text: str) -> str:
    """A file's text as a model must see it to edit it; only what is dangerous to show is changed.

    A line that is changed here cannot be an anchor of an edit, and none that matters is.
    """
    return _VALUES.sub("(left out)", _TURNS.sub(_parted, clean(text)))


def hidden(text: str) -> str:
    """Clean text without keys, addresses, and the host's paths but for their ends."""
    text = clean(text)
    if "=" in text or ":" in text:
        text = _ADDRESSES.sub("(address)", _SETTINGS.sub(r"\1(left out)", text))
    if "/" in text or "\\" in text:
        text = _GLUED.sub("…", _PATHS.sub(_ending, text))
    return exact(text)


def line(text: str, limit: int) -> str:
    """Hidden text on one line of at most `limit` characters."""
    text = text[: limit * _ROOMS]
    if _PLAIN.fullmatch(text) is None or _VALUES.search(text):
        text = hidden(text)
    flat = " ".join(text.split())
    return flat if len(flat) <= limit else flat[: limit - 1].rstrip() + "…"


def cut(text: str, limit: int, *, gone: int = 0) -> str:
    """At most `limit` characters (80 at least): a third from the start, the rest from the end.

    ``gone``: how many were left out in the middle before.
    """
    limit = max(limit, 80)
    if len(text) <= limit:
        return text
    room = limit - len(_gap(len(text) + gone))
    head = room // 3
    return text[:head] + _gap(len(text) + gone - room) + text[len(text) - (room - head) :]


def quote(text: str, limit: int, *, label: str) -> str:
    """Foreign text, cleaned, cut in the middle at `limit` and enclosed."""
    room = max(limit, 80) * _ROOMS
    gone = max(0, len(text) - 2 * room)
    rough = text[:room] + text[len(text) - room :] if gone else text
    return enclose(cut(hidden(rough).strip("\n"), limit, gone=gone), label=label)


def enclose(text: str, *, label: str) -> str:
    """Text between two lines that name it and carry its digest; the text is taken as it is."""
    name = line(label, 120) or "text"
    digest = hashlib.sha256(f"{name}\0{text}".encode(errors="replace")).hexdigest()
    while digest[:DIGEST_LENGTH] in text:
        digest = hashlib.sha256(digest.encode()).hexdigest()
    mark = f"{name} {digest[:DIGEST_LENGTH]}"
    end = "" if text.endswith("\n") or not text else "\n"
    return f"[begin {mark}]\n{text}{end}[end {mark}]"


def _gap(count: int) -> str:
    return f"\n… {count:,} characters left out …\n".replace(",", " ")


def _parted(match: re.Match[str]) -> str:
    return f"{match.group()} "


def _ending(match: re.Match[str]) -> str:
    """The last two parts of a path, without what may name a person or the machine's layout."""
    found = match.groupdict()
    if found["root"]:
        return "…"
    mark = found["quote"] or ""
    parts = re.split(r"[/\\]+", found["quoted"] or found["bare"] or found["windows"])
    parts = [part for part in parts if part]
    if found["quoted"] and len(parts) < 2 and parts[:1] != ["root"]:
        return match.group()
    # After a home's folder comes the name of a person.
    private = [at + 1 + (part in _HOMES) for at, part in enumerate(parts) if part in _LAYOUT]
    kept = parts[max([1, *private]) :]
    return mark + "/".join(["…", *kept[-2:]]) + mark
