"""Readers' data as text for people. Every function takes what `--json` would print."""

import math
from collections.abc import Mapping, Sequence

from darwin_git.domain.metric import PERPLEXITY, Metric
from darwin_git.report.certificates import certified
from darwin_git.report.replicates import replicates
from darwin_git.report.table import Data, joined, metric_of, table


def printable(text: str) -> str:
    """Without control characters: names, reasons and logs may come from a model."""
    return "".join(c for c in text if c == "\n" or c.isprintable())


def status(data: Data) -> str:
    """`status`."""
    if data["baseline"] is None:
        return "no baseline yet: run `darwin-git baseline`, or `darwin-git run`"
    totals, champion, metric = data["totals"], data["champion"], metric_of(data)
    baseline = metric.value_words(metric.loss(data["baseline_value"]))
    lines = [
        f"generation {data['generation']}, baseline {data['baseline'][:12]} with "
        f"{metric.name} {baseline} over {data['noise']['seeds']} seeds",
        data["noise"]["words"],
        "",
        f"champion: {joined(champion['ideas'], 'the baseline')}"
        + (f" (certified, generation {champion['moved']})" if champion["ideas"] else ""),
        "",
        _agents(metric, data["agents"], data["best"]),
    ]
    if data["parked"]:
        stones = [f"{s['idea']} {metric.change_words(s['gain'])}" for s in data["parked"].values()]
        lines += ["", f"stepping stones: {', '.join(stones)}"]
    runs, work = ("trainings", "training") if metric == PERPLEXITY else ("runs", "them")
    lines += [
        "",
        f"spent: {totals['trainings']} {runs}, {totals['train_seconds'] / 60:.1f} minutes of "
        f"{work}; {totals['variants']} variants: {_counts(totals['decisions'])}",
        *_models(data["models"]),
    ]
    if data["open"] is not None:
        lines.append(f"generation {data['open']} is open: `darwin-git step` finishes it")
    return "\n".join(lines)


def _agents(metric: Metric, agents: Data, best: str) -> str:
    rows = [
        [
            name + (" *" if name == best else ""),
            metric.change_words(one["gain"]),
            f"{one['wins']}/{one['tries']}",
            joined(one["ideas"], "the baseline"),
        ]
        for name, one in agents.items()
    ]
    return table(rows, ["lineage", "provisional", "wins", "ideas"])


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{n} {what}" for what, n in sorted(counts.items())) or "none"


def log(data: Data) -> str:
    """`log`."""
    lines, generation, metric = [], None, metric_of(data)
    for event in data["events"]:
        if event["generation"] != generation:
            generation = event["generation"]
            lines += ["", f"generation {generation}"]
        lines.append("  " + _event(event, metric))
    return "\n".join(lines).lstrip("\n") or "nothing happened yet"


def _event(event: Data, metric: Metric) -> str:
    kind = event["kind"]
    if kind == "trial":
        change = metric.change_words(event["gain"])
        what = f"{event['variant']:<18} {event['decision']:<6} {change:>9}  "
        bad = f" [{event['verdict']}: {event['reason']}]" if event["verdict"] != "ok" else ""
        return f"{what}{event['idea'] or '-'}{bad}"
    if kind == "adopt":
        return f"{event['agent']} adopts {event['idea']} from {event['variant']}"
    if kind == "replace":
        return f"{event['agent']} takes the tree of {event['by']}"
    if kind == "minimise":
        return _minimised(event)
    if kind == "archive":
        return f"{event['variant']} archived"
    if kind == "certificate":
        return f"certificate {event['number']}: {event['sentence']}"
    if kind == "champion":
        return f"champion is now {joined(event['ideas'], 'the baseline')}"
    return str(kind)


def _minimised(event: Data) -> str:
    gone = [one["idea"] for one in event["reverted"]]
    words = f"without {joined(gone, '')}, no worse for it" if gone else "nothing could go"
    return f"{event['agent']} minimised: {words}"


def show(data: Data) -> str:
    """`show`."""
    metric = metric_of(data)
    lines = [f"{data['name']}: {data['subject']}", f"commit {data['commit']} by {data['author']}"]
    lines += ["", data["body"].strip(), ""]
    for screen in data["screen"]:
        if screen["verdict"] != "ok":
            lines.append(f"screen: {screen['verdict']}: {screen.get('reason', '')}")
            lines += [f"  | {line}" for line in screen.get("log", "").splitlines()[-12:]]
        elif (found := screen["allowance"])["tokens"]:
            lines.append(
                f"{found['parameters']:,} parameters, {found['flops_ratio']:.2f} x the baseline's "
                f"FLOPs and {found['wall_ratio']:.2f} x its time per token: "
                f"{found['tokens']:,} tokens granted"
            )
    if rows := replicates(data["replicates"], metric):
        lines += ["", *rows]
    for verdict in data["verdicts"]:
        gain = verdict.get("gain")
        lines.append(
            f"{verdict['decision']} (provisional) {metric.change_words(gain)} to its parent"
        )
    lines += [f"certificate: {one['sentence']}" for one in data["certificates"]]
    lines += ["", f"review: {data['review']}"]
    return "\n".join(lines)


