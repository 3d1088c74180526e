"""A model's server in all its moods, over real sockets: answers, outages, refusals, attacks."""

import json
import logging
import os
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import openai._base_client
import pytest

from darwin_git.agents.llm import client as module
from darwin_git.agents.llm import tokens
from darwin_git.agents.llm.client import ChatClient
from darwin_git.agents.llm.prices import Price
from darwin_git.domain.exchange import Reply
from darwin_git.errors import DarwinError
from tests.llm_server import (
    Answer,
    Asked,
    Close,
    Drip,
    Raw,
    Say,
    ScriptedServer,
    Silence,
    Text,
    refusal,
    script,
)

KEY = "sk-live-8f3a9c77d1e24b"
QUESTION: dict[str, Any] = {
    "model": "tiny",
    "messages": [
        {"role": "system", "content": "Improve the training."},
        {"role": "user", "content": "learning_rate = 1e-3"},
    ],
    "max_tokens": 200,
    "temperature": 0.5,
}


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No network but this machine's, no table of tokens, and no waiting between attempts."""
    for name in ("HTTP_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,nowhere.invalid")
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(tmp_path / "tables"))
    monkeypatch.setattr(tokens, "_tables", {})
    monkeypatch.setattr(openai._base_client, "INITIAL_RETRY_DELAY", 0.01)
    monkeypatch.setattr(module, "PAUSE", 0.01)


def connected(url: str, **more: Any) -> ChatClient:
    given: dict[str, Any] = {
        "key": KEY,
        "timeout": 10.0,
        "retries": 1,
        "price": Price(1e-6, 1e-5),
        "agent": "a2",
    }
    return ChatClient("tiny", url=url, **(given | more))


@contextmanager
def serving(says: Sequence[Say] | Answer, **more: Any) -> Iterator[ScriptedServer]:
    answer = says if callable(says) else script(says)
    with ScriptedServer(answer, **more) as server:
        yield server


def ask(says: Sequence[Say] | Answer, **more: Any) -> tuple[Reply, list[Asked]]:
    with serving(says) as server:
        reply = connected(server.url, **more).complete(QUESTION)
    return reply, server.requests


# --- answers -----------------------------------------------------------------------------------


def test_an_answer_comes_back_with_what_it_took() -> None:
    """What is sent is what is recorded; the server's count and our clock and price go with it."""
    with serving([Text("a change", usage=(120, 30), model="tiny-2026")], keys=[KEY]) as server:
        reply = connected(server.url).complete(QUESTION)
    assert (reply.status, reply.text, reply.finish) == ("ok", "a change", "stop")
    assert reply.model == "tiny-2026"
    usage = reply.usage
    assert (usage.tokens_in, usage.tokens_out, usage.counted, usage.calls) == (120, 30, "api", 1)
    assert usage.usd == pytest.approx(120e-6 + 30e-5)
    assert 0 < usage.seconds < 10
    assert server.requests[0].body == QUESTION
    assert server.requests[0].headers["authorization"] == f"Bearer {KEY}"


def test_parameters_that_openai_does_not_know_are_passed_on() -> None:
    with serving(["fine"]) as server:
        request = QUESTION | {"top_k": 20, "reasoning_effort": "low"}
        connected(server.url).complete(request)
    assert server.requests[0].body == request


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ([{"type": "text", "text": "one "}, {"type": "text", "text": "two"}], "one two"),
        ([{"type": "thinking", "text": "hm"}, "three"], "three"),
        ("nul \x00 and half a character \ud83d.", "nul \ufffd and half a character \ufffd."),
    ],
)
def test_contents_in_many_forms(content: Any, text: str) -> None:
    assert ask([Text(content)])[0].text == text


def test_a_megabyte_is_enough() -> None:
    """Longer answers are cut, between characters, and say so."""
    reply, _ = ask([Text("ä" * (1 << 20))])
    assert reply.status == "ok"
    assert reply.finish == "length"
    assert len(reply.text.encode()) == 1 << 20


