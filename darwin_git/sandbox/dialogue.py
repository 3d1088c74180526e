"""Talking to a running process over its pipes."""

import contextlib
import os
import subprocess
import threading
from collections.abc import Callable
from typing import IO

from darwin_git.ports import DialogueEnded
from darwin_git.sandbox.family import Family
from darwin_git.sandbox.watch import Watch

POLL_SECONDS = 0.05


class ProcessDialogue:
    """A Dialogue over pipes; a thread keeps the watch, since either side may wait for ever."""

    def __init__(
        self,
        process: subprocess.Popen[bytes],
        family: Family,
        watch: Watch,
        cancelled: Callable[[], bool],
    ) -> None:
        self._process = process
        self._family = family
        self._watch = watch
        self._cancelled = cancelled
        self._cause: str | None = None
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._keep_watch, daemon=True)
        self._thread.start()

    def send(self, data: bytes) -> None:
        """Write all bytes; raises DialogueEnded."""
        assert self._process.stdin
        view = memoryview(data)
        try:
            while view:
                view = view[os.write(self._process.stdin.fileno(), view) :]
        except OSError:
            raise self._ended() from None

    def receive(self, count: int) -> bytes:
        """Exactly `count` bytes; raises DialogueEnded at end of stream or at the deadline."""
        assert self._process.stdout
        parts = []
        while count:
            part = os.read(self._process.stdout.fileno(), min(count, 1 << 20))
            if not part:
                raise self._ended()
            parts.append(part)
            count -= len(part)
        return b"".join(parts)

    def end(self) -> None:
        """Kill what is left."""
        self._over.set()
        self._family.kill()
        self._thread.join()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            close(stream)

    def _ended(self) -> DialogueEnded:
        if self._cancelled():
            return DialogueEnded("infra")
        self._thread.join(0.2)  # it may be about to say why
        return DialogueEnded(self._cause or "exit")

    def _keep_watch(self) -> None:
        while not self._over.wait(POLL_SECONDS):
            if cause := self._watch.check():
                self._cause = cause
                self._family.kill()
                return


def close(stream: IO[bytes] | None) -> None:
    """Close a pipe whose other end may be dead."""
    if stream:
        with contextlib.suppress(OSError):
            stream.close()
