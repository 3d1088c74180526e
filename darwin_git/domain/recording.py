"""A recorded run's answers, as a replay asks for them."""

from collections.abc import Iterable

from darwin_git.domain.exchange import Exchange


class Recording:
    """What was answered, by variant and question. Pure: a value built from exchanges."""

    def __init__(self, exchanges: Iterable[Exchange]) -> None:
        self._variants: dict[str, list[Exchange]] = {}
        for exchange in sorted(exchanges, key=lambda one: (one.variant, one.number)):
            self._variants.setdefault(exchange.variant, []).append(exchange)

    def answer(self, variant: str, digest: str, position: int) -> Exchange | None:
        """The answer to a question, else to the variant's `position`-th question, from 1.

        A question may differ from the recorded one by what another process had measured meanwhile;
        what was answered then is still what the run went on with.
        """
        known = self._variants.get(variant, [])
        for exchange in known:
            if exchange.digest == digest:
                return exchange
        return known[position - 1] if 0 < position <= len(known) else None

    def orders(self, generation: int) -> list[int]:
        """The places of a generation's exchanges in the order in which they were kept."""
        prefix = f"{generation:04d}/"
        return sorted(
            exchange.order
            for variant, known in self._variants.items()
            if variant.startswith(prefix)
            for exchange in known
        )
