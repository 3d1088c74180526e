"""Repetitions: the text as tokens, (0, byte) for a literal, (length, distance) for a copy.

LZ77 (Ziv and Lempel 1977) with hash chains, and one step of looking ahead before a copy is taken.
"""

from collections.abc import Iterable, Iterator

WINDOW = 1 << 10
"""How far back a copy may reach."""
MIN_MATCH = 6
MAX_MATCH = 24
HASHED = 4  # from 2 to 6
"""Bytes that must agree before a place is looked at."""
CHAIN = 3
"""Places that are looked at."""
LAZY = False
"""Look whether the next byte starts a longer copy."""
LAZY_GAIN = 1
FAR = 512
"""Beyond it a copy of the least length costs more than its bytes."""

Token = tuple[int, int]


def tokens(data: bytes) -> Iterator[Token]:
    """The data as literals and copies."""
    places: dict[bytes, list[int]] = {}
    at = 0
    while at < len(data):
        length, distance = _longest(data, at, places)
        _remember(data, at, places)
        if LAZY and length and at + 1 < len(data):
            later, _ = _longest(data, at + 1, places)
            if later >= length + LAZY_GAIN:
                length = 0
        if not length:
            yield 0, data[at]
            at += 1
            continue
        yield length, distance
        for skipped in range(at + 1, at + length):
            _remember(data, skipped, places)
        at += length


def _longest(data: bytes, at: int, places: dict[bytes, list[int]]) -> Token:
    best = (0, 0)
    for start in reversed(places.get(data[at : at + HASHED], [])[-CHAIN:]):
        if at - start > WINDOW:
            break
        length, most = 0, min(MAX_MATCH, len(data) - at)
        while length < most and data[start + length] == data[at + length]:
            length += 1
        worth = length > MIN_MATCH or (length == MIN_MATCH and at - start <= FAR)
        if worth and length > best[0]:
            best = length, at - start
    return best


def _remember(data: bytes, at: int, places: dict[bytes, list[int]]) -> None:
    places.setdefault(data[at : at + HASHED], []).append(at)


def expand(coded: Iterable[Token], size: int) -> bytes:
    """The data of the tokens; at most `size` bytes of it."""
    out = bytearray()
    for length, value in coded:
        if not length:
            out.append(value)
        else:
            for _ in range(length):
                out.append(out[-value])
        if len(out) >= size:
            break
    return bytes(out[:size])
