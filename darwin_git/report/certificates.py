"""Certificates as text for people: what one came to, and what all of them proved together."""

from darwin_git.domain.metric import Metric
from darwin_git.report.table import Data, joined, metric_of, table

_INDENT = " " * 13


def certified(data: Data) -> list[str]:
    """The block of `report`: the total over all moves of the champion, and a line for each."""
    found = data["certified"]
    if not found:
        tried = len(data["certificate_log"])
        return [f"CERTIFIED    nothing ({tried} certificate{'s' * (tried != 1)} so far)"]
    metric = metric_of(data)
    moves = found["moves"]
    total = f", the sum over {moves} moves of the champion" if moves > 1 else ""
    head = ["generation", "ideas", "fresh seeds (95 %)", "race's seeds", "final split"]
    rows = [
        [
            str(one["generation"]),
            _ideas(one),
            f"{metric.change_words(one['gain'])} "
            f"({metric.change_words(one['high'])} to {metric.change_words(one['low'])})",
            metric.change_words(one["race"]),
            _final(metric, one["final_values"], one["final"]),
        ]
        for one in found["certificates"]
    ]
    return [
        f"CERTIFIED    {metric.in_words(found['gain'], 2)}: "
        f"{joined(found['ideas'], 'the baseline')}{total}",
        *(_INDENT + line for line in table(rows, head).splitlines()),
        f"{_INDENT}the race's seeds flatter, since the tip was selected on them; the final split "
        "decides nothing",
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
    if data["decision"] is None:
        return "no certificate: the best tip is the champion already"
    lines = [data["decision"]["sentence"]]
    if data["final_values"] is not None:
        metric = metric_of(data)
        final = _final(metric, data["final_values"], data["final"])
        lines.append(f"final split, never used to decide: {metric.name} {final}")
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
