"""What servers say, in any shape that JSON has, and in none."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from darwin_git.agents.llm import reading
from darwin_git.agents.llm.reading import Censor
from darwin_git.agents.llm.refusals import Names, outage, refusal, refused_parameter

NAMES = Names("a1", "tiny", "OPENAI_API_KEY", "OPENAI_BASE_URL", True, True)
KEYS = [
    *("choices", "message", "content", "text", "type", "finish_reason", "model", "usage", "error"),
    *(
        "prompt_tokens",
        "completion_tokens",
        "total_tokens",
        "code",
        "param",
        "detail",
        "loc",
        "msg",
    ),
    *("data", "id", "refusal"),
]
LEAVES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["text", "length", "stop", "content_filter", "temperature", "seed"])
)
SHAPES = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=5)
    ),
    max_leaves=20,
)


@settings(max_examples=250, deadline=None)
@given(SHAPES, st.sampled_from([200, 301, 302, 400, 401, 404, 413, 418, 422, 429, 500, 999]))
def test_any_json_is_an_answer_an_outage_or_a_refusal(shape: Any, status: int) -> None:
    body = json.dumps(shape).encode()
    answer = reading.read(body)
    assert answer.fault or answer.text.strip()
    assert answer.tokens_in is None or answer.tokens_in > 0
    listed = reading.models(body)
    assert listed is None or all(listed)
    payload = {"model": "m", "messages": [], "temperature": 1, "seed": 2}
    assert refused_parameter(payload, status, body) in (None, "temperature", "seed")
    line = Censor(["secret-secret"]).line
    if not outage(status, body):
        error = refusal(NAMES, status, body, line, lambda: listed)
        assert error.hint
        assert "\n" not in error.message


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_are_no_answer(body: bytes) -> None:
    assert reading.read(body).fault
    assert isinstance(Censor([]).line(reading.said(body)), str)
    assert refused_parameter({"model": "m"}, 400, body) is None


@pytest.mark.parametrize(
    "body", [b"[" * 200_000, b'{"error":' * 500 + b"1" + b"}" * 500, b"1" * 10_000, b"\xff\xfe"]
)
def test_json_that_breaks_parsers(body: bytes) -> None:
    assert reading.read(body).fault
    assert len(Censor([]).line(reading.said(body))) <= reading.LONGEST_EXCERPT


PAYLOAD = {"model": "tiny", "messages": [], "max_tokens": 9, "temperature": 1, "stop": "x", "n": 1}


@pytest.mark.parametrize(
    ("words", "name"),
    [
        ("Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead.", "max_tokens"),
        ("Unrecognized request argument supplied: max_tokens", "max_tokens"),
        ("litellm.UnsupportedParamsError: o3 does not support temperature=0.5", "temperature"),
        ("`temperature` is deprecated for this model.", "temperature"),
        ("'stop' is not supported with this model", "stop"),
        ("Invalid request: stop asking", None),
        ("temperature is high today", None),
    ],
)
def test_parameters_are_found_in_prose(words: str, name: str | None) -> None:
    body = json.dumps({"error": {"message": words}}).encode()
    assert refused_parameter(PAYLOAD, 400, body) == name


@pytest.mark.parametrize(
    ("words", "cure"),
    [
        (
            "Invalid max_tokens value, the valid range of max_tokens is [1, 8192]",
            "lower agents.a1.answer",
        ),
        ("max_tokens: 9 > 8, which is the maximum allowed number of output tokens", "a1.answer"),
        ("`max_tokens` must be less than or equal to `8192`", "a1.answer_tokens"),
        ("it has a maxOutputTokens value of 9 but the supported range is 1 to 8", "a1.answer"),
        ("`inputs` tokens + `max_new_tokens` must be <= 8193", "a1.context_tokens"),
        ("prompt is too long: 201 tokens > 200 maximum", "a1.context_tokens"),
        ("Input is too long for requested model.", "a1.context_tokens"),
        ("The model `tiny` does not exist or you do not have access to it.", "agents.a1.model"),
        ("Invalid model name passed in model=tiny", "agents.a1.model"),
        ("Conversation roles must alternate", "[agents.a1]"),
    ],
)
def test_each_refusal_has_its_cure(words: str, cure: str) -> None:
    """As real servers word them."""
    body = json.dumps({"error": {"message": words}}).encode()
    assert refused_parameter(PAYLOAD, 400, body) is None
    assert cure in refusal(NAMES, 400, body, Censor([]).line, lambda: ("big",)).hint


def test_a_model_that_is_listed_is_not_called_missing() -> None:
    body = json.dumps({"error": {"message": "model tiny: invalid tool choice"}}).encode()
    error = refusal(NAMES, 400, body, Censor([]).line, lambda: ("tiny",))
    assert "refuses the question" in error.message


SECRET = "sk-very-secret-0123456789"


@settings(max_examples=300, deadline=None)
@given(
    st.text(max_size=300),
    st.sampled_from(["", "\x1b", "\u200b", "\x00", "\u202e", "\ud800"]),
    st.integers(1, 20),
)
def test_no_line_holds_a_secret_or_a_part_of_it(around: str, hidden: str, at: int) -> None:
    """Wherever the cut falls, whatever stands between its letters."""
    spoken = SECRET[:at] + hidden + SECRET[at:]
    line = Censor([SECRET], ["http://10.0.0.7:8000/v1"]).line(
        f"{around}{SECRET} at http://10.0.0.7:8000/v1 {spoken}{around}"
    )
    assert SECRET[:10] not in line
    assert "10.0.0.7" not in line
    assert len(line) <= reading.LONGEST_EXCERPT
    assert line.isprintable()


def test_the_cut_falls_between_characters() -> None:
    text, more = reading.cut("a" + "€" * (1 << 20))
    assert more
    assert len(text.encode()) <= reading.LONGEST_TEXT
    assert set(text) == {"a", "€"}
    assert reading.cut("short") == ("short", False)
