"""Which file a piece of an answer means: "### `./model.py`", "python:model.py", "File: model.py".

Known files are recognised anywhere in a line; an unknown path only where a line, a label or an
info string states nothing else, so that a word of prose never becomes a file.
"""

import re
from collections.abc import Collection, Sequence

from darwin_git.domain.answers.text import FENCE

NEAR = 4
"""A path further than so many lines before its block is not about it."""
_LEAD = re.compile(
    r"(?:#+|//|>|<!--|[-*+](?= )|\d{1,3}[.)](?= )|\*\*\* |---|\+\+\+|diff --git )\s*"
)
_WORD = re.compile(
    r"(?:(?:new|updated?|modif(?:y|ied)|edit(?:ed)?|changed?|created?|add|in|full|complete)\s+)?"
    r"(?:file\s?(?:name|path)?|path|target)\s*[:=]\**\s*",
    re.IGNORECASE,
)
_NOTE = re.compile(r"\s*\([^()]{0,80}\)\s*$")
_LINK = re.compile(r"\[([^\[\]\s]+)\]\([^()\s]*\)")
_SUFFIX = re.compile(r"\.[A-Za-z0-9_]{1,12}$")
_FILE = re.compile(
    r"\.(?:py|md|toml|json|ya?ml|txt|cfg|ini|sh|c|cc|cpp|cu|cuh|h|hpp|rs|js|ts|go|rst)$"
)
_TOKEN = re.compile(r"[^\s`'\"()<>\[\],;*{}=|]+")
_ASCII = re.compile(r"[A-Za-z0-9_./-]+")
_PLACE = re.compile(r":\d{1,7}(?:[-:]\d{1,7})?$")
_CLOSING = re.compile(r"</[\w:-]{1,40}>")
_TAGGED = re.compile(r"<(\w{1,20})>\s*([^<>\s]+)\s*</\1>")
_WIDE = str.maketrans(
    {"\uff1a": ": ", "\uff0c": ", ", "\u3002": ". ", "\uff08": " (", "\uff09": ") "}
)
"""Punctuation of Chinese and Japanese."""
_TICKED = re.compile(r"`([^`\s]+)`")
_EXCERPT = re.compile(r"\d+:\d+:")
_LABELS = frozenset({"search", "original", "head", "old", "before", "current", "find", "ours"})
_LANGUAGES = frozenset({"vb.net", "asp.net"})


def known(text: str, paths: Collection[str]) -> str:
    """The known path that a word stands for, "" if none: `./x`, and `a/x` or `b/x` of a diff."""
    bare = _PLACE.sub("", text)
    while bare.startswith("./"):
        bare = bare[2:]
    if bare in paths:
        return bare
    if bare.startswith(("a/", "b/")) and bare[2:] in paths:
        return bare[2:]
    return ""


def stated(line: str, paths: Collection[str]) -> str:
    """The path that a line consists of, however it is decorated; "" if it says something else."""
    rest = line.translate(_WIDE).strip()
    if _CLOSING.fullmatch(rest):
        return ""
    tagged = _TAGGED.fullmatch(rest)
    rest = str(tagged[2]) if tagged else rest
    for _ in range(4):
        if known(rest, paths):
            return known(rest, paths)
        shorter = _LEAD.sub("", rest, count=1) if _LEAD.match(rest) else rest
        shorter = shorter.strip("`*\"' ").removesuffix("-->").rstrip(" :,;")
        word = _WORD.match(shorter)
        shorter = shorter[word.end() :] if word else shorter
        if shorter == rest:
            break
        rest = shorter
    rest = _NOTE.sub("", rest)
    link = _LINK.fullmatch(rest)
    rest = (str(link[1]) if link else rest).strip("`*\"' :,;<>")
    pair = rest.split()
    if (
        len(pair) == 2
        and pair[0][:2] == "a/"
        and pair[1][:2] == "b/"
        and pair[0][2:] == pair[1][2:]
    ):
        rest = pair[0][2:]
    if known(rest, paths) or known(rest.strip("_"), paths):
        return known(rest, paths) or known(rest.strip("_"), paths)
    while rest.startswith("./"):
        rest = rest[2:]
    return rest if _like_a_path(rest) else ""


def _like_a_path(text: str) -> bool:
    if not text or any(map(str.isspace, text)) or "://" in text:
        return False
    letters = any(map(str.isalnum, text))
    return letters and ("/" in text or "\\" in text or _SUFFIX.search(text) is not None)


def mentioned(line: str, paths: Collection[str]) -> set[str]:
    """Files that a line of prose speaks of: known ones, and new ones in backticks."""
    plain = line.translate(_WIDE)
    tokens = [*_TOKEN.findall(plain), *_ASCII.findall(plain)]
    words = (known(word.rstrip(".:!?"), paths) for word in tokens)
    found = {word for word in words if word}
    for word in _TICKED.findall(line):
        if _FILE.search(word) and not known(word, paths):
            found.add(word.removeprefix("./"))
    return found


def named(info: str, paths: Collection[str]) -> str:
    """The path in an info string ("python title=model.py") or behind a marker; "" if none."""
    if _EXCERPT.match(info):  # 12:20:model.py cites lines, it is no file
        return ""
    parts: list[str] = _TOKEN.findall(info)
    words = [word for part in parts for word in [part, *part.split(":")]]
    for word in words:
        if known(word, paths):
            return known(word, paths)
    for word in words:
        if ":" not in word and word.lower() not in _LANGUAGES and _like_a_path(word):
            return word
    return ""


def labelled(label: str, paths: Collection[str]) -> str:
    """The path behind a SEARCH marker; "" if there is none."""
    words = label.split()
    rest = words[1:] if words and words[0].strip(":>").lower() in _LABELS else words
    return named(" ".join(rest), paths)


def before(context: Sequence[str], paths: Collection[str], near: int = NEAR) -> str:
    """The path that the lines before a piece state, the nearest first; "" if none does."""
    seen = 0
    for line in reversed(context):
        fence = FENCE.fullmatch(line)
        path = named(fence[3], paths) if fence else stated(line, paths)
        # Further away an odd word between slashes is more likely prose than a new file.
        if path and (seen == 0 or path in paths or _FILE.search(path)):
            return path
        seen += not fence
        if seen >= near:
            break
    return ""


def spoken_of(context: Sequence[str], paths: Collection[str], near: int = NEAR) -> set[str]:
    """The files that the nearest line of prose with any speaks of."""
    for line in list(reversed(context))[:near]:
        if not FENCE.fullmatch(line) and (found := mentioned(line, paths)):
            return found
    return set()


def commented(lines: Sequence[str], paths: Collection[str]) -> str:
    """The path that the first line names in a comment ("# model.py"); "" if it does not."""
    first = lines[0].strip() if lines else ""
    if not first.startswith(("#", "//", "<!--")) or len(first) > 300:
        return ""
    path = stated(first, paths)
    return path if path in paths or _FILE.search(path) else ""
