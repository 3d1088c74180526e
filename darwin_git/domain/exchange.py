"""What was asked of a model, or of a person's program, and what came back: kept word for word.

An exchange is published before its answer is used, so a killed step asks nobody twice, a commit can
name what it came from, and a recorded run can be played again without a key.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from darwin_git.domain.records import canonical_json

SCHEMA = "darwin-git/exchange/1"
DIGEST_LENGTH = 32

Status = Literal["ok", "infra"]
Purpose = Literal["propose", "format", "repair", "resolve", "reflect"]


@dataclass(frozen=True)
class Usage:
    """What one call took.

    Attributes:
        tokens_in, tokens_out: of the prompt and of the answer, reasoning included.
        usd: price in US dollars; None where no price is known: never guessed.
        seconds: wall time by our clock.
        counted: who counted the tokens: the server ("api"), tiktoken, or bytes / 4 ("bytes").
        calls: 1 for a call, 0 for what is none.
    """

    tokens_in: int = 0
    tokens_out: int = 0
    usd: float | None = 0.0
    seconds: float = 0.0
    counted: str = ""
    calls: int = 0

    def plus(self, other: "Usage") -> "Usage":
        """Both together; a price that is unknown for one is unknown for both."""
        unknown = self.usd is None or other.usd is None
        return Usage(
            self.tokens_in + other.tokens_in,
            self.tokens_out + other.tokens_out,
            None if unknown else (self.usd or 0.0) + (other.usd or 0.0),
            self.seconds + other.seconds,
            self.counted if self.counted == other.counted else self.counted or other.counted,
            self.calls + other.calls,
        )


@dataclass(frozen=True)
class Reply:
    """What came back.

    Attributes:
        status: ``infra``: nobody's fault (rate limit, outage, an empty answer); `reason` says what.
        text: the answer, at most 1 MiB, the caller's secrets taken out.
        finish: why the answer ended, in the server's word: "stop", "length" …
        model: which model answered, in the server's word.
    """

    status: Status
    text: str = ""
    usage: Usage = Usage()
    finish: str = ""
    model: str = ""
    reason: str = ""


@dataclass(frozen=True)
class Exchange:
    """One question with its answer, a file of refs/darwin/exchange.

    Attributes:
        variant: ``0003/a2-on-a1``; ``0003/reflect`` for what belongs to no variant.
        number: of the variant's exchanges, from 1.
        order: of the generation's exchanges as they were kept, from 1.
        agent: who asked.
        request: everything that went out, without keys and addresses.
    """

    variant: str
    number: int
    order: int
    agent: str
    purpose: Purpose
    request: Mapping[str, Any]
    reply: Reply
    digest: str = field(default="")

    def to_json(self) -> dict[str, Any]:
        """The file's JSON object."""
        return {
            "schema": SCHEMA,
            **self.__dict__,
            "reply": asdict(self.reply),
            "digest": self.digest or request_digest(self.request),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Exchange":
        """The exchange that `to_json` wrote. Raises ValueError for anything else."""
        if data.get("schema") != SCHEMA:
            raise ValueError(f"schema {data.get('schema')!r} is not {SCHEMA}")
        values = {key: value for key, value in data.items() if key != "schema"}
        reply = dict(values.pop("reply"))
        usage = Usage(**reply.pop("usage"))
        return cls(**values, reply=Reply(**reply, usage=usage))


def request_digest(request: Mapping[str, Any]) -> str:
    """sha256[:32] of the canonical JSON: the same question is not paid for twice."""
    return hashlib.sha256(canonical_json(request).encode()).hexdigest()[:DIGEST_LENGTH]
