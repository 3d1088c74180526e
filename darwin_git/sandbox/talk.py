"""Talking to a command in a container."""

import threading
import time

from darwin_git.ports import DialogueEnded, Limits
from darwin_git.sandbox import boot
from darwin_git.sandbox.attach import STDOUT, Attached
from darwin_git.sandbox.engine import faults
from darwin_git.sandbox.job import Job

_READY = f"{boot.READY}\n".encode()


class ContainerDialogue:
    """A Dialogue over attach; a thread keeps the deadline, since either side may wait for ever.

    Standard error is dropped as it comes: it might carry held-out text.

    Args:
        job: started, its inputs sent.
    """

    def __init__(self, job: Job, limits: Limits) -> None:
        assert job.attached
        self._job = job
        self._attached: Attached = job.attached
        self._pending: list[memoryview] = []
        self._ours = b""
        self._began = False
        self._deadline = time.monotonic() + limits.wall_seconds
        self._expired = self._unheard = False
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._keep_watch, daemon=True)
        self._thread.start()
        try:
            while not self._began:
                self._listen()
        except BaseException:
            self.end()
            raise

    def send(self, data: bytes) -> None:
        """Write all bytes; raises DialogueEnded."""
        try:
            self._attached.send([data])
        except OSError:
            raise self._ended() from None

    def receive(self, count: int) -> bytes:
        """Exactly `count` bytes; raises DialogueEnded at end of stream or at the deadline."""
        parts = []
        while count:
            while not self._pending:
                self._listen()
            piece = self._pending.pop(0)
            if len(piece) > count:
                self._pending.insert(0, piece[count:])
                piece = piece[:count]
            parts.append(piece)
            count -= len(piece)
        return b"".join(parts)

    def end(self) -> None:
        """Kill what is left."""
        self._over.set()
        self._thread.join()
        self._attached.close()

    def _listen(self) -> None:
        try:
            came = self._attached.read()
        except (OSError, ValueError):
            came = None
        if came is None:
            raise self._ended()
        stream, piece = came
        if stream == STDOUT:
            self._began = True
            self._pending.append(piece)
        elif not self._began:
            self._ours = (self._ours + bytes(piece))[-(1 << 16) :]
            self._began = _READY in self._ours

    def _ended(self) -> DialogueEnded:
        if self._job.cancelled or self._unheard:
            return DialogueEnded("infra")
        if self._expired:
            return DialogueEnded("deadline")
        try:
            state = self._job.state(patience=5.0)
        except faults():
            return DialogueEnded("infra")
        if not self._began:
            return DialogueEnded("infra")
        if state["OOMKilled"] and state["ExitCode"] != 0:
            return DialogueEnded("memory")
        return DialogueEnded("exit")

    def _keep_watch(self) -> None:
        if self._over.wait(max(0.0, self._deadline - time.monotonic())):
            return
        self._expired = True
        try:
            self._job.kill()
        except faults():
            self._unheard = True  # the engine hangs: perhaps it was what took so long
            self._attached.hang_up()
