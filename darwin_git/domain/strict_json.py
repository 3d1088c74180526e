"""JSON from the other side of the wall: what is ambiguous, infinite or too deep is refused."""

import json
import math
from typing import Any, NoReturn

MAX_DEPTH = 32
MAX_DIGITS = 19


class UnsafeJson(ValueError):
    """Text that is no JSON, or JSON that two readers would read differently."""


def parse(data: bytes) -> Any:
    """Parse UTF-8 JSON; duplicate keys, NaN, infinities (also 1e999) and deep nesting raise.

    Raises:
        UnsafeJson: with a reason that quotes nothing of the text.
    """
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        raise UnsafeJson("not UTF-8") from None
    _check_depth(text)
    try:
        return json.loads(
            text,
            object_pairs_hook=_unique,
            parse_constant=_refuse,
            parse_float=_finite,
            parse_int=_small,
        )
    except json.JSONDecodeError as error:
        raise UnsafeJson(f"no JSON at character {error.pos}") from None


def _check_depth(text: str) -> None:
    """Count brackets before the parser recurses: 200 000 of them end in RecursionError."""
    depth, quoted, escaped = 0, False, False
    for character in text:
        if quoted:
            quoted = escaped or character != '"'
            escaped = character == "\\" and not escaped
        elif character == '"':
            quoted, escaped = True, False
        elif character in "[{":
            depth += 1
            if depth > MAX_DEPTH:
                raise UnsafeJson(f"nested deeper than {MAX_DEPTH}")
        elif character in "]}":
            depth -= 1


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise UnsafeJson("an object has a key twice")
    return found


def _refuse(_: str) -> NoReturn:
    raise UnsafeJson("a number is not finite")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):  # 1e999 never reaches parse_constant
        raise UnsafeJson("a number is not finite")
    return value


def _small(text: str) -> int:
    if len(text) > MAX_DIGITS:
        raise UnsafeJson("an integer is too long")
    return int(text)
