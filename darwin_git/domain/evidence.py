"""Records of the notes as values, and back."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from darwin_git.domain.message import one_line
from darwin_git.domain.metric import PERPLEXITY, Metric
from darwin_git.domain.trial import (
    Allowance,
    Judged,
    Probe,
    Replicate,
    Screened,
    Shard,
    Verdict,
    bits_per_byte,
    perplexity,
)

LOG_KEPT = 2000
"""Characters of a failed training's text that a note keeps."""
SCREEN_LOG_KEPT = 4096
"""Of a failed screen's: a mutator mends from it, and after a kill from the note."""


def replicate_fields(replicate: Replicate, factor: float) -> dict[str, Any]:
    """A replicate's fields of its record; probes are kept by name, evidence where one failed."""
    fields: dict[str, Any] = {
        "seed": replicate.seed,
        "factor": factor,
        "verdict": str(replicate.verdict),
        "seconds": round(replicate.seconds, 3),
        "tokens": replicate.tokens,
        "tokens_per_second": round(replicate.tokens_per_second, 1),
        "mfu": None if replicate.mfu is None else round(replicate.mfu, 6),
        "exclusive": replicate.exclusive,
        "scored": [[s.nats, s.tokens, s.bytes] for s in replicate.scored],
        "curve": [list(point) for point in replicate.curve],
        "probes": {probe.name: probe.passed for probe in replicate.probes},
    }
    failed = {p.name: p.evidence for p in replicate.probes if not p.passed}
    extra = {
        "reason": replicate.reason,
        "failure": replicate.failure,
        "log": replicate.log[-LOG_KEPT:],
        "final": [[s.nats, s.tokens, s.bytes] for s in replicate.final],
        "evidence": failed,
        "judged": _judged_fields(replicate.judged),
    }
    return fields | {key: value for key, value in extra.items() if value}


def replicate_of(record: Mapping[str, Any]) -> Replicate:
    """The replicate that a record holds."""
    evidence = record.get("evidence", {})
    return Replicate(
        seed=record["seed"],
        verdict=Verdict(record["verdict"]),
        reason=record.get("reason", ""),
        failure=record.get("failure", ""),
        log=record.get("log", ""),
        scored=_shards(record.get("scored", ())),
        final=_shards(record.get("final", ())),
        seconds=record["seconds"],
        tokens=record["tokens"],
        tokens_per_second=record["tokens_per_second"],
        mfu=record.get("mfu"),
        exclusive=record.get("exclusive", True),
        curve=tuple((int(i), float(loss)) for i, loss in record.get("curve", ())),
        probes=tuple(
            Probe(name, passed, evidence.get(name, ""))
            for name, passed in record.get("probes", {}).items()
        ),
        judged=_judged(record.get("judged")),
    )


def screen_fields(screened: Screened) -> dict[str, Any]:
    """A screen's fields of its record."""
    fields: dict[str, Any] = {"verdict": str(screened.verdict)}
    if screened.allowance is not None:
        fields["allowance"] = asdict(screened.allowance)
    extra = {
        "reason": screened.reason,
        "failure": screened.failure,
        "log": screened.log[-SCREEN_LOG_KEPT:],
    }
    return fields | {key: value for key, value in extra.items() if value}


def screened_of(record: Mapping[str, Any]) -> Screened:
    """The screen that a record holds."""
    allowance = record.get("allowance")
    return Screened(
        verdict=Verdict(record["verdict"]),
        reason=record.get("reason", ""),
        failure=record.get("failure", ""),
        log=record.get("log", ""),
        allowance=None if allowance is None else Allowance(**allowance),
    )


def _shards(rows: Any) -> tuple[Shard, ...]:
    return tuple(Shard(float(nats), int(tokens), int(size)) for nats, tokens, size in rows)


def _judged_fields(judged: Judged | None) -> dict[str, Any]:
    if judged is None:
        return {}
    return {
        "metric": judged.metric.to_json(),
        "scored": dict(judged.scored),
        "final": dict(judged.final),
    }


def _judged(data: Any) -> Judged | None:
    return data and Judged(Metric.of(data["metric"]), data["scored"], data["final"])


def summary_note(records: Sequence[Mapping[str, Any]]) -> str:
    """At most 6 lines for people, derived from a commit's records."""
    lines = []
    measured = [replicate_of(r) for r in records if r["kind"] == "replicate" and r["factor"] == 1.0]
    good = [r for r in measured if r.verdict is Verdict.OK and r.measured]
    metric = next((r.metric for r in measured if r.judged), PERPLEXITY)
    if good:
        lines.append(_measured_words(good, metric))
    bad = [r for r in measured if r.verdict is not Verdict.OK]
    lines += [one_line(f"{r.verdict} under seed {r.seed}: {r.reason}", 100) for r in bad[:1]]
    for record in records:
        if record["kind"] == "screen" and record["verdict"] != Verdict.OK:
            said = f"screen: {record['verdict']}: {record.get('reason', '')}"
            lines.append(one_line(said, 100))
        elif record["kind"] == "verdict":
            gain = record.get("gain")
            text = "" if gain is None else f", {metric.change_words(gain)} to its parent"
            lines.append(f"{record['decision']} (provisional){text}")
        elif record["kind"] == "certificate":
            lines.append(f"certificate: {record['sentence']}")
    return "\n".join(lines[:1] + lines[1:][-5:])


def _measured_words(good: Sequence[Replicate], metric: Metric) -> str:
    seeds = f"{len(good)} seed{'s' * (len(good) > 1)}"
    if good[0].judged:
        mean = sum(r.loss for r in good) / len(good)
        seconds = sorted(r.seconds for r in good)[len(good) // 2]
        return f"{metric.name} {metric.value_words(mean)}, {seeds}, {seconds:.1f} s"
    shards = [shard for r in good for shard in r.scored]
    speed = sorted(r.tokens_per_second for r in good)[len(good) // 2]
    return (
        f"perplexity {perplexity(shards):.3f}, {bits_per_byte(shards):.4f} bits per byte, "
        f"{seeds}, {speed:,.0f} tokens/s"
    )