def lineage(data: Data) -> str:
    """`lineage`."""
    lines, metric = [f"baseline {data['baseline'][:12]}"], metric_of(data)
    for name, steps in data["agents"].items():
        lines.append(name)
        for step in steps:
            if step["kind"] == "adopt":
                text = f"{step['idea']} by {step['mutator']} ({step['variant']})"
            elif step["kind"] == "minimise":
                text = _minimised(step).partition(" ")[2]
            else:
                text = f"the tree of {step['by']}: {joined(step['ideas'], 'the baseline')}"
            change = metric.change_words(step["gain"])
            lines.append(f"  {step['generation']:>3}  {change:>9}  {text}")
        if not steps:
            lines.append("       the baseline still")
    lines.append("champion")
    for step in data["champion"]:
        if step["kind"] == "certificate":
            lines.append(f"  {step['generation']:>3}  {step['sentence']}")
        else:
            lines.append(f"  {step['generation']:>3}  {joined(step['ideas'], 'the baseline')}")
    if not data["champion"]:
        lines.append("       the baseline; no certificate yet")
    lines += ["", f"graph:  {data['graph']}", f"review: {data['review']}"]
    return "\n".join(lines)


def report(data: Data) -> str:
    """`report`."""
    provisional, metric = data["provisional"], metric_of(data)
    return "\n".join(
        [
            *certified(data),
            f"PROVISIONAL  {metric.in_words(provisional['gain'], 2)} on the race's seeds: "
            f"{provisional['agent']} with {joined(provisional['ideas'], 'the baseline')}",
            "",
            status(data),
            "",
            "best and mean gain of the tips by generation (provisional):",
            *(
                f"  {int(g):>3}  {metric.change_words(b):>9}  {metric.change_words(m):>9}"
                for g, b, m in data["history"]
            ),
            "",
            "ideas tried:",
            *(f"  {line}" for line in _tried(data["trials"], metric)),
            "",
            _failures(data["mutations"], metric),
            "",
            f"review the champion:  {data['review']}",
            f"review the best tip:  {data['review_best']}",
        ]
    )


def _tried(trials: Sequence[Data], metric: Metric) -> list[str]:
    rows = [
        [
            t["idea"] or "-",
            t["decision"],
            metric.change_words(t["gain"]),
            "" if t["gain"] is None else metric.spread_words(t["sd"]),
            t["variant"],
            "" if t["verdict"] == "ok" else f"{t['verdict']}: {t['reason']}"[:60],
        ]
        for t in sorted(trials, key=lambda t: -(t["gain"] if t["gain"] is not None else -math.inf))
    ]
    if not rows:
        return ["none yet"]
    return table(rows, ["idea", "decision", "to parent", "s.e.", "variant", ""]).splitlines()


def _failures(data: Data, metric: Metric) -> str:
    """How often mutations failed at first and were mended; the paper's agents wrote GPTs."""
    if not data["made"]:
        return "mutations: none yet"
    beside = metric == PERPLEXITY
    rate = _rate(data["failure_rate"], data["paper_failure_rate"], beside)
    words = f"mutations: {data['made']}, failed at first: {data['failed']} ({rate})"
    if data["failed"]:
        mended = _rate(data["repair_rate"], data["paper_repair_rate"], beside)
        words += f", repaired of these: {data['repaired']} ({mended})"
        words += "\n  first failures: " + _counts(data["classes"])
    return words


def _rate(rate: float, paper: float, beside: bool) -> str:
    return f"{100 * rate:.1f} %" + (f"; the paper: {100 * paper:.1f} %" if beside else "")


def _models(data: Data) -> list[str]:
    """What models took; nothing where there were none."""
    if not data["calls"]:
        return []
    cost = f"{data['usd']:.4f} USD"
    if data["unpriced"]:
        cost += f" and {data['unpriced']} calls without a known price"
    return [
        f"models: {data['calls']} calls, {data['tokens_in']:,} tokens in and "
        f"{data['tokens_out']:,} out, {cost}"
    ]


def doctor(data: Data) -> str:
    """`doctor`."""
    lines = []
    for check in data["checks"]:
        lines.append(f"{'ok  ' if check['ok'] else 'BAD '} {check['name']}: {check['found']}")
        if not check["ok"]:
            lines.append(f"     -> {check['cure']}")
    return "\n".join(lines)


def verify(data: Data) -> str:
    """`verify`."""
    lines = [f"checked {n} {what}" for what, n in data["checked"].items()]
    lines += [f"FAULT {fault}" for fault in data["faults"]]
    return "\n".join([*lines, "all is well" if not data["faults"] else "something is wrong"])


def prune(data: Data) -> str:
    """`prune`."""
    return "\n".join(f"archived {name}" for name in data["archived"]) or "nothing to archive"


def config(data: Data) -> str:
    """`config`."""
    return str(data["text"])
