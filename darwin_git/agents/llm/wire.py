"""How a question travels: one connection, one whole answer, within its time and size, no redirects.

openai's time-outs hold for each read, so a server that drips a byte a minute would never end a
call. Here a watch closes the connection when the answer's time is up. Connections are not kept: a
call takes seconds to minutes, and a stale one would look like an outage.

Imported only where a call is made: httpx2 and openai take half a second.
"""

import contextlib
import functools
import math
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

import httpx2
import openai

LONGEST_BODY = 16 << 20
"""JSON may write a character in six bytes or more; an answer is at most 1 MiB of text."""
CONNECT_SECONDS = 15.0
RETRIED = frozenset({408, 409, 425, 429})
"""Beside 5xx: what another attempt may cure."""


@dataclass
class Try:
    """One attempt: whether the server may have seen it, and the status it answered in full."""

    sent: bool = True
    status: int | None = None


@dataclass
class Call:
    """One question with all its attempts.

    Attributes:
        timeout: seconds for one answer, from the connection to its last byte.
        deadline: of the whole call, on the monotonic clock.
    """

    timeout: float
    deadline: float
    tries: list[Try] = field(default_factory=list)

    @property
    def left(self) -> float:
        """Seconds until the deadline."""
        return self.deadline - time.monotonic()


class Late(openai.OpenAIError):
    """The whole call's time is up; openai hands it on without another attempt."""


class Bulky(openai.OpenAIError):
    """An answer of more than `LONGEST_BODY`."""


_CALL: ContextVar[Call] = ContextVar("call")


@contextlib.contextmanager
def calling(call: Call) -> Iterator[None]:
    """Requests of this thread belong to `call`."""
    token = _CALL.set(call)
    try:
        yield
    finally:
        _CALL.reset(token)


class Wire(httpx2.Client):
    """What openai sends through; used by many threads at once."""

    def __init__(self, timeout: float) -> None:
        super().__init__(
            timeout=httpx2.Timeout(timeout, connect=min(timeout, CONNECT_SECONDS)),
            limits=httpx2.Limits(max_keepalive_connections=0),
            headers={"Accept-Encoding": "identity"},
            follow_redirects=False,
            verify=_trusted(),
        )

    def send(self, request: httpx2.Request, **options: Any) -> httpx2.Response:
        """The whole answer. Raises httpx2's errors, `Late`, `Bulky`."""
        call = _CALL.get()
        if call.left <= 0:
            raise Late
        this = Try()
        call.tries.append(this)
        options |= {"stream": True, "follow_redirects": False}
        with _Watch(request, min(call.timeout, call.left)) as watch:
            try:
                response = super().send(request, **options)
                body = _read(response)
            except httpx2.HTTPError as error:
                this.sent = not isinstance(error, _UNSENT)
                if watch.fired:
                    raise httpx2.ReadTimeout("no whole answer", request=request) from None
                raise
            if watch.fired:  # an answer without a length looks complete when it is cut
                raise httpx2.ReadTimeout("no whole answer", request=request)
        this.status = response.status_code
        return httpx2.Response(
            response.status_code,
            headers=_headers(response, body, call.left),
            content=body,
            request=request,
        )


@functools.cache
def _trusted() -> ssl.SSLContext:
    """The certificates that are trusted: 50 ms to read, for each process once."""
    return httpx2.create_ssl_context()


_UNSENT = (
    httpx2.ConnectError,
    httpx2.ConnectTimeout,
    httpx2.PoolTimeout,
    httpx2.ProxyError,
    httpx2.UnsupportedProtocol,
)


def _read(response: httpx2.Response) -> bytes:
    try:
        parts = bytearray()
        for part in response.iter_bytes():
            parts += part
            if len(parts) > LONGEST_BODY:
                raise Bulky
        return bytes(parts)
    finally:
        response.close()


def _headers(response: httpx2.Response, body: bytes, left: float) -> httpx2.Headers:
    """The server's, as openai should see them: the body is decoded; hopeless waits are not begun.

    openai obeys x-should-retry before all else, so a server could have a refused key sent again.
    """
    headers = httpx2.Headers(response.headers)
    for name in ("content-encoding", "content-length", "transfer-encoding"):
        headers.pop(name, None)
    status = response.status_code
    hopeless = (
        not (status in RETRIED or status >= 500)
        or b"insufficient_quota" in body[:10_000]
        or _wait(headers.get("retry-after", "")) >= left
    )
    if hopeless:
        headers["x-should-retry"] = "false"
    return headers


def _wait(said: str) -> float:
    """Seconds that Retry-After asks for; a date is openai's to read, which refuses long ones."""
    try:
        seconds = float(said)
    except ValueError:
        return 0.0
    return seconds if math.isfinite(seconds) else 0.0


class _Watch:
    """Shuts the connection of a request when its time is up."""

    def __init__(self, request: httpx2.Request, seconds: float) -> None:
        self.fired = False
        self._socket: socket.socket | None = None
        self._timer = threading.Timer(seconds, self._fire)
        self._timer.daemon = True
        request.extensions = {**request.extensions, "trace": self._trace}

    def __enter__(self) -> "_Watch":
        self._timer.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()

    def _trace(self, name: str, facts: dict[str, Any]) -> None:
        if name.endswith(("connect_tcp.complete", "start_tls.complete")):
            # TLS takes the plain socket over: the latest is the one in use.
            self._socket = facts["return_value"].get_extra_info("socket")
            if self.fired:
                self._shut()

    def _fire(self) -> None:
        self.fired = True
        self._shut()

    def _shut(self) -> None:
        if self._socket is not None:
            with contextlib.suppress(OSError):  # it has closed by itself
                # Not SSLSocket.shutdown: that would take TLS away under the reader.
                socket.socket.shutdown(self._socket, socket.SHUT_RDWR)
