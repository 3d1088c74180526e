"""The texts of `memory`. Lessons may quote a model or a log: one line each, without controls."""

from collections.abc import Sequence

from darwin_git.domain.learning.rules import bounded
from darwin_git.domain.message import one_line
from darwin_git.domain.metric import Metric
from darwin_git.report.table import Data, metric_of, table

WIDTH = 100


def listing(data: Data) -> str:
    """`memory list`."""
    lines = [memory_table(data["lessons"])]
    hidden = data["retired"] - sum(bool(one["retired"]) for one in data["lessons"])
    if hidden:
        lines.append(f"{hidden} retired: `darwin-git memory list --all` shows them")
    if data["corrupt"]:
        lines.append(f"{data['corrupt']} lines of the ledger's memory cannot be read")
    return "\n".join(lines)


def memory_table(lessons: Sequence[Data]) -> str:
    """Lessons as rows: what `row` of commands/memory.py makes of each."""
    rows = [
        [
            one["id"],
            one["kind"].replace("_", " ") + (" (retired)" if one["retired"] else ""),
            f"{one['confidence']:.2f}",
            f"{one['helped']}/{one['shown']}",
            str(one["evidence"]),
            one["source"],
            one_line(one["text"], WIDTH),
        ]
        for one in lessons
    ]
    head = ["lesson", "kind", "confidence", "helped", "outcomes", "by", ""]
    return table(rows, head) if rows else "no lessons"


def shown(data: Data) -> str:
    """`memory show`."""
    one, metric = data["lesson"], metric_of(data)
    scope = f"about {', '.join(one['scope'])}; " if one["scope"] else ""
    lines = [
        f"{one['id']}: {one['kind'].replace('_', ' ')}, written by a {one['source']}, "
        f"generation {one['generation']}",
        one["text"],
        "",
        f"{scope}confidence {one['confidence']:.2f}: it helped {one['helped']} of {one['shown']} "
        f"mutations that were shown it, with {one['evidence']} outcomes behind it",
    ]
    if one["retired"]:
        lines.append(f"retired: {one['retired']}")
    for found in data["evidence"]:
        lines += ["", f"{found['variant']}: {_effect(found, metric)}"]
        lines += [f"  {found['command']}"] if found["command"] else []
    if data["mutations"]:
        words = [
            m["variant"] + (" (helped)" if m["helped"] else "") for m in data["mutations"][-24:]
        ]
        lines += ["", f"shown to {', '.join(words)}"]
    for change in data["changes"]:
        why = f": {change['why']}" if change["why"] else ""
        lines.append(f"{change['kind']}d by {change['by']}, generation {change['generation']}{why}")
    return "\n".join(lines)


def _effect(found: Data, metric: Metric) -> str:
    gain, low, high = (bounded(found[name], metric) for name in ("gain", "low", "high"))
    if gain is None:
        return "failed"
    told = metric.in_words(gain, 2)
    if low is None or high is None:
        return told
    return f"{told} (95 %: {metric.change_words(high)} to {metric.change_words(low)})"


def retired(data: Data) -> str:
    """`memory retire`."""
    lines = [f"retired {key}" for key in data["retired"]]
    return "\n".join([*lines, *(f"{key} was retired already" for key in data["known"])])


def revived(data: Data) -> str:
    """`memory revive`."""
    lines = [f"revived {key}" for key in data["revived"]]
    return "\n".join([*lines, *(f"{key} was never retired" for key in data["known"])])


def added(data: Data) -> str:
    """`memory add`."""
    word = "added" if data["new"] else "known already"
    return f"{word}: {data['lesson']['id']}"


def summary(data: Data) -> list[str]:
    """Lines for `report`: the best lessons, and those that were retired."""
    kinds = ", ".join(f"{n} {kind.replace('_', ' ')}" for kind, n in data["kinds"].items() if n)
    lines = [
        f"memory: {kinds or 'no lessons'}; shown {data['shown']} times, helped {data['helped']}"
    ]
    lines += [f"  {line}" for line in memory_table(data["best"]).splitlines() if data["best"]]
    if data["retired"]:
        lines.append(f"retired: {data['retired_count']}")
        lines += [f"  {one['id']} {one_line(one['retired'], WIDTH)}" for one in data["retired"]]
    return lines
