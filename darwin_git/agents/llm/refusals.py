"""What a status that is no 200 means: an outage, a parameter to leave out, or a person's task."""

import difflib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from darwin_git.agents.llm import reading
from darwin_git.errors import DarwinError

RENAMED = {"max_tokens": "max_completion_tokens"}
"""Left out, a limit would be none: it gets the name that reasoning models want instead."""
NEVER_LEFT_OUT = frozenset({"model", "messages", *RENAMED.values()})
MOST_MODELS = 12

_OUTAGES = {
    402: "no credit is left at the server",
    408: "the server gave up waiting",
    409: "the server met a conflict",
    425: "the server was not ready",
    429: "the rate limit was reached",
    502: "the server behind the gateway failed",
    503: "the server was not available",
    504: "the server behind the gateway did not answer in time",
    529: "the server was overloaded",
}
_PASSING_REDIRECTS = (302, 303, 307)
_TOO_LONG = re.compile(
    r"(?i)context[ _-](length|window|size)|maximum (context|prompt|input)|(prompt|input|request|"
    r"message)s? (is|are) too (long|large)|reduce the length|too many (input )?tokens|n_ctx|"
    r"tokens \+ \W?max_new_tokens"
)
_ANSWER_TOO_LONG = re.compile(
    r"(?i)max_?(completion_?|output_?)?tokens\W+(or \W*max_completion_tokens\W+)?(value of|is too|"
    r"are too|too|must be|exceeds|should be|\d+ >)|range of max_tokens|"
    r"(at most \d+|number of) (completion|output) tokens"
)
_NO_MODEL = re.compile(
    r"(?i)model.{0,120}(not[ _]found|not exist|unknown|invalid|not a valid|no such|not available|"
    r"not supported)|(unknown|invalid|no such|not a valid)[ _](chat )?model"
)
_NOT_KNOWN = re.compile(
    r"(?i)(un|not )support|unknown|unrecogni|unexpected|not (permitted|allowed|accepted)|"
    r"extra (inputs|fields)|deprecated|cannot be (set|used)|instead"
)
_NOT_TAKEN = re.compile(rf"{_NOT_KNOWN.pattern}|invalid")
_NO_SYSTEM = re.compile(
    r"(?i)(system|developer) (role|message|prompt|instruction)s?\b.{0,40}"
    r"(not (be )?(support|allow|enabl|accept)|unsupported)|"
    r"only user(, | and | or )+(assistant|model)\b.{0,20}roles|roles must alternate"
)


@dataclass(frozen=True)
class Names:
    """How messages name what a person has set.

    Attributes:
        agent: ``a1``.
        keyed: the environment has a key for it.
        elsewhere: the environment has an address for it.
    """

    agent: str
    model: str
    key_variable: str
    url_variable: str
    keyed: bool
    elsewhere: bool

    @property
    def place(self) -> str:
        """The server, without its address."""
        return f"the server at ${self.url_variable}" if self.elsewhere else "OpenAI's server"

    def setting(self, key: str) -> str:
        """A key of darwin.toml."""
        return f"agents.{self.agent}.{key}"


def outage(status: int, body: bytes) -> str:
    """What happened where it is nobody's fault, in our words; empty where it is not that."""
    code = reading.code(body)
    if "insufficient_quota" in code:
        return f"no quota is left for this key (HTTP {status})"
    if "content_filter" in code:
        return f"the server's content filter refused the question (HTTP {status})"
    if status in _PASSING_REDIRECTS:
        return f"the server sends to another address, where no key is sent (HTTP {status})"
    if status in _OUTAGES:
        return f"{_OUTAGES[status]} (HTTP {status})"
    return f"the server failed (HTTP {status})" if status >= 500 else ""


def refused_parameter(payload: Mapping[str, Any], status: int, body: bytes) -> str | None:
    """The parameter of `payload` that the server does not take, if that is what it says."""
    words = reading.said(body)[: reading.LONGEST_LINE]
    if status not in (400, 422) or _is_too_long(words, body):
        return None
    # Longest first: a name may stand within another's.
    candidates = sorted(payload.keys() - NEVER_LEFT_OUT, key=lambda name: (-len(name), name))
    fields = reading.named(body)
    for name in candidates:
        # What has another name is only renamed where the name is what the server does not know.
        known = name in RENAMED and not _NOT_KNOWN.search(words)
        if not known and (name in fields or (not fields and _names(words, name))):
            return name
    return None


