"""A model's answer, line by line: blocks, fences, patches, and the prose around them.

One pass, whatever the text: a block is found whether or not it lies in a fence, and a fence is
only a file where no block lies in it. Which file a piece belongs to is decided elsewhere.
"""

import re
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from darwin_git.domain.answers.pieces import Block, Fence, Patch, Piece
from darwin_git.domain.answers.text import (
    CUT,
    DIVIDER,
    ENDS,
    FENCE,
    HEAD,
    TAIL,
    AnswerRefused,
    dedented,
)

CONTEXT = 8
WIDEST = 1000
DEEPEST = 3
_DIFF_WORDS = ("diff ", "index ", "new file", "deleted file", "old mode", "new mode", "similarity",
               "rename ")  # fmt: skip


@dataclass
class _Open:
    """The fence that the scanner is in."""

    mark: str
    indent: str
    info: str
    opening: str
    line: int
    context: tuple[str, ...]
    lines: list[str] = field(default_factory=list)
    depth: int = 0
    nested: bool = False
    blocks: bool = False


class Scanner:
    """Reads lines once; `pieces` and `prose` are what it found.

    Args:
        first: the number of the first line.
        partial: the lines end where a block begins: an open fence is no end of the answer.
    """

    def __init__(
        self, lines: Sequence[str], first: int = 1, depth: int = 0, partial: bool = False
    ) -> None:
        self.pieces: list[Piece] = []
        self.prose: list[str] = []
        self.context: deque[str] = deque(maxlen=CONTEXT)
        self._lines = lines
        self._first = first
        self._depth = depth
        self._partial = partial
        self._at = 0
        self._fence: _Open | None = None

    def run(self) -> "Scanner":
        """Read everything; raises AnswerRefused where a block has no end or no middle."""
        while self._at < len(self._lines):
            line = self._lines[self._at]
            start = line.lstrip()[:3]
            if not start or start[0] not in "<>`~*-d" or not self._special(line, start):
                self._keep(line)
                self._at += 1
        self._finish()
        return self

    def _special(self, line: str, start: str) -> bool:
        """Take a line that begins or ends something; False where it is an ordinary one."""
        if start == "<<<" and (head := HEAD.fullmatch(line)):
            self._block(head)
            return True
        if start == ">>>" and (tail := TAIL.fullmatch(line)) and ENDS.match(tail[3]):
            return self._stray()
        if start in ("```", "~~~") and (found := FENCE.fullmatch(line)):
            return self._fence_line(found, line)
        if self._fence is not None and not self._fence.blocks:
            return False
        if start == "***" and line.lstrip().startswith(
            ("*** Begin Patch", "*** Update File:", "*** Add File:", "*** Delete File:")
        ):
            self._patch()
            return True
        following = self._lines[self._at + 1] if self._at + 1 < len(self._lines) else ""
        if line.startswith("diff --git ") or (
            line.startswith("--- ") and following.startswith("+++ ")
        ):
            self._diff()
            return True
        return False

    def _stray(self) -> bool:
        """A REPLACE marker without a block: no harm where one was only said twice."""
        if self.context or not self.pieces or not isinstance(self.pieces[-1], Block):
            raise AnswerRefused(
                f"line {self._here()} of your answer is a >>>>>>> REPLACE marker without a "
                "<<<<<<< SEARCH marker before it. Write every block with all three markers."
            )
        self._at += 1
        return True

    def _here(self) -> int:
        return self._first + self._at

    def _keep(self, line: str) -> None:
        if self._fence is not None:
            self._fence.lines.append(line)
            if not self._fence.blocks:
                return
        self.prose.append(line)
        if line and not line.isspace():
            self.context.append(line[:WIDEST])

    def _fence_line(self, found: re.Match[str], line: str) -> bool:
        indent, mark, info = found[1], found[2], found[3].strip()
        fence = self._fence
        if mark[0] == "`" and "`" in info:
            return False
        if fence is None:
            self._enter(indent, mark, info, line)
            return True
        if mark[0] != fence.mark[0] or len(mark) < len(fence.mark):
            fence.nested = fence.nested or bool(info)
            return False
        if len(indent) > len(fence.indent):
            return False
        if info and fence.blocks:
            # Blocks take their own lines with them: this can only be the next fence.
            self._enter(indent, mark, info, line)
            return True
        if info:
            fence.depth += 1
            fence.nested = True
            return False
        if fence.depth:
            fence.depth -= 1
            return False
        self._leave(closed=True)
        self._at += 1
        return True

    def _enter(self, indent: str, mark: str, info: str, line: str) -> None:
        self._fence = _Open(mark, indent, info, line, self._here(), tuple(self.context))
        self.context.append(line[:WIDEST])
        self._at += 1

    def _leave(self, closed: bool) -> None:
        fence, self._fence = self._fence, None
        if fence is None or fence.blocks:
            return
        lines = dedented(fence.lines, fence.indent)
        self.pieces.append(
            Fence(fence.info[:WIDEST], lines, fence.context, fence.line, closed, fence.nested)
        )
        self.context.clear()

    def _finish(self) -> None:
        fence = self._fence
        if fence is None:
            return
        if self._partial:
            self.context.extend(line[:WIDEST] for line in fence.lines[-CONTEXT:] if line.strip())
        elif any(line.strip() for line in fence.lines):
            self._leave(closed=False)

    def _open_up(self) -> None:
        """A block lies in this fence: what was read of the fence so far is read as prose."""
        fence = self._fence
        if fence is None or fence.blocks:
            return
        fence.blocks = True
        if self._depth >= DEEPEST:
            raise AnswerRefused("your answer nests fences too deeply: write blocks without fences.")
        inner = Scanner(fence.lines, fence.line + 1, self._depth + 1, partial=True).run()
        self.pieces += inner.pieces
        self.prose += inner.prose
        if inner.pieces:
            self.context.clear()
        self.context.extend(inner.context)

    def _block(self, head: re.Match[str]) -> None:
        self._open_up()
        end = self._end_of_block(len(head[2]))
        body = self._lines[self._at + 1 : end]
        middle = self._middle(body, head)
        self.pieces.append(
            Block(
                dedented(body[:middle], head[1]),
                dedented(body[middle + 1 :], head[1]),
                head[3][:WIDEST],
                tuple(self.context),
                self._here(),
            )
        )
        self.context.clear()
        self._at = end + 1

    def _end_of_block(self, length: int) -> int:
        """The line of the REPLACE marker: the first one of this length, else of any."""
        loose, stopped = None, False
        for at in range(self._at + 1, len(self._lines)):
            line = self._lines[at]
            start = line.lstrip()[:3]
            if start == ">>>" and (tail := TAIL.fullmatch(line)):
                if len(tail[2]) == length:
                    return at
                loose = at if loose is None else loose
            elif start == "<<<" and (head := HEAD.fullmatch(line)) and len(head[2]) == length:
                stopped = True
                break
        if loose is not None:
            return loose
        if stopped:
            raise AnswerRefused(
                f"the block at line {self._here()} of your answer has no >>>>>>> REPLACE marker "
                "before the next block begins. Write every block with all three markers."
            )
        raise AnswerRefused(CUT.format(what="a SEARCH/REPLACE block"))

    def _middle(self, body: Sequence[str], head: re.Match[str]) -> int:
        """The divider: best one as long as the marker and as far in; must be the only such."""
        found: dict[int, list[int]] = {0: [], 1: [], 2: []}
        for at, line in enumerate(body):
            if "=====" in line and (divider := DIVIDER.fullmatch(line)):
                same = len(divider[2]) == len(head[2])
                found[0 if same and divider[1] == head[1] else 1 if same else 2].append(at)
        best = next((places for places in found.values() if places), [])
        if len(best) == 1:
            return best[0]
        where = f"the block at line {self._here()} of your answer"
        if not best:
            raise AnswerRefused(f"{where} has no ======= line between the old and the new lines.")
        raise AnswerRefused(
            f"{where} has {len(best)} lines of equals signs, so it is not clear which of them "
            "divides it. Write all three markers of this block with 9 characters instead of 7."
        )

    def _patch(self) -> None:
        """From here to *** End Patch; a lone *** Delete File line is a whole patch."""
        start, closed = self._at, False
        lone = self._lines[start].lstrip().startswith("*** Delete File:")
        while self._at < len(self._lines) and not closed:
            line = self._lines[self._at]
            if self._at > start and (FENCE.fullmatch(line) or HEAD.fullmatch(line)):
                closed = bool(FENCE.fullmatch(line)) or lone
                break
            closed = lone or line.strip() == "*** End Patch"
            self._at += 1
        self._add_patch(start, closed)

    def _diff(self) -> None:
        """From here over all lines that can belong to a unified diff."""
        start = self._at
        while self._at < len(self._lines):
            line = self._lines[self._at]
            if not line.strip():
                rest = self._lines[self._at + 1 : self._at + 2]
                if not rest or rest[0][:1] not in tuple(" +-@d"):
                    break
            elif line[0] not in " +-@\\" and not line.startswith(_DIFF_WORDS):
                break
            self._at += 1
        after = self._at
        while after < len(self._lines) and not self._lines[after].strip():
            after += 1
        self._at = min(self._at + 1, after)
        self._add_patch(start, after < len(self._lines))

    def _add_patch(self, start: int, closed: bool) -> None:
        lines = tuple(self._lines[start : self._at])
        self.pieces.append(Patch(lines, tuple(self.context), closed))
        self.context.clear()
