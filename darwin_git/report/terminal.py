"""Readers' data as text for people. Every function takes what `--json` would print."""

from collections.abc import Mapping, Sequence
from typing import Any

from darwin_git.domain.claim import Claim
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


def status(data: Data) -> str:
    """`status`."""
    if data["baseline"] is None:
        return "no baseline yet: run `darwin-git baseline`, or `darwin-git run`"
    totals, champion = data["totals"], data["champion"]
    lines = [
        f"generation {data['generation']}, baseline {data['baseline'][:12]} with perplexity "
        f"{data['baseline_perplexity']:.3f} over {data['noise']['seeds']} seeds",
        data["noise"]["words"],
        "",
        f"champion: {_ideas(champion['ideas'], 'the baseline')}"
        + (f" (certified, generation {champion['moved']})" if champion["ideas"] else ""),
        "",
        _agents(data["agents"], data["best"]),
    ]
    if data["parked"]:
        stones = [f"{s['idea']} {percent(s['gain'])}" for s in data["parked"].values()]
        lines += ["", f"stepping stones: {', '.join(stones)}"]
    lines += [
        "",
        f"spent: {totals['trainings']} trainings, {totals['train_seconds'] / 60:.1f} minutes of "
        f"training; {totals['variants']} variants: {_counts(totals['decisions'])}",
    ]
    if data["open"] is not None:
        lines.append(f"generation {data['open']} is open: `darwin-git step` finishes it")
    return "\n".join(lines)


def _agents(agents: Data, best: str) -> str:
    rows = [
        [
            name + (" *" if name == best else ""),
            percent(one["gain"]),
            f"{one['wins']}/{one['tries']}",
            _ideas(one["ideas"], "the baseline"),
        ]
        for name, one in agents.items()
    ]
    return table(rows, ["lineage", "provisional", "wins", "ideas"])


def _ideas(ideas: Sequence[str], nothing: str) -> str:
    return " + ".join(ideas) or nothing


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{n} {what}" for what, n in sorted(counts.items())) or "none"


def log(data: Data) -> str:
    """`log`."""
    lines, generation = [], None
    for event in data["events"]:
        if event["generation"] != generation:
            generation = event["generation"]
            lines += ["", f"generation {generation}"]
        lines.append("  " + _event(event))
    return "\n".join(lines).lstrip("\n") or "nothing happened yet"


def _event(event: Data) -> str:
    kind = event["kind"]
    if kind == "trial":
        what = f"{event['variant']:<18} {event['decision']:<6} {percent(event['gain']):>9}  "
        bad = f" [{event['verdict']}: {event['reason']}]" if event["verdict"] != "ok" else ""
        return f"{what}{event['idea'] or '-'}{bad}"
    if kind == "adopt":
        return f"{event['agent']} adopts {event['ideas'][-1]} from {event['variant']}"
    if kind == "replace":
        return f"{event['agent']} takes the tree of {event['by']}"
    if kind == "archive":
        return f"{event['variant']} archived"
    if kind == "certificate":
        return f"certificate {event['number']}: {event['sentence']}"
    if kind == "champion":
        return f"champion is now {_ideas(event['ideas'], 'the baseline')}"
    return str(kind)


def show(data: Data) -> str:
    """`show`."""
    lines = [f"{data['name']}: {data['subject']}", f"commit {data['commit']} by {data['author']}"]
    lines += ["", data["body"].strip(), ""]
    for screen in data["screen"]:
        if screen["verdict"] != "ok":
            lines.append(f"screen: {screen['verdict']}: {screen.get('reason', '')}")
            lines += [f"  | {line}" for line in screen.get("log", "").splitlines()[-12:]]
        else:
            found = screen["allowance"]
            lines.append(
                f"{found['parameters']:,} parameters, {found['flops_ratio']:.2f} x the baseline's "
                f"FLOPs and {found['wall_ratio']:.2f} x its time per token: "
                f"{found['tokens']:,} tokens granted"
            )
    rows = [
        [
            str(r["seed"]),
            r["verdict"],
            "-" if r["perplexity"] is None else f"{r['perplexity']:.4f}",
            "-" if r["bits_per_byte"] is None else f"{r['bits_per_byte']:.4f}",
            f"{r['seconds']:.1f}",
            f"{r['tokens_per_second']:,.0f}",
            "-" if r["mfu"] is None else f"{100 * r['mfu']:.2f} %",
        ]
        for r in data["replicates"]
    ]
    if rows:
        head = ["seed", "verdict", "perplexity", "bits/byte", "seconds", "tokens/s", "MFU"]
        lines += ["", table(rows, head)]
    for verdict in data["verdicts"]:
        gain = verdict.get("gain")
        lines.append(f"{verdict['decision']} (provisional) {percent(gain)} to its parent")
    lines += [f"certificate: {one['sentence']}" for one in data["certificates"]]
    lines += ["", f"review: {data['review']}"]
    return "\n".join(lines)


