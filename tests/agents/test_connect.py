"""Keys and addresses from the environment."""

from typing import Any

import pytest

from darwin_git.agents.llm.connect import connect
from darwin_git.config import Agent
from darwin_git.errors import DarwinError
from tests.llm_server import ScriptedServer, script

LOCAL = "http://localhost:8000/v1"


def agent(**more: Any) -> Agent:
    return Agent(**({"kind": "llm", "model": "gpt-4o-mini", "retries": 0} | more))


def fault(environ: dict[str, str], **more: Any) -> DarwinError:
    with pytest.raises(DarwinError) as caught:
        connect("a3", agent(**more), environ)
    return caught.value


def test_each_agent_may_name_its_own_variables() -> None:
    """Two agents, two servers, two keys."""
    first = ScriptedServer(script(["one"]), keys=["first-key"])
    second = ScriptedServer(script(["two"]), keys=["second-key"])
    with first, second:
        environ = {
            "OPENAI_API_KEY": "first-key",
            "OPENAI_BASE_URL": first.url,
            "MY_KEY": "second-key",
            "MY_URL": f" {second.url}/ ",
        }
        mine = agent(key_variable="MY_KEY", url_variable="MY_URL")
        clients = [connect("a1", agent(), environ), connect("a2", mine, environ)]
        question = {"model": "m", "messages": [{"role": "user", "content": "?"}]}
        assert [client.complete(question).text for client in clients] == ["one", "two"]


def test_without_a_key_and_a_server_there_is_a_cure() -> None:
    error = fault({}, key_variable="MY_KEY")
    assert error.message == "agent a3 (gpt-4o-mini) has no key: $MY_KEY is not set"
    assert "export MY_KEY=…, or OPENAI_BASE_URL=http://…" in error.hint


def test_a_local_server_needs_no_key_and_has_no_price() -> None:
    with ScriptedServer(script(["fine"])) as server:
        client = connect("a1", agent(), {"OPENAI_BASE_URL": server.url})
        assert client.complete({"model": "m", "messages": []}).text == "fine"
    assert server.requests[0].headers["authorization"] == "Bearer none"
    assert client.price is None
    assert connect("a1", agent(), {"OPENAI_API_KEY": "sk-abcdefgh"}).price is not None


@pytest.mark.parametrize("key", ["sk-abc\ndef", "sk abc", "sk-abc\n", "sk-äbc", " ", "sk-\x1babc"])
def test_a_key_that_cannot_be_is_refused_unseen(key: str) -> None:
    for environ in ({}, {"OPENAI_BASE_URL": LOCAL}):
        error = fault(environ | {"OPENAI_API_KEY": key})
        assert "$OPENAI_API_KEY" in error.message
        assert key.strip()[:6] not in error.message + error.hint or not key.strip()


@pytest.mark.parametrize(
    "url",
    [
        "localhost:8000",
        "ftp://host/v1",
        "file:///etc/passwd",
        "http://",
        "http://:8000/v1",
        "http://host:99999/v1",
        "http://[::1/v1",
        "http://ho st/v1",
        "http://host/v1\r\nX: y",
        "https://user:password@host/v1",
        "https://token@host/v1",
        "https://host/v1?key=abc",
    ],
)
def test_an_address_that_cannot_be_is_refused(url: str) -> None:
    error = fault({"OPENAI_BASE_URL": url, "OPENAI_API_KEY": "sk-abcdefgh"})
    assert "$OPENAI_BASE_URL" in error.message
    assert "password@" not in error.message + error.hint
