"""One question to a model over chat completions: an answer, an outage, or what a person must mend.

What the network and the server may do to us is `wire`'s and `reading`'s; what a status means is
`refusals`'. No body, no key and no address is logged, kept, or put into an error.
"""

import re
import socket
import ssl
import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from darwin_git.agents.llm import reading
from darwin_git.agents.llm.prices import Price, cost
from darwin_git.agents.llm.reading import Answer, Censor
from darwin_git.agents.llm.refusals import (
    RENAMED,
    Names,
    no_model,
    outage,
    refusal,
    refused_parameter,
    refuses_system,
    without_system,
)
from darwin_git.agents.llm.tokens import TokenCounter
from darwin_git.domain.exchange import Reply, Usage
from darwin_git.errors import DarwinError

if TYPE_CHECKING:
    import openai

    from darwin_git.agents.llm.wire import Call

OPENAI = "https://api.openai.com/v1"
"""Always said: openai would take $OPENAI_BASE_URL, which may not be the agent's own variable."""
NO_KEY = "none"
"""For servers that want none: openai refuses an empty one."""
SLACK = 30.0
"""Seconds beyond the attempts' own time-outs, for waits between them."""
PAUSE, LONGEST_PAUSE = 0.5, 8.0
"""Seconds before another attempt after an empty or broken answer, doubled each time."""
LIST_SECONDS = 5.0

_SURROGATES = re.compile("[\ud800-\udfff]")


@dataclass
class _Course:
    """One call of `complete` as it goes: what was asked, what came back, what it may have cost.

    Attributes:
        adapted: attempts that ended in a parameter being left out: they are not retries.
    """

    call: "Call"
    messages: Any
    adapted: int = 0
    answers: list[Answer] = field(default_factory=list)


