"""Counting and pricing on a machine without a network."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import tiktoken
import tiktoken.registry
from hypothesis import given, settings
from hypothesis import strategies as st

from darwin_git.agents.llm import tokens
from darwin_git.agents.llm.prices import Price, cost, price_of
from darwin_git.agents.llm.tokens import PIECE, TokenCounter

WORDS = [b"learning", b"rate", b"<|endoftext|>", b"aa", b"aaaa", b"aaaaaaaa"]


def real_table() -> tiktoken.Encoding:
    """tiktoken's own machine with a small table: bytes, and what a few words are merged from."""
    ranks = {bytes([byte]): byte for byte in range(256)}
    for word in WORDS:
        for end in range(2, len(word) + 1):
            ranks.setdefault(word[:end], len(ranks))
    return tiktoken.Encoding(
        "o200k_base",
        pat_str=r"\p{L}+|\p{N}+|[^\p{L}\p{N}\s]+|\s+",
        mergeable_ranks=ranks,
        special_tokens={"<|endoftext|>": len(ranks)},
    )


SMALL = real_table()


@pytest.fixture
def table(monkeypatch: pytest.MonkeyPatch) -> tiktoken.Encoding:
    """A machine that has the table."""
    monkeypatch.setitem(tiktoken.registry.ENCODINGS, "o200k_base", SMALL)
    monkeypatch.setattr(tokens, "_tables", {})
    return SMALL


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A machine without it, and without a network."""
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(tiktoken.registry, "ENCODINGS", {})
    monkeypatch.setattr(tokens, "_tables", {})


@contextmanager
def at_most(seconds: float) -> Iterator[None]:
    started = time.monotonic()
    yield
    assert time.monotonic() - started < seconds


def test_tiktoken_counts_where_it_can(table: tiktoken.Encoding) -> None:
    counter = TokenCounter("any-model-at-all")
    text = "learning rate 10\n"
    assert counter.name == "tiktoken"
    assert counter.count(text) == len(table.encode(text)) == 7
    assert counter.count("") == 0
    both = [{"role": "user", "content": text}, {"role": "assistant", "content": None}]
    assert counter.count_messages(both) == 7 + 2 * tokens.MESSAGE_TOKENS


def test_a_special_tokens_name_is_text(table: tiktoken.Encoding) -> None:
    text = "<|endoftext|>"
    assert len(table.encode(text, allowed_special="all")) == 1
    assert TokenCounter("m").count(text) == len(table.encode_ordinary(text)) > 1


def test_what_was_counted_costs_nothing_again(
    table: tiktoken.Encoding, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same file in a hundred prompts, by several agents; the memory is bounded."""
    monkeypatch.setattr(tokens, "REMEMBERED", 10)
    counter = TokenCounter("m")
    text = "learning = 1\n" * 20_000
    number = counter.count(text)
    with at_most(0.5):
        assert {TokenCounter("another").count(text) for _ in range(100)} == {number}
    for other in range(50):
        counter.count(str(other))
    assert len(counter._table._counted) == 10


def test_a_megabyte_of_one_letter(table: tiktoken.Encoding) -> None:
    with at_most(5):
        number = TokenCounter("m").count("a" * 1_000_000)
    assert 100_000 <= number <= 130_000


def test_pieces_do_not_change_what_lines_count(table: tiktoken.Encoding) -> None:
    text = "learning = rate\n" * 2000
    assert len(text) > 5 * PIECE
    assert TokenCounter("m").count(text) == pytest.approx(len(table.encode(text)), rel=0.01)


@settings(max_examples=300, deadline=None)
@given(st.text(st.characters(), max_size=300))
def test_any_text_has_a_count(text: str) -> None:
    """Lone surrogates, NULs, private characters."""
    counted = tokens._Table(SMALL).count(text)
    assert 0 <= counted <= 4 * len(text)
    assert 0 <= tokens._Table(None).count(text) <= len(text)


def test_bytes_are_counted_offline(offline: None) -> None:
    with at_most(tokens.WAIT_SECONDS):
        counter = TokenCounter("gpt-4o")
        assert counter.name == "bytes"
    assert counter.count("abcde") == 2
    assert counter.count("ä" * 4) == 2
    assert counter.count("half \udcff a character") > 0


