"""Which files a mutator sees: what the training uses first, the rest where there is room."""

import re
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from darwin_git.domain import quoting

_IMPORT = re.compile(r"^[ \t]*(?:from[ \t]+([\w.]+)[ \t]+import\b|import[ \t]+([\w., \t]+))", re.M)
LONGEST_TOKEN = 8
"""Characters of a token in code, on the generous side."""
NAMED = 60
"""How many files that are not shown are named."""


@dataclass(frozen=True)
class File:
    """One file as a prompt shows it.

    Attributes:
        used: the training runs it.
        mutable: the mutator may change it.
        block: the file between its marks; empty for what is never shown.
        tokens: of the block.
    """

    path: str
    used: bool
    mutable: bool
    size: int
    block: str
    tokens: int

    @property
    def name(self) -> str:
        """One line for a file that is not shown."""
        return f"{quoting.line(self.path, 200)} ({self.size:,} characters)"


def used(files: Mapping[str, str], train: Sequence[str]) -> tuple[str, ...]:
    """Files that the train command names, then those that they import, in the order of discovery.

    Read as text, since what a model wrote need not parse.
    """
    found = dict.fromkeys(path for path in train if path in files)
    waiting = deque(found)
    while waiting:
        path = waiting.popleft()
        for module in _modules(files[path]):
            stem = module.replace(".", "/")
            for candidate in (f"{stem}.py", f"{stem}/__init__.py"):
                if candidate in files and candidate not in found:
                    found[candidate] = None
                    waiting.append(candidate)
    return tuple(found)


@lru_cache(512)
def _modules(text: str) -> tuple[str, ...]:
    modules: list[str] = []
    for match in _IMPORT.finditer(text):
        names = (match[1] or match[2]).split(",")
        modules += [words[0] for name in names if (words := name.split())]
    return tuple(modules)


def laid_out(
    files: Mapping[str, str],
    train: Sequence[str],
    mutable: Callable[[str], bool],
    show: Callable[[str, str], tuple[str, int]],
    room: int,
) -> list[File]:
    """All files, the most needed first; without a block those that are not worth showing.

    What may not be changed and is not run either is only named: it would cost and not help.

    Args:
        show: block and tokens of a file by label and text.
        room: tokens; what cannot fit into them beside smaller files is not rendered at all.
    """
    order = used(files, train)
    running = frozenset(order)
    left = room * LONGEST_TOKEN
    blocks: dict[str, tuple[str, int]] = {}
    for path in (*order, *sorted(files.keys() - running, key=lambda p: (len(files[p]), p))):
        runs, may = path in running, mutable(path)
        left -= len(files[path]) if may and not runs else 0
        if runs or (may and left >= 0):
            label = f"file {path}" if may else f"file {path} (read only)"
            blocks[path] = show(label, files[path])
    rows = []
    for path in (*order, *sorted(files.keys() - running)):
        block, tokens = blocks.get(path, ("", 0))
        rows.append(File(path, path in running, mutable(path), len(files[path]), block, tokens))
    return rows