@pytest.mark.parametrize(
    "usage",
    [
        None,
        {},
        "much",
        {"prompt_tokens": -5, "completion_tokens": 3},
        {"prompt_tokens": 10**12, "completion_tokens": 3},
        {"prompt_tokens": True, "completion_tokens": 3},
        {"prompt_tokens": 0, "completion_tokens": 0},
        {"prompt_tokens": 12.5, "completion_tokens": None},
    ],
)
def test_a_count_that_cannot_be_is_made_here(usage: Any) -> None:
    usage_ = ask([Text("x" * 400, usage=usage)])[0].usage
    assert (usage_.tokens_out, usage_.counted) == (100, "bytes")
    assert 10 <= usage_.tokens_in <= 30


def test_reasoning_that_only_the_total_counts_is_paid_for() -> None:
    said = {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 400}
    usage = ask([Text("done", usage=said)])[0].usage
    assert (usage.tokens_in, usage.tokens_out) == (100, 300)


def test_text_that_cannot_be_encoded_is_still_asked() -> None:
    """Logs that go into a prompt may hold half a character."""
    with serving(["fine"]) as server:
        messages = [{"role": "user", "content": "log: \udcff"}]
        assert connected(server.url).complete(QUESTION | {"messages": messages}).text == "fine"
    assert server.requests[0].text == "log: \ufffd"


