"""A container's three streams over one connection: the engine's attach, taken apart."""

import contextlib
import socket
import struct
from collections.abc import Iterable
from typing import Any

STDOUT, STDERR = 1, 2
RECEIVE = 1 << 18


class Attached:
    """One connection; one thread reads, one writes.

    Args:
        response: what the SDK gives for a connection that carries streams.
    """

    def __init__(self, response: Any) -> None:
        self._response = response
        # TLS gives the socket itself, everything else an io object around it
        self._socket: socket.socket = getattr(self._response, "_sock", self._response)
        self._socket.settimeout(None)  # a training may be silent for hours
        with contextlib.suppress(OSError):
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        self._buffer = memoryview(b"")
        self._stream = self._left = 0

    @classmethod
    def to(cls, api: Any, container: str) -> "Attached":
        """A container that is created, not started yet, so that nothing it prints is missed."""
        asked = {"stdin": 1, "stdout": 1, "stderr": 1, "stream": 1}
        return cls(api.attach_socket(container, params=asked))

    def send(self, pieces: Iterable[bytes]) -> None:
        """Write to standard input; raises OSError."""
        for piece in pieces:
            self._socket.sendall(piece)

    def read(self) -> tuple[int, memoryview] | None:
        """(stream, bytes) of what comes next; None at the end; raises OSError."""
        while not self._left:
            head = self._exactly(8)
            if head is None:
                return None
            self._stream, self._left = struct.unpack(">BxxxI", head)
        if not self._buffer and not self._receive():
            return None
        piece, self._buffer = self._buffer[: self._left], self._buffer[self._left :]
        self._left -= len(piece)
        return self._stream, piece

    def hang_up(self) -> None:
        """Wake up whoever reads; from any thread."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Give the connection up."""
        self.hang_up()
        with contextlib.suppress(OSError):
            self._response.close()
        with contextlib.suppress(OSError):
            self._socket.close()

    def _exactly(self, count: int) -> bytes | None:
        head = b""
        while len(head) < count:
            if not self._buffer and not self._receive():
                return None
            take = count - len(head)
            head += bytes(self._buffer[:take])
            self._buffer = self._buffer[take:]
        return head

    def _receive(self) -> bool:
        self._buffer = memoryview(self._socket.recv(RECEIVE))
        return bool(self._buffer)