class ChatClient:
    """A model behind a server, asked by several threads at once.

    Args:
        key: sent as it is; `NO_KEY` where the environment has none.
        url: base URL; OpenAI's where it is None.
        timeout: seconds for one answer.
        retries: of a call that failed, beside the first attempt.
        price: None where nobody knows it.
        secrets: what must not stand in an answer, beside the key.
        agent, key_variable, url_variable: how messages name what a person must mend.
    """

    def __init__(
        self,
        model: str,
        *,
        key: str,
        url: str | None,
        timeout: float,
        retries: int,
        price: Price | None,
        secrets: Iterable[str] = (),
        agent: str = "a1",
        key_variable: str = "OPENAI_API_KEY",
        url_variable: str = "OPENAI_BASE_URL",
    ) -> None:
        self.model = model
        self.price = price
        self.counter = TokenCounter(model)
        self._key = key
        self._url = url
        self._timeout = timeout
        self._retries = retries
        self._censor = Censor((key, *secrets), _places(url or ""))
        keyed, elsewhere = key != NO_KEY, url is not None
        self._names = Names(agent, model, key_variable, url_variable, keyed, elsewhere)
        self._refused: dict[str, str | None] = {}
        self._no_system = False
        self._lock = threading.Lock()
        self._openai: openai.OpenAI | None = None

    def complete(self, request: Mapping[str, Any]) -> Reply:
        """Ask, and ask again while that may help.

        Args:
            request: ``model``, ``messages``, ``max_tokens``, further parameters: plain JSON.

        Raises:
            DarwinError: what only a person can mend: a refused key, an unknown model.
        """
        from darwin_git.agents.llm.wire import Call

        started = time.monotonic()
        deadline = started + self._timeout * (self._retries + 1) + SLACK
        course = _Course(Call(self._timeout, deadline), request["messages"])
        pause = PAUSE
        while True:
            answer = self._attempt(request, course)
            left = self._retries + 1 - (len(course.call.tries) - course.adapted)
            if not answer.fault or not answer.again or left <= 0 or course.call.left <= pause:
                return self._reply(answer, course, time.monotonic() - started)
            time.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)

    def models(self) -> tuple[str, ...] | None:
        """What the server lists; None where it lists nothing, which many do.

        Raises:
            DarwinError: the server cannot be reached, or refuses the key.
        """
        import openai

        from darwin_git.agents.llm.wire import Call, calling

        call = Call(LIST_SECONDS, time.monotonic() + LIST_SECONDS)
        try:
            with calling(call):
                client = self._connected().with_options(max_retries=0, timeout=LIST_SECONDS)
                found = client.models.with_raw_response.list().http_response
        except openai.APIStatusError as error:
            status, body = error.status_code, error.response.content
            if status in (401, 403):
                raise refusal(self._names, status, body, self._censor.line, lambda: None) from None
            if reason := outage(status, body):
                raise DarwinError(f"{self._names.place}: {reason}", hint="try again") from None
            return None
        except openai.OpenAIError as error:
            raise DarwinError(
                f"{self._names.place} cannot be asked: {_network(error, LIST_SECONDS)}",
                hint=f"start it, or correct ${self._names.url_variable}",
            ) from None
        names = reading.models(found.content)
        return names and tuple(map(self._censor.line, names))

    def no_model(self, listed: tuple[str, ...]) -> DarwinError:
        """That the server does not have the model, among those that it lists."""
        return no_model(self._names, listed)

    def _attempt(self, request: Mapping[str, Any], course: _Course) -> Answer:
        """As many attempts as openai makes of one request; adapted until the server takes it."""
        import openai

        from darwin_git.agents.llm.wire import Bulky, Late, calling

        while True:
            payload = self._adapted(request)
            left = self._retries - (len(course.call.tries) - course.adapted)
            try:
                with calling(course.call):
                    body = self._send(payload, left)
            except openai.APIStatusError as error:
                fault = self._refusal(payload, error.status_code, error.response.content)
                if fault is None:
                    course.adapted += 1
                    continue
                return fault
            except Late:
                return Answer(fault="the time for all attempts is over", again=False)
            except Bulky:
                return Answer(fault="the server's answer had no end", again=False)
            except openai.OpenAIError as error:
                return Answer(fault=_network(error, self._timeout), again=False)
            answer = reading.read(body)
            course.answers.append(answer)
            return answer

    def _send(self, payload: dict[str, Any], retries: int) -> bytes:
        rest = dict(payload)
        model, messages = rest.pop("model"), rest.pop("messages")
        client = self._connected().with_options(max_retries=max(retries, 0))
        # extra_body: what is recorded is what goes out, whatever openai's version knows of it.
        answered = client.chat.completions.with_raw_response.create(
            model=model, messages=messages, extra_body=rest
        )
        return answered.http_response.content

    def _refusal(self, payload: dict[str, Any], status: int, body: bytes) -> Answer | None:
        """None where a parameter was struck. Raises DarwinError for what a person must mend."""
        if status in (400, 422, 500) and refuses_system(payload, body):
            with self._lock:
                self._no_system = True
            return None
        if reason := outage(status, body):
            return Answer(fault=reason, said=reading.said(body), again=False)
        name = refused_parameter(payload, status, body)
        if name is None:
            line = self._censor.line
            raise refusal(self._names, status, body, line, self._listed) from None
        with self._lock:
            self._refused[name] = RENAMED.get(name)
        return None

    def _listed(self) -> tuple[str, ...] | None:
        try:
            return self.models()
        except DarwinError:
            return None

    def _adapted(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """The request as this server takes it, in text that can be written down."""
        with self._lock:
            refused, no_system = dict(self._refused), self._no_system
        payload: dict[str, Any] = {}
        for name, value in request.items():
            kept = refused.get(name, name)
            if kept is not None and kept not in payload:
                payload[kept] = _writable(value)
        if no_system:
            payload["messages"] = without_system(payload["messages"])
        return payload

    def _reply(self, answer: Answer, course: _Course, seconds: float) -> Reply:
        usage = self._usage(course, seconds)
        model = self._censor.line(answer.model, reading.LONGEST_NAME)
        finish = self._censor.line(answer.finish, reading.LONGEST_NAME)
        if answer.fault:
            said = self._censor.line(answer.said)
            reason = f"{answer.fault}: {said}" if said else answer.fault
            return Reply("infra", usage=usage, finish=finish, model=model, reason=reason)
        text, more = reading.cut(self._censor.text(answer.text))
        return Reply("ok", text, usage, "length" if more else finish, model)

    def _usage(self, course: _Course, seconds: float) -> Usage:
        """Of all attempts; one that may have reached the model and told no usage is counted."""
        read = written = 0
        uncounted = sum(one.sent and one.status is None for one in course.call.tries)
        for answer in course.answers:
            if answer.tokens_in is None or (answer.text and not answer.tokens_out):
                uncounted += 1
                written += self.counter.count(answer.text)
            else:
                read += answer.tokens_in
                written += answer.tokens_out or 0
        counted = "api" if course.answers else ""
        if uncounted:
            read += uncounted * self.counter.count_messages(course.messages)
            counted = self.counter.name
        usd = cost(self.price, read, written)
        return Usage(read, written, usd, seconds, counted, calls=1)

    def _connected(self) -> "openai.OpenAI":
        with self._lock:
            if self._openai is None:
                import openai

                from darwin_git.agents.llm.wire import Wire

                self._openai = openai.OpenAI(
                    api_key=self._key,
                    base_url=self._url or OPENAI,
                    timeout=self._timeout,
                    max_retries=self._retries,
                    http_client=Wire(self._timeout),
                )
            return self._openai


def _places(url: str) -> list[str]:
    """Forms of an address that a server's text may hold; a bare word is left alone."""
    place = urlsplit(url)
    forms = (url, place.netloc, place.hostname or "")
    return [form for form in forms if "." in form or ":" in form]


def _network(error: BaseException, timeout: float) -> str:
    """Why there was no answer at all, in our words: the library's may name the address."""
    import openai

    if isinstance(error, openai.APITimeoutError):
        return f"no answer within {timeout:g} seconds"
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ConnectionRefusedError):
            return "the connection was refused"
        if isinstance(cause, socket.gaierror):
            return "the server's name is not known"
        if isinstance(cause, ssl.SSLError):
            return "the server's certificate is not trusted, or it speaks no TLS"
        cause = cause.__cause__ or cause.__context__
    return "the connection was cut"


def _writable(value: Any) -> Any:
    """JSON whose strings can be encoded: a log may hold half a character."""
    if isinstance(value, str):
        return _SURROGATES.sub("\ufffd", value)
    if isinstance(value, Mapping):
        return {key: _writable(one) for key, one in value.items()}
    return [_writable(one) for one in value] if isinstance(value, list | tuple) else value
