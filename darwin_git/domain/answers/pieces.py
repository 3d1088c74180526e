"""The pieces of an answer that can hold edits, as they stand there."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Block:
    """A SEARCH/REPLACE block.

    Attributes:
        label: what stands behind the first marker.
        context: the last lines before it, back to the piece before; fences are among them.
        line: where it begins, from 1.
    """

    search: tuple[str, ...]
    replace: tuple[str, ...]
    label: str
    context: tuple[str, ...]
    line: int


@dataclass(frozen=True)
class Fence:
    """A fence without blocks in it; `nested` where it holds other fences."""

    info: str
    lines: tuple[str, ...]
    context: tuple[str, ...]
    line: int
    closed: bool = True
    nested: bool = False


@dataclass(frozen=True)
class Patch:
    """A patch outside of fences: unified, or between *** Begin Patch and *** End Patch.

    It is closed where something comes after it; an empty last line is part of it.
    """

    lines: tuple[str, ...]
    context: tuple[str, ...]
    closed: bool = True


Piece = Block | Fence | Patch
