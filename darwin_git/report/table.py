"""What the texts for people are made of."""

from collections.abc import Mapping, Sequence
from typing import Any

from darwin_git.domain.statistics import perplexity_change

Data = Mapping[str, Any]


def table(rows: Sequence[Sequence[str]], head: Sequence[str]) -> str:
    """Columns aligned to the left, the last one free."""
    widths = [max(len(row[i]) for row in (head, *rows)) for i in range(len(head))]
    lines = []
    for row in (head, *rows):
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def percent(gain: float | None) -> str:
    """A gain in nats per token as a change of perplexity."""
    if gain is None:
        return "-"
    return f"{perplexity_change(gain):+.2f} %" if gain else "0 %"


def joined(ideas: Sequence[str], nothing: str) -> str:
    """Ideas in one line."""
    return " + ".join(ideas) or nothing
