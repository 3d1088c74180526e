"""Commit messages: a lab notebook that reads well in `git log -p`.

Model-written text is hostile: control characters go, a line that looks like a trailer of ours is
indented, so that the last paragraph is ours alone.
"""

import re
import textwrap
import unicodedata
from collections.abc import Mapping

WIDTH = 72
MAX_BODY = 4000
MAX_TRAILER = 4000
"""A union of many ideas names them all."""
_TRAILER = re.compile(r"^(\s*)([A-Za-z][A-Za-z0-9-]*\s*:)")


def variant_message(
    subject: str, hypothesis: str, expected: str, trailers: Mapping[str, str]
) -> str:
    """Subject, hypothesis, expected effect, trailers."""
    paragraphs = [_prose(hypothesis)]
    if expected:
        paragraphs.append(_prose(f"Expected: {expected}"))
    return _join(subject, paragraphs, trailers)


def merge_message(subject: str, sentences: list[str], trailers: Mapping[str, str]) -> str:
    """A merge: what was adopted or replaced, why, on what evidence."""
    return _join(subject, [_prose(sentence) for sentence in sentences], trailers)


def one_line(text: str, limit: int = WIDTH) -> str:
    """Text without control characters on one line of at most `limit` characters."""
    flat = " ".join(_printable(text).split())
    return flat if len(flat) <= limit else flat[: limit - 1].rstrip() + "…"


def _join(subject: str, paragraphs: list[str], trailers: Mapping[str, str]) -> str:
    block = "\n".join(
        f"{key}: {one_line(value, MAX_TRAILER)}" for key, value in trailers.items() if value
    )
    parts = [one_line(subject) or "(no subject)", *(p for p in paragraphs if p), block]
    return "\n\n".join(part for part in parts if part) + "\n"


def _prose(text: str) -> str:
    blocks = re.split(r"\n\s*\n", _printable(text)[:MAX_BODY])
    wrapped = (
        textwrap.fill(
            " ".join(block.split()), WIDTH, break_long_words=False, break_on_hyphens=False
        )
        for block in blocks
    )
    lines = "\n\n".join(block for block in wrapped if block).splitlines()
    return "\n".join(_defused(line) for line in lines)


def _defused(line: str) -> str:
    """A line that git could read as a trailer gets two spaces in front."""
    return f"  {line}" if _TRAILER.match(line) and not line.startswith("Expected:") else line


def _printable(text: str) -> str:
    return "".join(c for c in text if c in "\n\t" or not unicodedata.category(c).startswith("C"))
