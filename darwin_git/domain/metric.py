"""The number that counts, and how its losses, gains and changes read.

Everything decides on *losses*, smaller is better, and on gains, differences of two losses: nats per
token for a GPT. A person's own metric becomes a loss here, and is read back from one here.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal


@dataclass(frozen=True)
class Metric:
    """A number and what is better.

    With scale ``log`` the loss is ln(value), or -ln(value) where more is better: ratios count, so
    that 2 to 1 is as good as 200 to 100. With ``linear`` it is the value, or minus it.

    Attributes:
        name: as the measuring program calls it.
        direction: ``min`` where less is better.
        scale: ``log`` or ``linear``.
    """

    name: str
    direction: Literal["min", "max"] = "min"
    scale: Literal["log", "linear"] = "log"

    @property
    def unit(self) -> str:
        """Of losses and gains, after a number in a sentence."""
        if self == PERPLEXITY:
            return "nats per token"
        return f"of ln {self.name}" if self.scale == "log" else f"of {self.name}"

    def loss(self, value: float) -> float:
        """The loss of a value; raises ValueError where the scale has no place for it."""
        if not math.isfinite(value):
            raise ValueError("it is not finite")
        if self.scale == "log":
            if value <= 0.0:
                raise ValueError('it must be above 0 with metric.scale = "log"')
            value = math.log(value)
        return value if self.direction == "min" else -value

    def value(self, loss: float) -> float:
        """The value of a loss; of a mean loss with scale ``log`` that is the geometric mean."""
        signed = loss if self.direction == "min" else -loss
        return math.exp(signed) if self.scale == "log" else signed

    def change(self, gain: float) -> float:
        """What a gain does to the value: percent with scale ``log``, else a difference."""
        signed = -gain if self.direction == "min" else gain
        return 100.0 * math.expm1(signed) if self.scale == "log" else signed

    def change_words(self, gain: float | None, places: int | None = 2) -> str:
        """The change as text without the name; `places` None gives two significant digits.

        A difference has the metric's own units, so it is told in significant digits always.
        """
        if gain is None:
            return "-"
        if self.scale == "linear":
            return f"{self.change(gain):+.3g}" if gain else "0"
        if abs(self.change(gain)) >= 1e6:
            return f"{self.change(gain):+.3g} %"
        if places is None:
            return f"{digits(self.change(gain), sign=True)} %"
        return f"{self.change(gain):+.{places}f} %" if gain else "0 %"

    def in_words(self, gain: float, places: int | None = 1) -> str:
        """The change with the metric's name: ``-1.2 % perplexity``, ``+0.013 accuracy``."""
        return f"{self.change_words(gain, places)} {self.name}"

    def spread_words(self, sd: float) -> str:
        """A standard error beside changes."""
        return f"+- {100 * sd:.2f}" if self.scale == "log" else f"+- {sd:.2g}"

    def value_words(self, loss: float, places: int = 3) -> str:
        """The value of a loss as text."""
        value = self.value(loss)
        return f"{value:.{places}f}" if self == PERPLEXITY else f"{value:.6g}"

    def to_json(self) -> dict[str, Any]:
        """The JSON object that `of` reads."""
        return asdict(self)

    @classmethod
    def of(cls, data: Mapping[str, Any] | None) -> "Metric":
        """The metric of a JSON object; perplexity where it names none, as a GPT's does."""
        if not data or "name" not in data:
            return PERPLEXITY
        return cls(data["name"], data["direction"], data["scale"])


PERPLEXITY = Metric("perplexity")
"""exp of the mean cross-entropy per token: what a GPT is measured by."""


def digits(number: float, sign: bool = False) -> str:
    """Two significant digits under 10, so that 0.031 does not read as 0.0."""
    places = 1 if abs(number) >= 1.0 else 2
    if 0.0 < abs(number) < 0.1:
        places = 1 - math.floor(math.log10(abs(number)))
    return f"{number:{'+' if sign else ''}.{places}f}"
