"""What a replay came to, as text."""

from collections.abc import Mapping
from typing import Any

SHOWN = 10
"""Differences that are shown; `--json` has all."""


def replayed(data: Mapping[str, Any]) -> str:
    """`run --replay`."""
    commits = _count(data["commits"], "commit")
    lines = [
        f"replayed {_count(data['generations'], 'generation')} and "
        f"{_count(data['certificates'], 'certificate')} of {data['recording']}",
        f"{_count(data['exchanges'], 'answer')} and {_count(data['records'], 'record')}, "
        + ("all as recorded" if data["alike"] == data["records"] else f"{data['alike']} alike"),
    ]
    found = data["differences"]
    if found:
        lines.append(f"{commits}, not as recorded: {_count(len(found), 'difference')}")
        lines += [f"  {text}" for text in found[:SHOWN]]
    else:
        lines.append(f"{commits}, all as recorded")
    return "\n".join(lines + [f"note: {text}" for text in data["notes"]])


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'s' * (number != 1)}"
