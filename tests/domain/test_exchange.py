"""Exchanges are kept word for word, and known again by what was asked."""

import json

import pytest

from darwin_git.domain.exchange import Exchange, Reply, Usage, request_digest

REQUEST = {"model": "m", "messages": [{"role": "user", "content": "größer \udcff? ✓"[:7]}]}
REPLY = Reply("ok", "an answer", Usage(10, 5, None, 1.5, "api", 1), "stop", "m-1")
EXCHANGE = Exchange("0003/a2-on-a1", 1, 4, "a2", "propose", REQUEST, REPLY)


def test_a_file_reads_back_as_it_was_written() -> None:
    data = json.loads(json.dumps(EXCHANGE.to_json()))
    back = Exchange.from_json(data)
    assert back.reply == REPLY
    assert back.request == REQUEST
    assert back.digest == request_digest(REQUEST)
    assert back.to_json() == data


def test_the_digest_is_the_questions() -> None:
    assert request_digest(REQUEST) == request_digest(dict(reversed(REQUEST.items())))
    assert request_digest(REQUEST) != request_digest({**REQUEST, "model": "n"})


def test_another_schema_is_refused() -> None:
    with pytest.raises(ValueError, match="schema"):
        Exchange.from_json({"schema": "darwin-git/exchange/9"})
