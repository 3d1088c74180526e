"""What the certificates proved: each move of the champion, and all of them together."""

from collections.abc import Mapping, Sequence
from typing import Any

from darwin_git.domain.metric import Metric

_KEPT = ("low", "high", "n", "race", "final", "final_values", "sentence")


def certified_moves(
    metric: Metric, champion: Sequence[str], events: Sequence[Mapping[str, Any]]
) -> dict[str, Any] | None:
    """The sum over the champion's moves, and each move with its own certificate's numbers.

    Args:
        champion: the present champion's ideas.
        events: of all generations, in order.

    Returns:
        None where nothing was certified yet.
    """
    won = [e for e in events if e["kind"] == "certificate" and e["status"] == "certified"]
    moves = [e for e in events if e["kind"] == "champion"]
    if not won:
        return None
    gain = sum(certificate["mean"] for certificate in won)
    rows: list[dict[str, Any]] = []
    before: list[str] = []
    for certificate, move in zip(won, moves, strict=True):  # one transition writes both
        ideas = list(move["ideas"])
        rows.append(
            {
                "generation": certificate["generation"],
                "ideas": ideas,
                "added": [idea for idea in ideas if idea not in before],
                "dropped": [idea for idea in before if idea not in ideas],
                "gain": certificate["mean"],
                "change": metric.change(certificate["mean"]),
                **{key: certificate[key] for key in _KEPT},
            }
        )
        before = ideas
    return {
        "ideas": list(champion),
        "gain": gain,
        "change": metric.change(gain),
        "moves": len(rows),
        "certificates": rows,
    }
