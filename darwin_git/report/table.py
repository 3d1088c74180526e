"""What the texts for people are made of."""

from collections.abc import Mapping, Sequence
from typing import Any

from darwin_git.domain.metric import Metric

Data = Mapping[str, Any]


def table(rows: Sequence[Sequence[str]], head: Sequence[str]) -> str:
    """Columns aligned to the left, the last one free."""
    widths = [max(len(row[i]) for row in (head, *rows)) for i in range(len(head))]
    lines = []
    for row in (head, *rows):
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def metric_of(data: Data) -> Metric:
    """What the data's gains are gains of."""
    return Metric.of(data.get("metric"))


def joined(ideas: Sequence[str], nothing: str) -> str:
    """Ideas in one line."""
    return " + ".join(ideas) or nothing
