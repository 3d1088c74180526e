"""What a token costs, from genai-prices' table on this machine: it never asks the network.

The table is only read where it is known who is paid: OpenAI where no address is set, the vendor
whose address it is otherwise. A local server may serve anything under the name "gpt-4o". Unknown is
None, never a guess. Of time-dependent prices the one of the first question holds. Cached input is
counted at the full price: an account may say more than the bill, not less.
"""

from dataclasses import dataclass
from typing import Any

MILLION = 1_000_000


@dataclass(frozen=True)
class Price:
    """US dollars for a token.

    Attributes:
        usd_in, usd_out: of the prompt and of the answer.
        above: (tokens, usd_in, usd_out): prices of the whole call where its prompt has more
            tokens than that; ascending.
    """

    usd_in: float
    usd_out: float
    above: tuple[tuple[int, float, float], ...] = ()


def price_of(
    model: str, override: tuple[float, float] | None, url: str | None = None
) -> Price | None:
    """The price, or None where nobody here knows it.

    Args:
        override: US dollars for a million tokens, in and out: it goes before the table.
        url: the base URL that is asked; None is OpenAI's.
    """
    if override is not None:
        return Price(override[0] / MILLION, override[1] / MILLION)
    from genai_prices import Usage, calc_price

    nothing = Usage(input_tokens=0, output_tokens=0)
    try:
        if url is None:
            found = calc_price(nothing, model, provider_id="openai")
        else:
            found = calc_price(nothing, model, provider_api_url=url)
    except LookupError:
        return None
    listed = found.model_price
    if listed.requests_kcount is not None:
        return None  # each request costs something, too
    return _price(listed.input_mtok, listed.output_mtok)


def cost(price: Price | None, tokens_in: int, tokens_out: int) -> float | None:
    """US dollars of a call; None where the price is unknown and anything was taken."""
    if not tokens_in and not tokens_out:
        return 0.0
    if price is None:
        return None
    usd_in, usd_out = price.usd_in, price.usd_out
    for tokens, *dearer in price.above:
        if tokens_in > tokens:
            usd_in, usd_out = dearer
    return round(tokens_in * usd_in + tokens_out * usd_out, 9)


def _price(read: Any, written: Any) -> Price | None:
    """From the table's prices for a million: numbers, or a base with tiers by the prompt's size."""
    if read is None or written is None:
        return None
    starts = {tier.start for one in (read, written) for tier in getattr(one, "tiers", ())}
    above = ((start, _at(read, start + 1), _at(written, start + 1)) for start in sorted(starts))
    return Price(_at(read, 0), _at(written, 0), tuple(above))


def _at(price: Any, tokens: int) -> float:
    dollars = getattr(price, "base", price)
    for tier in getattr(price, "tiers", ()):  # ascending
        if tokens > tier.start:
            dollars = tier.price
    return float(dollars) / MILLION
