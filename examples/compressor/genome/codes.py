"""Tokens as bits: adaptive models and a binary range coder (Martin 1979).

Each symbol is a walk down a binary tree; every node has the chance of a zero and learns from what
it sees. Numbers above the tree's size go as their length in bits, then the bits.
"""

from collections.abc import Iterable, Iterator

RATE = 3  # from 1 to 8
"""A chance moves by 1 / 2^RATE towards what was seen: small learns fast, large remembers."""
CONTEXT = 0  # one of: 0, 1, 2
"""What a literal's chances depend on: nothing, the byte before, the class of the byte before."""
CLASS_BITS = 3  # from 1 to 6
LENGTH_CONTEXT = False
"""A copy's distance has chances of its own for each short length."""
SHORT = 8
FLAG_MEMORY = 1  # from 1 to 8
"""How many tokens back are remembered when the kind of the next one is guessed."""
RAW_BITS = 10  # from 0 to 16
"""Of a distance: the lowest ones are written as they are."""

Token = tuple[int, int]
_ONE = 1 << 16
_END = 300
"""Length that ends the stream; no copy has it."""


class Chances:
    """The chance of a zero at each node that was ever visited."""

    def __init__(self) -> None:
        self.at: dict[tuple[object, ...], int] = {}

    def get(self, node: tuple[object, ...]) -> int:
        return self.at.get(node, _ONE // 2)

    def learn(self, node: tuple[object, ...], bit: int) -> None:
        chance = self.get(node)
        chance += (_ONE - chance >> RATE) if not bit else -(chance >> RATE)
        self.at[node] = min(_ONE - 32, max(32, chance))


class Writer:
    """Codes bits into bytes; the carry goes back into what was written (Subbotin's way)."""

    def __init__(self) -> None:
        self.low, self.span, self.out, self.chances = 0, 0xFFFFFFFF, bytearray(), Chances()

    def bit(self, node: tuple[object, ...], bit: int) -> int:
        part = (self.span >> 16) * self.chances.get(node)
        self._narrow(part, bit)
        self.chances.learn(node, bit)
        return bit

    def raw(self, bit: int) -> int:
        self._narrow(self.span >> 1, bit)
        return bit

    def _narrow(self, part: int, bit: int) -> None:
        if bit:
            self.low, self.span = self.low + part, self.span - part
        else:
            self.span = part
        if self.low > 0xFFFFFFFF:
            self.low &= 0xFFFFFFFF
            place = len(self.out) - 1
            while self.out[place] == 0xFF:
                self.out[place] = 0
                place -= 1
            self.out[place] += 1
        while self.span < 1 << 24:
            self.out.append(self.low >> 24)
            self.low, self.span = self.low << 8 & 0xFFFFFFFF, self.span << 8

    def finish(self) -> bytes:
        return bytes(self.out + self.low.to_bytes(4, "big")).rstrip(b"\0")


class Reader:
    """Decodes what a Writer coded; missing bytes are zeros."""

    def __init__(self, data: bytes) -> None:
        self.data, self.at, self.span, self.chances = data, 4, 0xFFFFFFFF, Chances()
        self.code = int.from_bytes(data[:4].ljust(4, b"\0"), "big")

    def bit(self, node: tuple[object, ...], _: int) -> int:
        bit = self._narrow((self.span >> 16) * self.chances.get(node))
        self.chances.learn(node, bit)
        return bit

    def raw(self, _: int) -> int:
        return self._narrow(self.span >> 1)

    def _narrow(self, part: int) -> int:
        bit = int(self.code >= part)
        if bit:
            self.code, self.span = self.code - part, self.span - part
        else:
            self.span = part
        while self.span < 1 << 24:
            byte = self.data[self.at] if self.at < len(self.data) else 0
            self.code, self.span, self.at = self.code << 8 | byte, self.span << 8, self.at + 1
        return bit


Coder = Writer | Reader


def _tree(coder: Coder, model: tuple[object, ...], value: int, bits: int) -> int:
    """A number of so many bits, each with a chance that depends on those before it."""
    node = 1
    for place in range(bits - 1, -1, -1):
        node = node << 1 | coder.bit((*model, node), value >> place & 1)
    return node - (1 << bits)


def _number(coder: Coder, model: tuple[object, ...], value: int, raw: int) -> int:
    """A number above 0: how many bits, then the bits, the lowest `raw` of them unmodelled."""
    size = _tree(coder, (*model, "size"), value.bit_length(), 5)
    found = 1
    for place in range(size - 2, -1, -1):
        bit = value >> place & 1
        coded = coder.raw(bit) if place < raw else coder.bit((*model, size, found), bit)
        found = found << 1 | coded
    return found


def _token(coder: Coder, token: Token, kinds: int, before: int) -> Token:
    """Code one token; a reader is given any and returns the real one."""
    length, value = token
    kind = coder.bit(("kind", kinds & (1 << FLAG_MEMORY) - 1), int(length > 0))
    if not kind:
        context = (0, before, before >> 8 - CLASS_BITS)[CONTEXT]
        return 0, _tree(coder, ("byte", context), value, 8)
    length = _number(coder, ("length",), length, 0)
    if length == _END:
        return length, 0
    context = min(length, SHORT) if LENGTH_CONTEXT else 0
    return length, _number(coder, ("distance", context), value, RAW_BITS)


def _after(token: Token, kinds: int, before: int) -> tuple[int, int]:
    length, value = token
    return (kinds << 1 | (length > 0)) & 0xFF, before if length else value


def write_codes(tokens: Iterable[Token]) -> bytes:
    """The tokens as bytes."""
    coder, kinds, before = Writer(), 0, 0
    for token in tokens:
        _token(coder, token, kinds, before)
        kinds, before = _after(token, kinds, before)
    _token(coder, (_END, 1), kinds, before)
    return coder.finish()


def read_codes(data: bytes) -> Iterator[Token]:
    """The tokens that `write_codes` was given."""
    coder, kinds, before = Reader(data), 0, 0
    while True:
        token = _token(coder, (0, 0), kinds, before)
        if token[0] == _END:
            return
        yield token
        kinds, before = _after(token, kinds, before)
