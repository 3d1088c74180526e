"""Where the exchanges of one generation lie: those in git, and in which order new ones come."""

import functools
import threading
from dataclasses import dataclass, field

from darwin_git.domain.exchange import Exchange, Reply, Usage
from darwin_git.domain.recording import Recording
from darwin_git.ports import History

PATIENCE = 5.0
"""Seconds without an answer after which a replay takes it that one was asked for in vain: by a step
that was killed, and put its question differently when it went on."""


@dataclass
class Desk:
    """The exchanges of one generation: those in git, and the order of new ones.

    Attributes:
        recording: plays recorded answers in place of asking; None asks.
        known: exchanges in git by variant.
        used: questions asked so far by variant, for the recording.
        order: of the last exchange kept.
        published: by variant, what its next commit names in its trailers.
        turns, waiting: orders of recorded answers that are still to come, and those waited for.
    """

    recording: Recording | None = None
    known: dict[str, list[Exchange]] = field(default_factory=dict)
    used: dict[str, int] = field(default_factory=dict)
    order: int = 0
    published: dict[str, list[tuple[str, Exchange]]] = field(default_factory=dict)
    turn: threading.Condition = field(default_factory=threading.Condition)
    turns: list[int] = field(default_factory=list)
    waiting: set[int] = field(default_factory=set)

    def open(self, history: History, generation: int) -> None:
        """Read what an interrupted step published already."""
        self.known.clear()
        self.used.clear()
        self.published.clear()
        found = history.exchanges(f"{generation:04d}")
        for exchange in found:
            self.known.setdefault(exchange.variant, []).append(exchange)
        self.order = max((exchange.order for exchange in found), default=0)
        with self.turn:
            self.turns = self.recording.orders(generation) if self.recording else []

    def recall(self, variant: str, digest: str) -> Exchange | None:
        """The answer that git holds to this question; an outage is no answer."""
        for exchange in self.known.get(variant, ()):
            if exchange.digest == digest and exchange.reply.status == "ok":
                return exchange
        return None

    def number(self, variant: str, digest: str) -> int:
        """Where an exchange is kept: over the outage of the same question, or after the others."""
        known = self.known.get(variant, [])
        same = [e.number for e in known if e.digest == digest]
        return same[0] if same else max((e.number for e in known), default=0) + 1

    def with_outages(self, variant: str, digest: str, reply: Reply) -> Usage:
        """What an answer took, with the outages of the same question that it is kept over.

        An empty answer, or one that came too late, may have been paid for.
        """
        earlier = [e.reply.usage for e in self.known.get(variant, []) if e.digest == digest]
        return functools.reduce(Usage.plus, earlier, reply.usage)

    def await_turn(self, order: int) -> None:
        """In a replay: let answers come in the order in which they came."""
        with self.turn:
            self.waiting.add(order)
            while order in self.turns and self.turns[0] != order:
                if not self.turn.wait(PATIENCE) and self.turns[0] not in self.waiting:
                    del self.turns[0]
                    self.turn.notify_all()
            self.waiting.discard(order)

    def kept(self, exchange: Exchange) -> None:
        """An exchange is in git: remember it, and let the next one of a replay come."""
        known = self.known.setdefault(exchange.variant, [])
        known[:] = [e for e in known if e.number != exchange.number] + [exchange]
        with self.turn:
            if exchange.order in self.turns:
                self.turns.remove(exchange.order)
            self.turn.notify_all()