def test_a_network_that_hangs_is_tried_once(offline: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """tiktoken has no time-out: a proxy that takes the connection and says nothing."""
    import socket

    monkeypatch.setattr(tokens, "WAIT_SECONDS", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{silent.getsockname()[1]}")
        names: list[str] = []
        threads = [
            threading.Thread(target=lambda: names.append(TokenCounter("m").name)) for _ in range(4)
        ]
        with at_most(3):
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        with at_most(0.3):
            assert TokenCounter("another model").name == "bytes"
        assert names == ["bytes"] * 4


def test_a_process_ends_while_the_network_hangs(tmp_path: Path) -> None:
    import socket

    code = (
        "from darwin_git.agents.llm import tokens; tokens.WAIT_SECONDS = 0.3\n"
        "print(tokens.TokenCounter('m').name)\n"
    )
    with socket.create_server(("127.0.0.1", 0)) as silent:
        proxy = f"http://127.0.0.1:{silent.getsockname()[1]}"
        done = subprocess.run(
            [sys.executable, "-c", code],
            env=os.environ | {"HTTPS_PROXY": proxy, "TIKTOKEN_CACHE_DIR": str(tmp_path)},
            capture_output=True,
            text=True,
            timeout=20,
            check=True,
        )
    assert (done.stdout, done.stderr) == ("bytes\n", "")


# --- prices --------------------------------------------------------------------------------------


def test_prices_come_from_the_table_on_this_machine(offline: None) -> None:
    price = price_of("gpt-4o-mini", None)
    assert price == Price(pytest.approx(0.15e-6), pytest.approx(0.6e-6))
    assert cost(price, 1_000_000, 100_000) == pytest.approx(0.21)
    assert price_of("gpt-4o-mini", None, "https://api.openai.com/v1") == price
    assert price_of("deepseek-chat", None, "https://api.deepseek.com/v1") is not None


def test_no_price_is_guessed() -> None:
    """A local server may call anything gpt-4o; a vendor has no model of another."""
    assert price_of("gpt-4o", None, "http://localhost:11434/v1") is None
    assert price_of("gpt-4o", None, "http://127.0.0.1:8000/v1") is None
    assert price_of("gpt-4o", None, "https://gateway.example.com/v1") is None
    assert price_of("gpt-4o", None, "https://api.deepseek.com/v1") is None
    assert price_of("gpt-of-tomorrow-7", None) is None
    assert price_of("claude-sonnet-4-5", None) is None, "without an address OpenAI is asked"
    assert cost(None, 10, 1) is None
    assert cost(None, 0, 0) == 0.0, "nothing was taken"


def test_a_person_knows_better() -> None:
    price = price_of("gpt-4o", (1.25, 10.0), "http://localhost:8000/v1")
    assert cost(price, 2_000_000, 100_000) == pytest.approx(3.5)
    assert cost(price_of("own", (0.0, 0.0)), 10**6, 10**6) == 0.0


def test_long_prompts_are_dearer_where_the_vendor_says_so() -> None:
    price = Price(1e-6, 1e-5, ((200_000, 2e-6, 1.5e-5),))
    assert cost(price, 200_000, 1000) == pytest.approx(0.2 + 0.01)
    assert cost(price, 200_001, 1000) == pytest.approx(0.400002 + 0.015)
    listed = price_of("gpt-5.5", None)
    assert listed is not None
    assert [step[0] for step in listed.above], "the table has its tiers"
    assert cost(listed, 1000, 1000) == pytest.approx(0.035)


def test_every_model_of_the_table_can_be_looked_up() -> None:
    """Vendors price by token, request, character, image: nothing of it is an error here."""
    from genai_prices.data import providers

    found = 0
    for provider in providers:
        if provider.id not in ("openai", "anthropic", "google", "groq", "mistral", "perplexity"):
            continue
        for model in provider.models:
            price = _of(provider.id, model.id)
            found += price is not None
            assert price is None or (price.usd_in >= 0 and price.usd_out >= 0)
    assert found > 100


def _of(provider: str, model: str) -> Price | None:
    hosts = {
        "openai": None,
        "anthropic": "https://api.anthropic.com/v1",
        "google": "https://generativelanguage.googleapis.com/v1beta/openai",
        "groq": "https://api.groq.com/openai/v1",
        "mistral": "https://api.mistral.ai/v1",
        "perplexity": "https://api.perplexity.ai",
    }
    return price_of(model, None, hosts[provider])
