"""What a server said, read as the hostile text it is: completions, error messages, lists of models.

No shape is trusted: every field may be missing, of another type, or megabytes long.
"""

import html
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from darwin_git.domain.message import one_line

LONGEST_TEXT = 1 << 20
LONGEST_NAME = 100
LONGEST_EXCERPT = 240
LONGEST_LINE = 64 << 10
MOST_TOKENS = 10_000_000
"""A server that counts more for one call has miscounted."""
SHORTEST_SECRET = 8
REMOVED = "[removed]"

_UNWRITABLE = re.compile("[\x00\ud800-\udfff]")
_TAGS = re.compile(r"(?is)<(script|style|title)\b.*?</\1\s*>|<[^>]*>")


@dataclass(frozen=True)
class Answer:
    """A completion, or why there is none.

    Attributes:
        text: the whole answer, not yet cut.
        tokens_in, tokens_out: as the server counted; None where it did not, or not sanely.
        fault: in our words; empty for an answer that can be used.
        said: what the server said about the fault, a bounded line.
        again: another attempt may help.
    """

    text: str = ""
    finish: str = ""
    model: str = ""
    tokens_in: int | None = None
    tokens_out: int | None = None
    fault: str = ""
    said: str = ""
    again: bool = True


class Censor:
    """Takes secrets out of texts.

    Args:
        secrets: only those of at least `SHORTEST_SECRET` characters: a short word is none.
        places: addresses, taken out of what people read about an outage.
    """

    def __init__(self, secrets: Iterable[str], places: Iterable[str] = ()) -> None:
        self._secrets = _longest_first(one for one in secrets if len(one) >= SHORTEST_SECRET)
        self._places = _longest_first(one for one in places if one)

    def text(self, text: str) -> str:
        """Without secrets, NUL and lone surrogates."""
        return self._without(_UNWRITABLE.sub("\ufffd", text))

    def line(self, text: str, limit: int = LONGEST_EXCERPT) -> str:
        """One line for people, without addresses as well."""
        # A cut could leave most of a secret standing, a control character could hide one.
        text = self._without(one_line(self._without(text)[:LONGEST_LINE], LONGEST_LINE))
        for place in self._places:
            text = text.replace(place, "[address]")
        return one_line(text, limit)

    def _without(self, text: str) -> str:
        for secret in self._secrets:
            text = text.replace(secret, REMOVED)
        return text


def cut(text: str) -> tuple[str, bool]:
    """At most `LONGEST_TEXT` bytes, and whether there was more."""
    if len(text) * 4 <= LONGEST_TEXT:
        return text, False
    data = text.encode()
    return data[:LONGEST_TEXT].decode(errors="ignore"), len(data) > LONGEST_TEXT


def decode(body: bytes) -> Any:
    """The JSON value of a body; None where it is none."""
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


def read(body: bytes) -> Answer:
    """The completion in a body that came with a good status."""
    data = decode(body)
    if not isinstance(data, Mapping):
        kind = "a web page" if _is_page(body) else "nothing" if not body.strip() else "no JSON"
        return Answer(fault=f"the server answered {kind} instead of a completion")
    tokens_in, tokens_out = _usage(data.get("usage"))
    answer = Answer(
        model=one_line(_string(data.get("model")), LONGEST_NAME),
        tokens_in=tokens_in,
        tokens_out=tokens_out,
    )
    if data.get("error"):
        return _fault(answer, "the server answered an error instead of a completion", said(body))
    choices = data.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices else None
    message = choice.get("message") if isinstance(choice, Mapping) else None
    if not isinstance(choice, Mapping) or not isinstance(message, Mapping):
        return _fault(answer, "the server answered no message")
    finish = one_line(_string(choice.get("finish_reason")), LONGEST_NAME)
    return _judged(answer, finish, _content(message.get("content")), message)