def lineage(data: Data) -> str:
    """`lineage`."""
    lines = [f"baseline {data['baseline'][:12]}"]
    for name, steps in data["agents"].items():
        lines.append(name)
        for step in steps:
            if step["kind"] == "adopt":
                text = f"{step['ideas'][-1]} by {step['mutator']} ({step['variant']})"
            else:
                text = f"the tree of {step['by']}: {_ideas(step['ideas'], 'the baseline')}"
            lines.append(f"  {step['generation']:>3}  {percent(step['gain']):>9}  {text}")
        if not steps:
            lines.append("       the baseline still")
    lines.append("champion")
    for step in data["champion"]:
        if step["kind"] == "certificate":
            lines.append(f"  {step['generation']:>3}  {step['sentence']}")
        else:
            lines.append(f"  {step['generation']:>3}  {_ideas(step['ideas'], 'the baseline')}")
    if not data["champion"]:
        lines.append("       the baseline; no certificate yet")
    lines += ["", f"graph:  {data['graph']}", f"review: {data['review']}"]
    return "\n".join(lines)


def report(data: Data) -> str:
    """`report`."""
    certified, provisional = data["certified"], data["provisional"]
    lines = []
    if certified:
        lines += [
            f"CERTIFIED    {percent(certified['gain'])} perplexity: "
            f"{_ideas(certified['ideas'], '')}",
            f"             {certified['sentence']}",
        ]
        if certified["final_perplexities"]:
            before, after = certified["final_perplexities"]
            lines.append(
                f"             final split, never used to decide: perplexity {before:.3f} -> "
                f"{after:.3f} ({percent(certified['final'])})"
            )
        lines.append(
            f"             on the race's seeds it was {percent(certified['race'])}: "
            "the difference is luck that selection picked up"
        )
    else:
        tried = len(data["certificate_log"])
        lines.append(f"CERTIFIED    nothing ({tried} certificate{'s' * (tried != 1)} so far)")
    lines += [
        f"PROVISIONAL  {percent(provisional['gain'])} perplexity on the race's seeds: "
        f"{provisional['agent']} with {_ideas(provisional['ideas'], 'the baseline')}",
        "",
        status(data),
        "",
        "best and mean gain of the tips by generation (provisional):",
        *(f"  {int(g):>3}  {percent(b):>9}  {percent(m):>9}" for g, b, m in data["history"]),
        "",
        "ideas tried:",
        *(f"  {line}" for line in _tried(data["trials"])),
        "",
        _failures(data["failures"]),
        "",
        f"review the champion:  {data['review']}",
        f"review the best tip:  {data['review_best']}",
    ]
    return "\n".join(lines)


def _tried(trials: Sequence[Data]) -> list[str]:
    rows = [
        [
            t["idea"] or "-",
            t["decision"],
            percent(t["gain"]),
            "" if t["gain"] is None else f"+- {100 * t['sd']:.2f}",
            t["variant"],
            "" if t["verdict"] == "ok" else f"{t['verdict']}: {t['reason']}"[:60],
        ]
        for t in sorted(trials, key=lambda t: -(t["gain"] if t["gain"] is not None else -9.0))
    ]
    if not rows:
        return ["none yet"]
    return table(rows, ["idea", "decision", "to parent", "s.e.", "variant", ""]).splitlines()


def _failures(data: Data) -> str:
    classes = ", ".join(f"{n} {name}" for name, n in data["classes"].items())
    return (
        f"failures: {data['failed']} of {data['trials']} ({100 * data['rate']:.1f} %; the paper: "
        f"{100 * data['paper_rate']:.1f} %)" + (f": {classes}" if classes else "")
    )


def claim(claimed: Claim) -> str:
    """The outcome of a certificate."""
    if claimed.decision is None:
        return "no certificate: the best tip is the champion already"
    lines = [claimed.decision.sentence]
    if claimed.final is not None and claimed.perplexities is not None:
        before, after = claimed.perplexities
        lines.append(
            f"final split, never used to decide: perplexity {before:.3f} -> {after:.3f} "
            f"({percent(claimed.final)})"
        )
    return "\n".join(lines)


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