def _names(words: str, name: str) -> bool:
    # A short name is a word of any sentence: it counts in quotation marks only.
    edge = r"\b" if len(name) >= 8 or "_" in name else "['\"`]"
    named = re.search(f"(?i){edge}{re.escape(name)}{edge}", words)
    return bool(named and _NOT_TAKEN.search(words))


def refuses_system(payload: Mapping[str, Any], body: bytes) -> bool:
    """Whether a server says that its model knows no system role, and the question has one."""
    # As Gemma's chat template does, which some servers report as a failure of their own.
    has = any(message.get("role") == "system" for message in payload["messages"])
    return has and _NO_SYSTEM.search(reading.said(body)[: reading.LONGEST_LINE]) is not None


def without_system(messages: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The system's text at the start of the first question."""
    said = [str(one["content"]) for one in messages if one["role"] == "system"]
    rest = [one for one in messages if one["role"] != "system"]
    if not said or not rest:
        return list(messages)
    first = "\n\n".join((*said, str(rest[0]["content"])))
    return [{**rest[0], "content": first}, *rest[1:]]


def refusal(
    names: Names,
    status: int,
    body: bytes,
    line: Callable[[str], str],
    listed: Callable[[], tuple[str, ...] | None],
) -> DarwinError:
    """What a person must mend, with its cure.

    Args:
        line: makes a server's text fit to be shown.
        listed: asks the server for its models; None where it lists none.
    """
    words = reading.said(body)[: reading.LONGEST_LINE]
    shown = line(words)
    tail = f" (HTTP {status}): {shown}" if shown else f" (HTTP {status})"
    if status in (401, 403, 407):
        return _no_entry(names, status, tail)
    if status == 413 or _is_too_long(words, body):
        return _too_long(names, words, tail)
    if status in (301, 308):
        return DarwinError(
            f"{names.place} has moved{tail}; a key is not sent after it",
            hint=f"set ${names.url_variable} to the address that answers itself",
        )
    missing = "model_not_found" in reading.code(body) or bool(_NO_MODEL.search(words))
    models = listed() if status == 404 or missing else None
    if (missing or models is not None) and names.model not in (models or ()):
        return no_model(names, models, tail)
    if status in (404, 405):
        return DarwinError(
            f"{names.place} has no chat completions{tail}",
            hint=f"correct the address in ${names.url_variable}: it usually ends in /v1",
        )
    return DarwinError(
        f"{names.place} refuses the question of agent {names.agent}{tail}",
        hint=f"correct the settings under [agents.{names.agent}] in darwin.toml",
    )


def _is_too_long(words: str, body: bytes) -> bool:
    code = reading.code(body)
    named = "context_length" in code or "context_size" in code
    return named or bool(_TOO_LONG.search(words) or _ANSWER_TOO_LONG.search(words))


def _too_long(names: Names, words: str, tail: str) -> DarwinError:
    prompt, answer = names.setting("context_tokens"), names.setting("answer_tokens")
    if _ANSWER_TOO_LONG.search(words):
        return DarwinError(
            f"{names.model} does not write answers that long{tail}",
            hint=f"lower {answer} in darwin.toml",
        )
    return DarwinError(
        f"question and answer do not fit the context of {names.model}{tail}",
        hint=f"lower {prompt} in darwin.toml, or {answer}",
    )


def _no_entry(names: Names, status: int, tail: str) -> DarwinError:
    if status == 407:
        return DarwinError(f"the proxy wants a password{tail}", hint="set it in $HTTPS_PROXY")
    if not names.keyed:
        return DarwinError(
            f"{names.place} wants a key, and ${names.key_variable} is not set{tail}",
            hint=f"export {names.key_variable}=…",
        )
    return DarwinError(
        f"{names.place} refuses the key in ${names.key_variable}{tail}",
        hint=f"export {names.key_variable} with a key of that server that may use {names.model}",
    )


def no_model(names: Names, models: tuple[str, ...] | None, tail: str = "") -> DarwinError:
    """The model is unknown where it is asked for.

    Args:
        models: what the server lists, if it does.
    """
    hint = f"correct {names.setting('model')} in darwin.toml"
    if models:
        near = difflib.get_close_matches(names.model, models, n=3, cutoff=0.5)
        first = [*near, *(one for one in models if one not in near)]
        more = "" if len(first) <= MOST_MODELS else f" and {len(first) - MOST_MODELS} more"
        hint += f"; the server has {', '.join(first[:MOST_MODELS])}{more}"
    return DarwinError(f"{names.place} has no model {names.model}{tail}", hint=hint)