def _judged(answer: Answer, finish: str, text: str, message: Mapping[str, Any]) -> Answer:
    answer = replace(answer, finish=finish, text=text)
    if finish == "content_filter":
        return _fault(answer, "the server's content filter stopped the answer", again=False)
    if finish == "error":
        return _fault(answer, "the server broke its answer off")
    if text.strip():
        return answer
    if finish == "length":
        words = "the model spent all its tokens before it answered: raise answer_tokens"
        return _fault(answer, words, again=False)
    return _fault(answer, "the model's answer was empty", _string(message.get("refusal")))


def said(body: bytes) -> str:
    """What an error's body says, from the places where servers put it; not yet cleaned."""
    data = decode(body)
    if data is None:
        text = body[:LONGEST_LINE].decode(errors="replace")
        return html.unescape(_TAGS.sub(" ", text)) if _is_page(body) else text
    return _message(data) or body[:LONGEST_LINE].decode(errors="replace")


def code(body: bytes) -> str:
    """The error's code or type, in lower case."""
    error = _error(decode(body))
    words = [_string(error.get(key)) for key in ("code", "type")]
    return " ".join(words).lower()


def named(body: bytes) -> set[str]:
    """Parameters that an error names in a field: `param`, or the last of pydantic's `loc`."""
    data = decode(body)
    names = {_string(_error(data).get("param"))}
    detail = data.get("detail") if isinstance(data, Mapping) else None
    for one in detail if isinstance(detail, list) else ():
        place = one.get("loc") if isinstance(one, Mapping) else None
        if isinstance(place, list) and place:
            names.add(_string(place[-1]))
    return names - {""}


def models(body: bytes) -> tuple[str, ...] | None:
    """Names that GET /models lists; None where the body is no such list."""
    data = decode(body)
    listed = data.get("data") if isinstance(data, Mapping) else None
    if not isinstance(listed, list):
        return None
    names = (_string(one.get("id")) for one in listed if isinstance(one, Mapping))
    return tuple(one_line(name, LONGEST_NAME) for name in names if name)


def _error(data: Any) -> Mapping[str, Any]:
    if not isinstance(data, Mapping):
        return {}
    inner = data.get("error")
    return inner if isinstance(inner, Mapping) else data


def _message(data: Any, depth: int = 4) -> str:
    if isinstance(data, str) or not depth:
        return _string(data)
    if isinstance(data, list):
        return "; ".join(filter(None, (_message(one, depth - 1) for one in data[:5])))
    if not isinstance(data, Mapping):
        return ""
    for key in ("error", "message", "detail", "msg", "error_description"):
        if found := _message(data.get(key), depth - 1):
            return found
    return ""


def _content(content: Any) -> str:
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else ()
    return "".join(map(_part, parts))


def _part(part: Any) -> str:
    """Text of one part; what a model thought aloud is no answer."""
    if isinstance(part, str):
        return part
    if not isinstance(part, Mapping) or part.get("type", "text") not in {"text", "output_text"}:
        return ""
    return _string(part.get("text"))


def _usage(usage: Any) -> tuple[int | None, int | None]:
    """Tokens of the prompt and of the answer; some servers count reasoning in the total only."""
    if not isinstance(usage, Mapping):
        return None, None
    read, written, both = (
        _tokens(usage.get(f"{name}_tokens")) for name in ("prompt", "completion", "total")
    )
    if not read:
        return None, None  # no question has none
    if written is not None and both is not None:
        written = max(written, both - read)
    return read, written


def _tokens(value: Any) -> int | None:
    sane = isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MOST_TOKENS
    return value if sane else None


def _fault(answer: Answer, fault: str, words: str = "", *, again: bool = True) -> Answer:
    return replace(answer, fault=fault, said=words, again=again)


def _is_page(body: bytes) -> bool:
    return body[:1000].lstrip().lower().startswith((b"<!doctype", b"<html", b"<head", b"<?xml"))


def _string(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _longest_first(words: Iterable[str]) -> list[str]:
    return sorted(set(words), key=len, reverse=True)
