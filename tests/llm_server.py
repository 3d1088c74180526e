"""A scripted server that speaks chat completions, well and badly, over real sockets.

with ScriptedServer(script(["an answer", Raw(503), Text("cut", cut=40)])) as server:
    client = ...  # the real one, at server.url
assert server.requests[0].text == "what the model was asked"
"""

import json
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self


@dataclass(frozen=True)
class Asked:
    """One request for a completion, as it came in.

    Attributes:
        number: from 1, in the order of arrival.
        headers: names in lower case.
    """

    number: int
    body: Mapping[str, Any]
    headers: Mapping[str, str]

    @property
    def messages(self) -> list[dict[str, Any]]:
        """Role and content of each."""
        return list(self.body.get("messages", ()))

    @property
    def text(self) -> str:
        """The contents of all messages, joined by newlines."""
        return "\n".join(str(one.get("content", "")) for one in self.messages)


@dataclass(frozen=True)
class Text:
    """A completion.

    Attributes:
        content: the message's content: a string, a list of parts, None.
        usage: (prompt, completion) tokens, or the object itself; None leaves it out.
        model: the name that answers; the one that was asked for where it is None.
        delay: seconds before the first byte.
        cut: the connection is closed after so many bytes of the answer, headers included;
            a negative number counts from its end.
    """

    content: Any
    usage: Any = (10, 5)
    finish: str | None = "stop"
    model: Any = None
    delay: float = 0.0
    cut: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Raw:
    """Any status, body and headers; a body that is no bytes is sent as JSON."""

    status: int = 200
    body: Any = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    delay: float = 0.0
    cut: int | None = None


@dataclass(frozen=True)
class Drip:
    """A completion, byte by byte, each after a pause; `seconds` between them."""

    content: str
    seconds: float


@dataclass(frozen=True)
class Silence:
    """The request is read and never answered, until the server ends."""


@dataclass(frozen=True)
class Close:
    """The connection is closed without a byte."""


Say = str | Text | Raw | Drip | Silence | Close
Answer = Callable[[Asked], Say]


def script(says: Sequence[Say]) -> Answer:
    """Answers one after the other; whoever asks for more than there are is told so (HTTP 418)."""

    def answer(asked: Asked) -> Say:
        if asked.number > len(says):
            return Raw(418, {"error": {"message": "the script is over"}})
        return says[asked.number - 1]

    return answer


def refusal(status: int, message: str, **more: Any) -> Raw:
    """An error as OpenAI words it."""
    return Raw(status, {"error": {"message": message, **more}})


class ScriptedServer:
    """The server, on a free port of 127.0.0.1, while the context is open.

    Args:
        answer: what to say to each request; called on the connection's thread.
        keys: accepted keys, 401 for others; every key where it is None.
        models: what GET /models lists; 404 where it is None.

    Attributes:
        requests: every completion asked for, in the order of arrival.
        paths: method and path of every request.
    """

    def __init__(
        self,
        answer: Answer,
        *,
        keys: Sequence[str] | None = None,
        models: Sequence[str] | None = None,
    ) -> None:
        self.answer = answer
        self.keys = keys
        self.models = models
        self.requests: list[Asked] = []
        self.paths: list[str] = []
        self.ending = threading.Event()
        self._faults: list[BaseException] = []
        self._lock = threading.Lock()
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.owner = self
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.02}
        )

    @property
    def url(self) -> str:
        """The base URL, as OPENAI_BASE_URL wants it."""
        return f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    def note(self, body: Mapping[str, Any], headers: Mapping[str, str]) -> Asked:
        """Keep a request."""
        with self._lock:
            asked = Asked(len(self.requests) + 1, body, headers)
            self.requests.append(asked)
        return asked

    def fail(self, fault: BaseException) -> None:
        """A fault of the test's own answer: raised when the context ends."""
        self._faults.append(fault)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.ending.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
        if self._faults and error is None:
            raise self._faults[0]


class _Server(ThreadingHTTPServer):
    """Waits for its connections' threads when it ends."""

    daemon_threads = False
    request_queue_size = 64
    owner: ScriptedServer

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that gave up is what many tests want; anything else is the test's fault."""
        fault = sys.exc_info()[1]
        if fault is not None and not isinstance(fault, ConnectionError):
            self.owner.fail(fault)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing."""

    def do_GET(self) -> None:
        owner = self._arrived()
        if self._refused(owner):
            return
        if self.path != "/v1/models" or owner.models is None:
            self._send(refusal(404, "no such page"))
            return
        listed = [{"id": name, "object": "model"} for name in owner.models]
        self._send(Raw(200, {"object": "list", "data": listed}))

    def do_POST(self) -> None:
        owner = self._arrived()
        content = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self._refused(owner):
            return
        if self.path != "/v1/chat/completions":
            self._send(Raw(404, b"404 page not found", {"Content-Type": "text/plain"}))
            return
        headers = {name.lower(): value for name, value in self.headers.items()}
        asked = owner.note(json.loads(content), headers)
        say = owner.answer(asked)
        self._say(Text(say) if isinstance(say, str) else say, asked)

    def _arrived(self) -> ScriptedServer:
        self.close_connection = True
        self.server.owner.paths.append(f"{self.command} {self.path}")
        return self.server.owner

    def _refused(self, owner: ScriptedServer) -> bool:
        given = self.headers.get("Authorization", "").removeprefix("Bearer ")
        if owner.keys is None or given in owner.keys:
            return False
        wrong = f"Incorrect API key provided: {given}. You can find your API key in your account."
        self._send(refusal(401, wrong, code="invalid_api_key"))
        return True

    def _say(self, say: Say, asked: Asked) -> None:
        owner = self.server.owner
        if isinstance(say, Silence):
            owner.ending.wait()
        elif isinstance(say, Drip):
            whole = _bytes(Raw(200, _completion(Text(say.content), asked)))
            for place in range(len(whole)):
                if owner.ending.wait(say.seconds):
                    return
                self.connection.sendall(whole[place : place + 1])
        elif isinstance(say, Text):
            body = _completion(say, asked)
            self._send(Raw(200, body, say.headers, say.delay, say.cut))
        elif isinstance(say, Raw):
            self._send(say)

    def _send(self, raw: Raw) -> None:
        if raw.delay and self.server.owner.ending.wait(raw.delay):
            return
        self.connection.sendall(_bytes(raw)[: raw.cut])


def _completion(text: Text, asked: Asked) -> dict[str, Any]:
    body: dict[str, Any] = {
        "id": f"chatcmpl-{asked.number}",
        "object": "chat.completion",
        "created": 1700000000,
        "model": asked.body.get("model") if text.model is None else text.model,
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": text.content},
                "finish_reason": text.finish,
            }
        ],
    }
    usage = text.usage
    if isinstance(usage, tuple):
        read, written = usage
        usage = {
            "prompt_tokens": read,
            "completion_tokens": written,
            "total_tokens": read + written,
        }
    return body if usage is None else body | {"usage": usage}


def _bytes(raw: Raw) -> bytes:
    """Status line, headers and body, as they go over the wire."""
    body = raw.body if isinstance(raw.body, bytes) else json.dumps(raw.body).encode()
    headers = {
        "Content-Type": "application/json",
        "Content-Length": str(len(body)),
        "Connection": "close",
        **raw.headers,
    }
    lines = [f"HTTP/1.1 {raw.status} Scripted", *(f"{k}: {v}" for k, v in headers.items())]
    return "\r\n".join([*lines, "", ""]).encode() + body
