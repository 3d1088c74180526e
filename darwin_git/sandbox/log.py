"""Text from behind the wall: bounded while it is read, clean before anyone sees it."""

import re
from collections import deque

from darwin_git.ports import Line

LINE_BYTES = 4096

# CSI, OSC and other escape sequences (ECMA-48), then what is left of the control characters.
_ESCAPES = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]|\x1b[\]PX^_].*?(?:\x07|\x1b\\|$)|\x1b[ -/]*[0-~]?",
    re.DOTALL,
)
_CONTROLS = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff]"
)


def clean(data: bytes) -> str:
    """Text without terminal escapes, control and direction characters; tabs and newlines stay."""
    text = data.decode("utf-8", "replace").replace("\r\n", "\n").replace("\r", "\n")
    return _CONTROLS.sub("", _ESCAPES.sub("", text))


class Lines:
    """Standard output as timed lines, the first and the last of it where there is too much.

    Args:
        limit: bytes kept, half of them from the start.
    """

    def __init__(self, limit: int) -> None:
        self._half = max(LINE_BYTES, limit // 2)
        self._head: list[Line] = []
        self._tail: deque[tuple[Line, int]] = deque()
        self._head_bytes = self._tail_bytes = 0
        self._partial = b""
        self._dropped = 0

    def feed(self, data: bytes, at: float) -> None:
        """Take what was read at second `at`; a line without end costs at most LINE_BYTES."""
        *whole, rest = data.split(b"\n")
        for line in whole:
            self._keep((self._partial + line)[:LINE_BYTES], at)
            self._partial = b""
        self._partial = (self._partial + rest)[:LINE_BYTES]

    def finish(self, at: float) -> tuple[Line, ...]:
        """All kept lines; a marker stands where lines were dropped."""
        if self._partial:
            self._keep(self._partial, at)
            self._partial = b""
        tail = [line for line, _ in self._tail]
        cut = tail[0].at if tail else at
        gap = (Line(cut, f"[... {self._dropped} lines dropped ...]"),) if self._dropped else ()
        return (*self._head, *gap, *tail)

    def _keep(self, raw: bytes, at: float) -> None:
        line = Line(at, _one_line(raw))
        # an empty line costs memory, too; and a byte that is no UTF-8 becomes three
        size = max(len(raw), len(line.text.encode())) + 64
        if self._head_bytes + size <= self._half and not self._tail:
            self._head.append(line)
            self._head_bytes += size
            return
        self._tail.append((line, size))
        self._tail_bytes += size
        while self._tail_bytes > self._half:
            self._tail_bytes -= self._tail.popleft()[1]
            self._dropped += 1


class Tail:
    """The last bytes of standard error."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._data = b""

    def feed(self, data: bytes) -> None:
        """Take what was read."""
        self._data = (self._data + data)[-self._limit :]

    def finish(self) -> str:
        """Clean text."""
        return clean(self._data)


def _one_line(raw: bytes) -> str:
    return clean(raw.rstrip(b"\r")).replace("\n", " ")
