"""Certificates as text for people: what one came to, and what all of them proved together."""

from darwin_git.domain.claim import ScaleCheck
from darwin_git.domain.metric import Metric
from darwin_git.report.table import Data, joined, metric_of, table

_INDENT = " " * 13


def certified(data: Data) -> list[str]:
    """The block of `report`: the total over all moves of the champion, and a line for each."""
    found, metric = data["certified"], metric_of(data)
    bound = _bound(metric, data.get("scale_bound", []))
    if not found:
        tried = len(data["certificate_log"])
        nothing = f"CERTIFIED    nothing ({tried} certificate{'s' * (tried != 1)} so far)"
        return [nothing, *bound]
    moves = found["moves"]
    total = f", the sum over {moves} moves of the champion" if moves > 1 else ""
    rows = [
        [str(one["generation"]), _ideas(one), *_cells(metric, one, one["gain"])]
        for one in found["certificates"]
    ]
    return [
        f"CERTIFIED    {metric.in_words(found['gain'], 2)}: "
        f"{joined(found['ideas'], 'the baseline')}{total}",
        *(_INDENT + line for line in table(rows, ["generation", "ideas", *_HEAD]).splitlines()),
        f"{_INDENT}{_CURSE}",
        *bound,
    ]


_HEAD = ["race's seeds", "fresh seeds (95 %)", "final split", "larger budget"]
_CURSE = (
    "the race's seeds flatter, since the tip was selected on them; the final split decides nothing"
)


def _cells(metric: Metric, one: Data, mean: float) -> list[str]:
    """The winner's curse in a row: where the tip was selected, and where it was not."""
    check = ScaleCheck.of(one.get("scale"))
    scale = "-"
    if check is not None:
        gain = metric.change_words(check.gain) if check.gain is not None else "failed"
        scale = f"{check.factor:g} x: {gain}" + " (scale-bound)" * check.bound
    between = ""
    if one["low"] is not None and one["high"] is not None:
        between = f" ({metric.change_words(one['high'])} to {metric.change_words(one['low'])})"
    return [
        metric.change_words(one["race"]),
        f"{metric.change_words(mean)}{between}",
        _final(metric, one["final_values"], one["final"]),
        scale,
    ]


def _bound(metric: Metric, rows: list[Data]) -> list[str]:
    """Proved at the budget in use only: the champion does not move without a person."""
    if not rows:
        return []
    cells = [
        [str(one["generation"]), joined(one["ideas"], "-"), *_cells(metric, one, one["mean"])]
        for one in rows
    ]
    return [
        "SCALE-BOUND  certified at this budget, no gain at a larger one; not adopted: "
        "`darwin-git certify --accept-scale-bound` moves the champion all the same",
        *(_INDENT + line for line in table(cells, ["generation", "ideas", *_HEAD]).splitlines()),
    ]


def _ideas(one: Data) -> str:
    text = joined(one["added"], "no new idea")
    return text + (f", without {joined(one['dropped'], '')}" if one["dropped"] else "")


def _final(metric: Metric, values: tuple[float, float] | None, gain: float | None) -> str:
    if values is None:
        return "-"
    before, after = (metric.value_words(metric.loss(value)) for value in values)
    return f"{before} -> {after} ({metric.change_words(gain)})"


def claim(data: Data) -> str:
    """`certify`."""
    gone = data.get("reverted") or []
    lines = [f"minimised: without {joined(gone, '')}, no worse for it"] if gone else []
    decision = data["decision"]
    if decision is None:
        lines.append(
            f"no certificate: the best tip is the champion{' then' if gone else ' already'}"
        )
        return "\n".join(lines)
    lines.append(decision["sentence"])
    if data["final_values"] is not None or data.get("scale"):
        head = [f"{metric_of(data).name}: {_HEAD[0]}", *_HEAD[1:]]
        lines += table(
            [_cells(metric_of(data), {**decision, **data}, decision["mean"])], head
        ).splitlines()
    if data.get("scale_bound"):
        lines.append(
            "the champion moved, as you wanted"
            if data["moved"]
            else "`darwin-git certify --accept-scale-bound` moves the champion all the same"
        )
    return "\n".join(lines)


def run(data: Data) -> str:
    """`run`."""
    count = len(data["generations"])
    lines = [
        f"{count} generation{'s' * (count != 1)}" + (f"; {data['ended']}" * bool(data["ended"]))
    ]
    if data["certificate"] is not None:
        lines.append(claim(data["certificate"]))
    return "\n".join(lines)
