"""The one JSON object of numbers that a judge prints; whatever is ambiguous is refused.

The genome may print, too: into the same pipe, where the judge lets it. A text of its own can spoil
the judge's, and is then refused, but it cannot take its place.
"""

import base64
import binascii
import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

from darwin_git.domain import strict_json
from darwin_git.domain.metric import Metric
from darwin_git.ports import Line

SAID = "darwin-git: said"
MOST_BYTES = 1 << 16
MOST_NUMBERS = 64
LARGEST = 1e50
"""Of the metric, and 1 / LARGEST its least with ratios: squares and their sums stay finite."""
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,63}")
CURE = "the last line that the judge prints must be one JSON object of numbers"


class Unreadable(Exception):
    """What was printed is not one JSON object of numbers; the message says why."""


def said(lines: Iterable[Line]) -> bytes:
    """What inside/judge.py handed on."""
    text = "".join(
        line.text.removeprefix(SAID).strip() for line in lines if line.text.startswith(f"{SAID} ")
    )
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error:
        raise Unreadable("its output is damaged") from None


def read(printed: bytes, metric: Metric) -> Mapping[str, float]:
    """All numbers by name; the metric's is there and has a loss.

    Raises:
        Unreadable: not one object, not only numbers, too many, or without the metric.
    """
    if len(printed) > MOST_BYTES:
        raise Unreadable(f"it printed more than {MOST_BYTES >> 10} KiB; logs go to standard error")
    whole = printed.strip()
    if not whole:
        raise Unreadable(f"it printed nothing: {CURE}")
    # The name of the metric stands once in all of it: two objects have it twice, and one that
    # spells it otherwise has it never.
    name = json.dumps(metric.name).encode()
    last = whole.splitlines()[-1].strip()
    found = _object(whole if whole.startswith(b"{") and not last.startswith(b"{") else last)
    if whole.count(name) > 1:
        raise Unreadable(f"it printed {metric.name} more than once: which one counts is not clear")
    numbers = {key: _number(key, value) for key, value in found.items()}
    if metric.name not in numbers or name not in (last if last.startswith(b"{") else whole):
        listed = ", ".join(list(numbers)[:8]) or "no number"
        raise Unreadable(f"it printed no {metric.name}; it printed {listed}")
    value = numbers[metric.name]
    try:
        metric.loss(value)
    except ValueError as error:
        cure = '; set metric.scale = "linear"' if metric.scale == "log" else ""
        raise Unreadable(f"{metric.name} is {value:g}: {error}{cure}") from None
    if abs(value) > LARGEST or (metric.scale == "log" and value < 1 / LARGEST):
        raise Unreadable(f"{metric.name} is {value:g}: let the judge print it in another unit")
    return numbers


def _object(text: bytes) -> dict[str, Any]:
    try:
        found = strict_json.parse(text)
    except strict_json.UnsafeJson as error:
        raise Unreadable(f"{CURE}: {error}") from None
    if not isinstance(found, dict):
        raise Unreadable(CURE)
    if len(found) > MOST_NUMBERS:
        raise Unreadable(f"it printed {len(found)} numbers, more than {MOST_NUMBERS}")
    return found


def _number(key: str, value: object) -> float:
    if not _NAME.fullmatch(key):
        raise Unreadable(f"{ascii(key)[:70]} is no name: letters, digits and _ . - are")
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise Unreadable(f"{key} is no number")
    return float(value)
