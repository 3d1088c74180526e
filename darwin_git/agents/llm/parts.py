"""What of a prompt may be left out, and in which order, so that it keeps within its tokens."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from darwin_git.agents.llm.context import NAMED, File

FRAME = 64
"""Tokens of a heading and of the two marks around a block, generously."""


class TooLong(Exception):
    """Not even the essentials fit. ``needed``: tokens that would be enough for them."""

    def __init__(self, needed: int) -> None:
        super().__init__(f"{needed} tokens")
        self.needed = needed


@dataclass(frozen=True)
class Item:
    """One line of history or memory, whole and shortened; clean already.

    Attributes:
        age: sorts the oldest first.
        here: it belongs to the target's lineage.
    """

    text: str
    tokens: int
    short: str = ""
    short_tokens: int = 0
    age: str = ""
    here: bool = True

    def shortened(self) -> "Item":
        """The short form, where it is one."""
        if self.short_tokens >= self.tokens or not self.short:
            return self
        return replace(self, text=self.short, tokens=self.short_tokens)


@dataclass(frozen=True)
class Parts:
    """What may be left out of a prompt, in the order of the page."""

    past: tuple[Item, ...] = ()
    lessons: tuple[Item, ...] = ()
    peers: tuple[Item, ...] = ()
    shown: tuple[File, ...] = ()
    named: tuple[File, ...] = ()

    @property
    def tokens(self) -> int:
        """What all of it takes."""
        items = sum(item.tokens + 1 for item in (*self.past, *self.lessons, *self.peers))
        files = sum(file.tokens + 2 for file in self.shown)
        return items + files + _naming(self.named)


def fitted(parts: Parts, room: int) -> Parts:
    """The parts that fit into `room` tokens.

    Left out are, in this order: the oldest history; the length of lessons and of peers' ideas;
    files that may not be changed; files that the training does not use, the largest first;
    lessons and peers. Never the mutable files that the training uses.

    Raises:
        TooLong: those alone do not fit; `needed` counts from the same zero as `room`.
    """
    steps: tuple[Callable[[Parts, int], Parts], ...] = (
        _forget,
        lambda parts, _: _shorten(parts),
        lambda parts, over: _name(parts, over, [f for f in parts.shown if not f.mutable]),
        lambda parts, over: _name(parts, over, [f for f in parts.shown if not f.used]),
        lambda parts, _: replace(parts, lessons=(), peers=()),
    )
    for step in steps:
        over = parts.tokens - room
        if over <= 0:
            return parts
        parts = step(parts, over)
    if parts.tokens > room:
        raise TooLong(parts.tokens)
    return parts


def _forget(parts: Parts, over: int) -> Parts:
    """The oldest go first; of one age, those of other lineages."""
    order = sorted(range(len(parts.past)), key=lambda at: (parts.past[at].age, parts.past[at].here))
    gone: set[int] = set()
    for at in order:
        if over <= 0:
            break
        over -= parts.past[at].tokens + 1
        gone.add(at)
    return replace(parts, past=tuple(p for at, p in enumerate(parts.past) if at not in gone))


def _shorten(parts: Parts) -> Parts:
    return replace(
        parts,
        lessons=tuple(item.shortened() for item in parts.lessons),
        peers=tuple(item.shortened() for item in parts.peers),
    )


def _name(parts: Parts, over: int, candidates: Sequence[File]) -> Parts:
    """Name the largest candidates in place of showing them, until enough is saved."""
    named = list(parts.named)
    gone: set[str] = set()
    for file in sorted(candidates, key=lambda file: (-file.tokens, file.path)):
        if over <= 0:
            break
        gone.add(file.path)
        over -= file.tokens + 2 + _naming(named)
        named.append(file)
        over += _naming(named)
    return replace(
        parts,
        shown=tuple(file for file in parts.shown if file.path not in gone),
        named=tuple(sorted(named, key=lambda file: file.path)),
    )


def _naming(files: Sequence[File]) -> int:
    """Tokens of the list of names: a path's characters, or fewer."""
    return sum(4 + len(file.path) for file in files[:NAMED]) // 2 + 8 * min(len(files), NAMED)
