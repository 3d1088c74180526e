"""What is heard of a command in a container, and what its end means."""

import io
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from darwin_git.ports import Line
from darwin_git.sandbox import boot
from darwin_git.sandbox.attach import STDERR, STDOUT
from darwin_git.sandbox.log import Lines, Tail, clean

Cause = Literal["exit", "deadline", "memory", "output", "processes", "infra"]

FLOOD_BYTES = 64 << 20
LINE_BYTES = 64
"""What a line costs the engine's log beside its text: a flood of newlines is one, too."""
ERROR_BYTES = 1 << 14
BOOT_BYTES = 1 << 16
SIGKILLED = 137

_READY = f"{boot.READY}\n".encode()
_STAMP = re.compile(rb"(\d{4}-\d\d-\d\dT[0-9:.]+(?:Z|[+-]\d\d:\d\d)) ")


@dataclass(frozen=True)
class Ended:
    """How a command ended; fields as in ports.Finished."""

    cause: Cause
    exit_code: int | None
    seconds: float
    lines: tuple[Line, ...]
    errors: str


class Heard:
    """Both streams of a command: what comes before READY is ours, what comes after is its own.

    Args:
        log_bytes: of standard output that are kept.
    """

    def __init__(self, log_bytes: int) -> None:
        self.began: float | None = None
        self.bytes = 0
        self._ours = b""
        self._lines, self._errors = Lines(log_bytes), Tail(ERROR_BYTES)

    def feed(self, stream: int, data: bytes, now: float) -> None:
        """Take what was read at a clock's `now`."""
        self.bytes += len(data) + LINE_BYTES * data.count(b"\n")
        if self.bytes > FLOOD_BYTES:
            return
        if stream == STDOUT:  # ours is silent there
            self._lines.feed(data, now - self._begin(now))
        elif self._ours.endswith(_READY):
            self._errors.feed(data)
        else:
            self._ours += data
            before, ready, after = self._ours.partition(_READY)
            self._ours = (before + ready)[-BOOT_BYTES:]
            if ready:
                self._begin(now)
                self._errors.feed(after)

    def _begin(self, now: float) -> float:
        if self.began is None:
            self.began = now
        return self.began

    @property
    def whole(self) -> bool:
        """It was heard from READY on; a log that was rotated is not."""
        return self._ours.endswith(_READY)

    def lines(self, at: float) -> tuple[Line, ...]:
        """Standard output."""
        return self._lines.finish(at)

    def errors(self) -> str:
        """Standard error; where the command never started, what our own part said."""
        if self.began is None:
            return clean(self._ours).strip().removeprefix("darwin-git boot: ")
        return self._errors.finish()


def verdict(
    cause: Cause | None, state: Mapping[str, Any], seconds: float, heard: Heard, *, cancelled: bool
) -> Ended:
    """What the engine's state of a dead container means.

    Args:
        cause: why we killed it, if we did.
    """
    code = int(state["ExitCode"])
    if cancelled and code != 0:
        return infra("cancelled")
    if heard.began is None:
        said = heard.errors() or str(state.get("Error") or f"exit code {code}")
        memory = ", for lack of memory" if state.get("OOMKilled") else ""
        return infra(f"the command did not start{memory}: {said}")
    ended: Cause = "exit"
    if code == SIGKILLED and cause:  # what ended by itself before the kill was paid for
        ended = cause
    elif code != 0 and state.get("OOMKilled"):
        ended = "memory"  # with 0 it was a child's end, and the command lived with it
    signal = code - 128 if 128 < code <= 128 + 64 else 0
    return Ended(ended, -signal or code, seconds, heard.lines(seconds), heard.errors())


def infra(text: str) -> Ended:
    """Nobody's fault."""
    return Ended("infra", None, 0.0, (), text)


def read_log(api: Any, container: str, heard: Heard) -> None:
    """What the engine wrote down of both streams, bounded; its clock's readings."""
    # standard error first: it says when the command began
    for stream, which in ((STDERR, {"stdout": False}), (STDOUT, {"stderr": False})):
        raw: bytes = api.logs(container, timestamps=True, **which)
        for line in io.BytesIO(raw):  # not at "\r": what follows one is the command's word
            if found := _STAMP.match(line):
                heard.feed(stream, line[found.end() :], timestamp(found[1].decode()))


def timestamp(text: str) -> float:
    """The engine's time in seconds since 1970."""
    return datetime.fromisoformat(text).timestamp()