def test_eight_threads_share_a_client() -> None:
    """Each gets the answer to its own question."""
    replies: dict[int, str] = {}
    with serving(lambda asked: Text(f"to {asked.text}", delay=0.05)) as server:
        shared = connected(server.url)

        def one(number: int) -> None:
            messages = [{"role": "user", "content": str(number)}]
            replies[number] = shared.complete(QUESTION | {"messages": messages}).text

        threads = [threading.Thread(target=one, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert replies == {number: f"to {number}" for number in range(8)}


# --- outages -----------------------------------------------------------------------------------

PASSING: dict[str, tuple[Say, str]] = {
    "closed": (Close(), "connection was cut"),
    "cut in the headers": (Text("half", cut=25), "connection was cut"),
    "cut in the body": (Text("half", cut=-20), "connection was cut"),
    "truncated JSON": (Raw(200, b'{"choices": [{"message": {"content": "hal'), "no JSON"),
    "no body": (Raw(200, b""), "nothing instead of a completion"),
    "a page": (Raw(200, b"<!doctype html><p>Hello", {"Content-Type": "text/html"}), "web page"),
    "deep JSON": (Raw(200, b'{"error":' + b"[" * 100_000), "no JSON"),
    "a list": (Raw(200, []), "no JSON"),
    "an error within": (refusal(200, "Provider is down", code=502), "Provider is down"),
    "no choices": (Raw(200, {"choices": []}), "no message"),
    "a strange choice": (Raw(200, {"choices": [{"message": "hi"}]}), "no message"),
    "an empty answer": (Text(""), "empty"),
    "no content": (Text(None), "empty"),
    "blanks": (Text("  \n"), "empty"),
    "408": (refusal(408, "slow"), "gave up waiting (HTTP 408): slow"),
    "409": (refusal(409, "locked"), "conflict (HTTP 409): locked"),
    "429": (refusal(429, "Too many requests"), "rate limit was reached (HTTP 429): Too many"),
    "500": (Raw(500, b""), "the server failed (HTTP 500)"),
    "502": (
        Raw(502, b"<html><title>nginx</title><b>Bad gateway</b></html>"),
        "gateway failed (HTTP 502): Bad gateway",
    ),
    "503": (Raw(503, {"detail": "Loading model"}), "not available (HTTP 503): Loading model"),
    "529": (Raw(529, b"overloaded"), "overloaded (HTTP 529): overloaded"),
}


@pytest.mark.parametrize("name", PASSING)
def test_what_passes_is_asked_again(name: str) -> None:
    """One retry is allowed: after one failure it is an answer, after two an outage with a word."""
    say, words = PASSING[name]
    reply, asked = ask([say, Text("at last")])
    assert (reply.status, reply.text, reply.reason) == ("ok", "at last", "")
    assert len(asked) == 2
    reply, asked = ask([say, say, "too late"])
    assert (reply.status, reply.text) == ("infra", "")
    assert words in reply.reason
    assert "127.0.0.1" not in reply.reason
    assert len(asked) == 2
    assert reply.usage.calls == 1


def test_without_retries_each_question_is_asked_once() -> None:
    for say, _ in PASSING.values():
        assert len(ask([say, "never"], retries=0)[1]) == 1


def test_nobody_listens() -> None:
    with serving([]) as server:
        url = server.url
    reply = connected(url).complete(QUESTION)
    assert (reply.status, reply.reason) == ("infra", "the connection was refused")
    assert (reply.usage.tokens_in, reply.usage.usd) == (0, 0.0), "nothing was sent"


def test_nobody_has_that_name() -> None:
    reply = connected("http://nowhere.invalid/v1").complete(QUESTION)
    assert (reply.status, reply.reason) == ("infra", "the server's name is not known")


def test_a_server_that_speaks_no_tls() -> None:
    with serving([]) as server:
        url = server.url.replace("http:", "https:")
        reply = connected(url, retries=0).complete(QUESTION)
    assert reply.status == "infra"
    assert "TLS" in reply.reason


def test_a_server_that_never_answers() -> None:
    started = time.monotonic()
    reply, asked = ask([Silence(), Silence()], timeout=0.4)
    assert reply.reason == "no answer within 0.4 seconds"
    assert len(asked) == 2
    assert time.monotonic() - started < 3
    assert reply.usage.tokens_in > 0, "the model may have read it"
    assert reply.usage.usd == pytest.approx(reply.usage.tokens_in * 1e-6)


def test_a_server_that_drips() -> None:
    """Each byte comes in time, the answer never: a call ends all the same."""
    started = time.monotonic()
    reply, asked = ask([Drip("slow", 0.05), "in time"], timeout=0.6)
    assert reply.text == "in time"
    assert len(asked) == 2
    assert 0.6 <= time.monotonic() - started < 4


def test_a_body_without_an_end() -> None:
    whole = b'{"choices":"' + b" " * (17 << 20)
    reply, asked = ask([Raw(200, whole), "never asked"])
    assert (reply.status, reply.reason) == ("infra", "the server's answer had no end")
    assert len(asked) == 1


def test_a_short_wait_is_waited_and_hours_are_not() -> None:
    """Retry-After."""
    limit = refusal(429, "slow down")
    started = time.monotonic()
    reply, asked = ask([Raw(429, limit.body, {"Retry-After": "0.3"}), "thanks"])
    assert (reply.text, len(asked)) == ("thanks", 2)
    assert time.monotonic() - started >= 0.3
    for hours in ("7200", "99", "1e300"):
        started = time.monotonic()
        reply, asked = ask([Raw(429, limit.body, {"Retry-After": hours}), "no"], timeout=1.0)
        assert len(asked) == 1, "the whole call has half a minute beside its attempts"
        assert "rate limit" in reply.reason
        assert time.monotonic() - started < 5


def test_an_empty_account_is_an_outage_that_no_retry_cures() -> None:
    spent = refusal(429, "You exceeded your current quota", code="insufficient_quota")
    reply, asked = ask([spent, "no"])
    assert reply.reason.startswith("no quota is left for this key (HTTP 429): You exceeded")
    assert len(asked) == 1
    assert "credit" in ask([refusal(402, "Insufficient Balance")])[0].reason


def test_filtered_and_unfinished_answers_are_not_paid_for_again() -> None:
    reply, asked = ask([Text("half of", finish="content_filter"), "no"])
    assert (reply.status, reply.text, len(asked)) == ("infra", "", 1)
    assert "content filter" in reply.reason
    reply, asked = ask([Text("", finish="length", usage=(50, 200)), "no"])
    assert "spent all its tokens before it answered: raise answer_tokens" in reply.reason
    assert (reply.usage.tokens_out, len(asked)) == (200, 1)
    refused = refusal(400, "The prompt was filtered", code="content_filter")
    assert ask([refused])[0].status == "infra"


def test_every_attempt_is_counted() -> None:
    """Two empty answers that the server charged, and one that was cut: all are in the account."""
    says = [Text("", usage=(100, 1)), Text("gone", cut=-30), Text("here", usage=(100, 20))]
    reply, _ = ask(says, retries=2)
    assert reply.text == "here"
    ours = connected("http://127.0.0.1:9").counter.count_messages(QUESTION["messages"])
    assert (reply.usage.tokens_in, reply.usage.tokens_out) == (200 + ours, 21)
    assert reply.usage.counted == "bytes"


def test_an_unknown_price_stays_unknown() -> None:
    assert ask(["answer"], price=None)[0].usage.usd is None
    assert ask([Raw(503), Raw(503)], price=None)[0].usage.usd == 0.0, "nothing was taken"


# --- what a server does not take -----------------------------------------------------------------


def openai_like(asked: Asked) -> Say:
    """A reasoning model of OpenAI's."""
    for name, words in (
        ("max_tokens", "is not supported with this model. Use 'max_completion_tokens' instead."),
        ("temperature", "does not support 0.5 with this model. Only the default (1) is supported."),
    ):
        if name in asked.body:
            return refusal(400, f"Unsupported parameter: '{name}' {words}", param=name)
    return "thought through"


def test_parameters_are_renamed_or_left_out_once() -> None:
    with serving(openai_like) as server:
        client = connected(server.url, retries=0)
        assert client.complete(QUESTION).text == "thought through"
        assert client.complete(QUESTION).text == "thought through"
    bodies = [asked.body for asked in server.requests]
    assert len(bodies) == 4, "what the server does not take is learnt once"
    assert {"max_completion_tokens": 200}.items() <= bodies[-1].items()
    assert not {"max_tokens", "temperature"} & bodies[-1].keys()
    assert bodies[-1]["messages"] == QUESTION["messages"]


def test_eight_threads_learn_together() -> None:
    with serving(openai_like) as server:
        client = connected(server.url, retries=0)
        texts: list[str] = []
        threads = [
            threading.Thread(target=lambda: texts.append(client.complete(QUESTION).text))
            for _ in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert texts == ["thought through"] * 8


@pytest.mark.parametrize(
    "say",
    [
        Raw(422, {"detail": [{"loc": ["body", "seed"], "msg": "Extra inputs are not permitted"}]}),
        refusal(400, "unknown field 'seed'"),
        Raw(400, {"message": 'Unsupported parameter(s): "seed"'}),
    ],
)
def test_other_servers_name_a_parameter_in_their_own_way(say: Say) -> None:
    with serving([say, "fine"]) as server:
        reply = connected(server.url).complete(QUESTION | {"seed": 7})
    assert reply.text == "fine"
    assert "seed" not in server.requests[1].body
    assert server.requests[1].body["temperature"] == 0.5


def test_a_parameter_is_known_however_it_is_written() -> None:
    with serving([refusal(400, "Temperature is deprecated for this model."), "fine"]) as server:
        assert connected(server.url).complete(QUESTION).text == "fine"
    assert "temperature" not in server.requests[1].body


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (400, "System role not supported"),
        (500, "Jinja Exception: Conversation roles must alternate user/assistant/user/..."),
        (400, "Developer instruction is not enabled for models/gemma-3-27b-it"),
        (400, "Only user, assistant and tool roles are supported"),
    ],
)
def test_a_model_without_a_system_role_gets_one_question(status: int, words: str) -> None:
    messages = [
        {"role": "system", "content": "You are a2."},
        {"role": "user", "content": "Mutate."},
        {"role": "assistant", "content": "Done."},
        {"role": "user", "content": "Again."},
    ]
    question = QUESTION | {"messages": messages}
    with serving([refusal(status, words), "fine", "again"]) as server:
        client = connected(server.url, retries=0)
        assert [client.complete(question).text for _ in range(2)] == ["fine", "again"]
    first = {"role": "user", "content": "You are a2.\n\nMutate."}
    assert [asked.body["messages"] for asked in server.requests] == [
        messages,
        [first, *messages[2:]],
        [first, *messages[2:]],
    ], "learnt once"


def test_what_a_question_needs_is_never_left_out() -> None:
    for name in ("messages", "model"):
        with pytest.raises(DarwinError):
            ask([refusal(400, f"Unsupported parameter: '{name}'", param=name), "never"])


def test_a_server_that_takes_no_limit_by_any_name_is_a_persons_task() -> None:
    """An answer without a limit could cost anything; and nobody is asked for ever."""

    def stubborn(asked: Asked) -> Say:
        name = next(name for name in asked.body if name.startswith("max_"))
        return refusal(400, f"Unsupported parameter: '{name}'", param=name)

    with serving(stubborn) as server, pytest.raises(DarwinError, match="max_completion_tokens"):
        connected(server.url).complete(QUESTION)
    assert len(server.requests) == 2


# --- what a person must mend ---------------------------------------------------------------------


def mended(says: Sequence[Say] | Answer, **more: Any) -> DarwinError:
    """The error; one attempt is all it takes."""
    models = more.pop("models", None)
    serve = serving(says, models=models, keys=more.pop("keys", None))
    with serve as server, pytest.raises(DarwinError) as caught:
        connected(server.url, **more).complete(QUESTION)
    assert len(server.requests) <= 1
    assert KEY not in str(caught.value) + caught.value.hint
    assert "127.0.0.1" not in str(caught.value) + caught.value.hint
    return caught.value


def test_a_refused_key_stops_at_once() -> None:
    """The server echoes the key; we do not."""
    error = mended(["never"], keys=["another"], key_variable="MY_KEY")
    assert "refuses the key in $MY_KEY (HTTP 401): Incorrect API key provided" in error.message
    assert "[removed]" in error.message
    assert "export MY_KEY" in error.hint
    error = mended([refusal(403, "Country not supported")])
    assert "(HTTP 403): Country" in error.message
    error = mended(["never"], keys=["another"], key=module.NO_KEY)
    assert "wants a key, and $OPENAI_API_KEY is not set" in error.message


def test_a_server_cannot_have_a_refused_key_sent_again() -> None:
    headers = {"x-should-retry": "true", "Retry-After": "0.01"}
    with serving([Raw(401, b"{}", headers)] * 5) as server, pytest.raises(DarwinError):
        connected(server.url, retries=4).complete(QUESTION)
    assert len(server.requests) == 1


def test_an_unknown_model_is_answered_with_the_known_ones() -> None:
    gone = refusal(404, "The model `tiny` does not exist", code="model_not_found")
    names = ["huge", *(f"m{number}" for number in range(40)), "tiny-2"]
    error = mended([gone], models=names)
    assert "has no model tiny (HTTP 404)" in error.message
    assert "agents.a2.model" in error.hint
    assert "the server has tiny-2, huge, m0" in error.hint
    assert error.hint.endswith("and 30 more")
    error = mended([gone])
    assert error.hint == "correct agents.a2.model in darwin.toml"
    error = mended([refusal(400, "tiny is not a valid model ID")], models=["big"])
    assert "the server has big" in error.hint


def test_a_wrong_address() -> None:
    """Without /v1."""
    with serving([]) as server, pytest.raises(DarwinError) as caught:
        connected(server.url.removesuffix("/v1")).complete(QUESTION)
    assert "no chat completions (HTTP 404): 404 page not found" in caught.value.message
    assert "$OPENAI_BASE_URL" in caught.value.hint
    assert "/v1" in caught.value.hint


@pytest.mark.parametrize(
    ("say", "keys"),
    [
        (
            refusal(
                400,
                "This model's maximum context length is 4096 tokens. However, you requested 9000",
                param="messages",
                code="context_length_exceeded",
            ),
            ["context_tokens", "answer_tokens"],
        ),
        (
            refusal(
                400,
                "'max_tokens' or 'max_completion_tokens' is too large: 200. This model's maximum "
                "context length is 128 tokens",
                param="max_tokens",
            ),
            ["answer_tokens"],
        ),
        (
            refusal(400, "max_tokens is too large: 200. This model supports at most 100"),
            ["answer_tokens"],
        ),
        (
            refusal(400, "the request exceeds the available context size, try increasing it"),
            ["context_tokens"],
        ),
        (Raw(413, b"Payload Too Large"), ["context_tokens"]),
    ],
)
def test_a_prompt_that_does_not_fit(say: Say, keys: list[str]) -> None:
    error = mended([say])
    for key in keys:
        assert f"agents.a2.{key}" in error.hint


def test_any_other_refusal_names_the_agent() -> None:
    error = mended([refusal(400, "Prefilled answers are off")])
    assert "agent a2 (HTTP 400): Prefilled answers are off" in error.message
    assert "[agents.a2]" in error.hint


# --- keys and hostile servers --------------------------------------------------------------------


def everywhere(status: int) -> Callable[[Asked], Say]:
    """Puts the key into every field."""

    def answer(asked: Asked) -> Say:
        key = asked.headers["authorization"].removeprefix("Bearer ")
        if status == 200:
            return Text(f"{key} and {key}", finish=key, model=f"m-{key}")
        hidden = key[:6] + "\u200b" + key[6:]
        return refusal(status, f"{hidden} {'x ' * 105}{key} {key}", code=key, param=key)

    return answer


@pytest.mark.parametrize("status", [200, 400, 401, 404, 429, 500])
def test_a_key_that_is_echoed_goes_no_further(
    status: int, caplog: pytest.LogCaptureFixture
) -> None:
    """Not into answers, reasons, errors, their tracebacks, or logs at the lowest level."""
    caplog.set_level(logging.DEBUG)
    other = "another-secret"
    with serving(everywhere(status)) as server:
        client = connected(server.url, retries=0, secrets=[other])
        try:
            shown = repr(client.complete(QUESTION))
        except DarwinError as error:
            shown = "".join(traceback.format_exception(error)) + repr(error) + error.hint
    assert "[removed]" in shown
    for text in (shown, repr(client), caplog.text):
        assert KEY[:8] not in text, "nor what a cut leaves of it"
    assert "Bearer" not in caplog.text


def test_other_secrets_are_taken_out_short_words_are_not() -> None:
    reply, _ = ask([Text("hunter2hunter2 is no one")], secrets=["hunter2hunter2", "one"])
    assert reply.text == "[removed] is no one"


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_no_key_follows_a_redirect(status: int) -> None:
    with ScriptedServer(script(["stolen"])) as thief:
        to = Raw(status, b"", {"Location": f"{thief.url}/chat/completions"})
        with serving([to]) as server:
            if status in (301, 308):
                with pytest.raises(DarwinError, match="has moved"):
                    connected(server.url).complete(QUESTION)
            else:
                reply = connected(server.url).complete(QUESTION)
                assert (reply.status, "another address" in reply.reason) == ("infra", True)
    assert thief.paths == []


def test_openais_own_variables_do_not_send_a_key_elsewhere(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An agent whose own address variable is not set asks OpenAI, not $OPENAI_BASE_URL."""
    with serving(["stolen"]) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        client = ChatClient(
            "tiny", key=KEY, url=None, timeout=2, retries=0, price=None, url_variable="MY_URL"
        )
        assert client.complete(QUESTION).status == "infra", "the proxy of these tests is closed"
    assert server.paths == []


def test_openais_debug_log_holds_no_key_and_no_body(tmp_path: Path) -> None:
    """OPENAI_LOG=debug, in a process of its own as it is read at import."""
    code = (
        "import sys; from darwin_git.agents.llm.client import ChatClient\n"
        "c = ChatClient('m', key=sys.argv[1], url=sys.argv[2], timeout=5, retries=0, price=None)\n"
        "ask = {'model': 'm', 'messages': [{'role': 'user', 'content': 'very private'}]}\n"
        "print(c.complete(ask).text)\n"
    )
    with serving(["a private answer"]) as server:
        done = subprocess.run(
            [sys.executable, "-c", code, KEY, server.url],
            env=os.environ | {"OPENAI_LOG": "debug"},
            capture_output=True,
            text=True,
            check=True,
        )
    assert done.stdout == "a private answer\n"
    assert "HTTP Response: POST 200" in done.stderr
    for word in (KEY, "very private", "a private answer"):
        assert word not in done.stderr


def test_a_prompt_is_not_held_up_by_the_client() -> None:
    """A megabyte of JSON that is no answer is read in a moment."""
    noise = json.dumps({"choices": [{"message": {"content": [["x"] * 1000] * 200}}]}).encode()
    started = time.monotonic()
    assert ask([Raw(200, noise)] * 2)[0].status == "infra"
    assert time.monotonic() - started < 5
