"""What the certificates proved: each move of the champion, and all of them together."""

from collections.abc import Iterator, Mapping, Sequence
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
        None where the champion never moved.
    """
    pairs = list(_moves(events))
    if not pairs:
        return None
    gain = sum(certificate["mean"] for certificate, _ in pairs)
    rows: list[dict[str, Any]] = []
    before: list[str] = []
    for certificate, move in pairs:
        ideas = list(move["ideas"])
        rows.append(
            {
                "generation": certificate["generation"],
                "ideas": ideas,
                "added": [idea for idea in ideas if idea not in before],
                "dropped": [idea for idea in before if idea not in ideas],
                "gain": certificate["mean"],
                "change": metric.change(certificate["mean"]),
                "scale": certificate.get("scale"),
                "scale_bound": certificate.get("scale_bound", False),
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


def _moves(
    events: Sequence[Mapping[str, Any]],
) -> Iterator[tuple[Mapping[str, Any], Mapping[str, Any]]]:
    """Each move with the certificate that it stands on: the last one of the same commit.

    One transition writes both, but where a person accepted a scale-bound certificate later.
    """
    won: dict[str | None, Mapping[str, Any]] = {}
    for event in events:
        if event["kind"] == "certificate" and event["status"] == "certified":
            won[event.get("commit")] = event
        elif event["kind"] == "champion":
            yield won[event.get("measured")], event


def scale_bound(champion: str, events: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Certificates against the present champion whose gain is gone at a larger budget.

    Args:
        champion: its measured commit.
    """
    kept = ("generation", "agent", "ideas", "mean", "scale", *_KEPT)
    return [
        {key: event[key] for key in kept}
        for event in events
        if event["kind"] == "certificate"
        and event.get("scale_bound")
        and event["champion"] == champion
    ]
