"""One account of tokens and dollars: what was spent, what calls in flight may still take."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from darwin_git.domain.exchange import Usage


@dataclass(frozen=True)
class Spend:
    """A sum of usages.

    Attributes:
        usd: the priced calls' dollars.
        unpriced: calls whose price nobody knows.
        seconds: wall time of the calls, summed.
    """

    calls: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    usd: float = 0.0
    unpriced: int = 0
    seconds: float = 0.0

    @property
    def tokens(self) -> int:
        """Of prompts and answers."""
        return self.tokens_in + self.tokens_out

    def plus(self, usage: Usage) -> "Spend":
        """With one more call."""
        return Spend(
            self.calls + usage.calls,
            self.tokens_in + usage.tokens_in,
            self.tokens_out + usage.tokens_out,
            self.usd + (usage.usd or 0.0),
            self.unpriced + (usage.calls if usage.usd is None else 0),
            self.seconds + usage.seconds,
        )

    def and_(self, other: "Spend") -> "Spend":
        """Both together."""
        return Spend(
            self.calls + other.calls,
            self.tokens_in + other.tokens_in,
            self.tokens_out + other.tokens_out,
            self.usd + other.usd,
            self.unpriced + other.unpriced,
            self.seconds + other.seconds,
        )


def total(usages: Iterable[Usage], start: Spend | None = None) -> Spend:
    """The sum of usages on top of `start`."""
    spend = start or Spend()
    for usage in usages:
        spend = spend.plus(usage)
    return spend


@dataclass(frozen=True)
class Allowed:
    """Limits; None is no limit.

    Attributes:
        name: what they are called in a sentence.
        tokens, usd: of models.
        seconds: of trainings on devices.
    """

    name: str
    tokens: int | None = None
    usd: float | None = None
    seconds: float | None = None


class Account:
    """Spending under limits, of the whole run and of one command. One thread uses it.

    Args:
        before: what the run spent before this command.
        whole: limits of everything, `before` included.
        command: limits of what this command spends.
    """

    def __init__(
        self,
        before: Spend = Spend(),
        whole: Allowed = Allowed("[budget]"),
        command: Allowed = Allowed("this command"),
    ) -> None:
        self.before = before
        self.spent = Spend()
        self.whole = whole
        self.command = command
        self._reserved: dict[int, Usage] = {}
        self._tickets = 0

    def refusal(self, most: Usage) -> str:
        """Why a call that may take `most` is not made, empty where it may be."""
        if most.usd == 0.0 and not _tokens(most):
            return ""  # a program's run takes nothing of this account
        mine = total(self._reserved.values(), self.spent)
        for limits, sofar in ((self.command, mine), (self.whole, self.before.and_(mine))):
            next_ = sofar.plus(replace(most, calls=1))
            if limits.tokens is not None and next_.tokens > limits.tokens:
                return (
                    f"{limits.name} allows {limits.tokens:,} tokens of models: {sofar.tokens:,} "
                    f"are spent or promised, and the next call may take {_tokens(most):,}"
                )
            if limits.usd is not None and most.usd is None:
                return (
                    f"{limits.name} allows {limits.usd:g} USD, and the next call's price is unknown"
                )
            if limits.usd is not None and not next_.usd <= limits.usd:
                return (
                    f"{limits.name} allows {limits.usd:g} USD: {sofar.usd:.4f} are spent or "
                    f"promised, and the next call may take {most.usd or 0.0:.4f}"
                )
        return ""

    def reserve(self, most: Usage) -> int:
        """Promise a call in flight the most that it may take; a ticket for `settle`."""
        self._tickets += 1
        self._reserved[self._tickets] = replace(most, calls=1)
        return self._tickets

    def settle(self, ticket: int, usage: Usage) -> None:
        """The call has ended: what it took takes the promise's place."""
        del self._reserved[ticket]
        self.spent = self.spent.plus(usage)

    @property
    def total(self) -> Spend:
        """Of the whole run, calls in flight not counted."""
        return self.before.and_(self.spent)


def _tokens(usage: Usage) -> int:
    return usage.tokens_in + usage.tokens_out
