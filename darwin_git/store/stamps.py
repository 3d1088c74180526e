"""What a replay needs beside its code so that its commits are the recorded ones."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from darwin_git.domain.exchange import Exchange, request_digest
from darwin_git.domain.records import canonical_json
from darwin_git.store.objects import clean_message, clean_person

_Key = tuple[str, tuple[str, ...], str]


class Stamps:
    """Who made which recorded commit when, in which order was measured, and what was asked.

    Commits and records are found by what they say, exchanges by their names.

    Args:
        commits: (id, raw content) of every commit of the recording.
        records: of the recording's notes.
        exchanges: of the recording.

    Attributes:
        otherwise: names of exchanges whose question is not the recorded one.
    """

    def __init__(
        self,
        commits: Iterable[tuple[str, bytes]],
        records: Iterable[Mapping[str, Any]] = (),
        exchanges: Iterable[Exchange] = (),
    ) -> None:
        self.otherwise: list[str] = []
        self._exchanges = {(one.variant, one.number): one for one in exchanges}
        self._places = {_said(record): record["seq"] for record in records}
        self._commits: set[str] = set()
        self._people: defaultdict[_Key, list[tuple[str, str]]] = defaultdict(list)
        for oid, raw in commits:
            self._commits.add(oid)
            self._remember(raw.decode(errors="replace"))

    def __contains__(self, commit: str) -> bool:
        """Whether the recording has this commit."""
        return commit in self._commits

    def __len__(self) -> int:
        """How many commits the recording has."""
        return len(self._commits)

    def _remember(self, raw: str) -> None:
        head, _, message = raw.partition("\n\n")
        lines = [line.partition(" ") for line in head.split("\n")]
        fields = {key: text for key, _, text in lines}
        parents = tuple(text for key, _, text in lines if key == "parent")
        key = fields["tree"], parents, message
        self._people[key].append((fields["author"], fields["committer"]))

    def people(
        self, tree: str, parents: Sequence[str], message: str, author: tuple[str, str] | None
    ) -> tuple[str, str] | None:
        """(author, committer) of the recorded commit, as its object has them; None without one.

        Args:
            author: None is the person who ran the tool: whoever that was.
        """
        found = self._people.get((tree, tuple(parents), clean_message(message)), [])
        if author is None:
            own = [both for both in found if _person(both[0]) == _person(both[1])]
            return next(iter([*own, *found]), None)
        wanted = f"{clean_person(author[0])} <{clean_person(author[1])}>"
        return next((both for both in found if _person(both[0]) == wanted), None)

    def place(self, record: Mapping[str, Any]) -> int | None:
        """``seq`` of the recorded record that says the same; None without one."""
        return self._places.get(_said(record))

    def asked(self, exchange: Exchange) -> Exchange:
        """The exchange as it is kept: the recorded one, where its answer is this one's.

        A question can depend on what another process had measured meanwhile. The commits name the
        question that was asked, which is the recorded one.
        """
        found = self._exchanges.get((exchange.variant, exchange.number))
        if found is None or (found.reply, found.order) != (exchange.reply, exchange.order):
            return exchange
        if found.digest != (exchange.digest or request_digest(exchange.request)):
            self.otherwise.append(f"{exchange.variant}/{exchange.number}")
        return found


def _said(record: Mapping[str, Any]) -> str:
    return canonical_json({k: v for k, v in record.items() if k not in ("id", "seq")})


def _person(signature: str) -> str:
    """``Name <email>`` of ``Name <email> seconds zone``."""
    return signature.rsplit(" ", 2)[0]
