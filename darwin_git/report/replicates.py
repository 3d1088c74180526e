"""A commit's replicates as a table: a GPT's, or those that a person's program judged."""

from collections.abc import Sequence

from darwin_git.domain.metric import PERPLEXITY, Metric
from darwin_git.report.table import Data, table


def replicates(rows: Sequence[Data], metric: Metric) -> list[str]:
    """A head and a line for each replicate; nothing without any."""
    if not rows:
        return []
    if metric != PERPLEXITY or any("metrics" in row for row in rows):
        return table(*_judged(rows, metric.name)).splitlines()
    head = ["seed", "verdict", "perplexity", "bits/byte", "seconds", "tokens/s", "MFU"]
    return table([_trained(row) for row in rows], head).splitlines()


def _trained(row: Data) -> list[str]:
    return [
        str(row["seed"]),
        row["verdict"],
        "-" if row["perplexity"] is None else f"{row['perplexity']:.4f}",
        "-" if row["bits_per_byte"] is None else f"{row['bits_per_byte']:.4f}",
        f"{row['seconds']:.1f}",
        f"{row['tokens_per_second']:,.0f}",
        "-" if row["mfu"] is None else f"{100 * row['mfu']:.2f} %",
    ]


SHOWN = 6
"""Columns of numbers; all of them stand in --json."""


def _judged(rows: Sequence[Data], first: str) -> tuple[list[list[str]], list[str]]:
    """The metric first, then what else the program said."""
    names = dict.fromkeys(name for row in rows for name in row.get("metrics", {}))
    shown = [first, *(name for name in names if name != first)][:SHOWN]
    cells = [
        [
            str(row["seed"]),
            row["verdict"],
            *(_number(row.get("metrics", {}).get(name)) for name in shown),
            f"{row['seconds']:.1f}",
        ]
        for row in rows
    ]
    return cells, ["seed", "verdict", *shown, "seconds"]


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.6g}"
