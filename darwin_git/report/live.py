"""What a running step tells people on stderr: plain lines, one for each thing that happened."""

import sys
from collections.abc import Mapping
from typing import Any, TextIO

from darwin_git.domain.exchange import Exchange
from darwin_git.domain.metric import PERPLEXITY, Metric
from darwin_git.domain.outcome import Trial
from darwin_git.domain.statistics import CertificateDecision
from darwin_git.domain.trial import Replicate, Screened, Verdict
from darwin_git.report.pipe import silence
from darwin_git.report.terminal import printable


class Lines:
    """A listener that writes lines. `quiet` keeps everything to itself."""

    def __init__(self, *, quiet: bool = False, stream: TextIO | None = None) -> None:
        self._quiet = quiet
        self._stream = stream if stream is not None else sys.stderr

    def __call__(self, what: str, **facts: Any) -> None:
        """Write the line of an event, if it has one."""
        render = _LINES.get(what)
        if render is None or self._quiet:
            return
        text = printable(render(facts))
        if not text:
            return
        try:
            self._stream.write(text + "\n")
            self._stream.flush()
        except BrokenPipeError:
            # Nobody reads any more: that is no reason to end a night's run.
            self._quiet = True
            silence(self._stream)


def _metric(facts: Mapping[str, Any]) -> Metric:
    """What the command measures; wiring says it with every event."""
    metric: Metric = facts.get("metric", PERPLEXITY)
    return metric


def _plan(facts: Mapping[str, Any]) -> str:
    plan = facts["plan"]
    control = f" (control: {plan.control})" if plan.control else ""
    return f"generation {plan.generation}: {len(plan.trials)} variants{control}"


def _proposed(facts: Mapping[str, Any]) -> str:
    return f"  {facts['variant']:<18} {facts['idea']}: {facts['subject']}"


def _replicate(facts: Mapping[str, Any]) -> str:
    replicate: Replicate = facts["replicate"]
    if replicate.verdict is not Verdict.OK:
        found = f"{replicate.verdict}: {replicate.reason}"
    else:
        metric = replicate.metric
        value = metric.value_words(replicate.loss)
        found = f"{metric.name} {value}, {replicate.seconds:.1f} s"
    return f"  {facts['variant']:<18} seed {replicate.seed}: {found}"


def _raced(facts: Mapping[str, Any]) -> str:
    trial: Trial = facts["trial"]
    outcome = "won (provisional)" if trial.won else "parked" if trial.parked else "lost"
    change = _metric(facts).in_words(trial.gain or 0.0, 2)
    seeds = len(trial.effects or {})
    return (
        f"  {facts['variant']:<18} {outcome}: {trial.idea} {change} to its "
        f"parent, {seeds} seed{'s' * (seeds > 1)}"
    )


def _ended(facts: Mapping[str, Any]) -> str:
    trial: Trial = facts["trial"]
    return f"  {facts['variant']:<18} {trial.verdict}: {trial.reason}"


def _ask(facts: Mapping[str, Any]) -> str:
    return f"  {facts['variant']:<18} {facts['agent']} asks ({facts['purpose']})"


def _answer(facts: Mapping[str, Any]) -> str:
    exchange: Exchange = facts["exchange"]
    reply = exchange.reply
    if reply.status == "infra":
        return f"  {facts['variant']:<18} no answer: {reply.reason}"
    usage = reply.usage
    cost = "" if not usage.calls else ", price unknown" if usage.usd is None else _usd(usage.usd)
    tokens = f"{usage.tokens_in} + {usage.tokens_out} tokens, " if usage.calls else ""
    return f"  {facts['variant']:<18} answered: {tokens}{usage.seconds:.1f} s{cost}"


def _usd(usd: float) -> str:
    return f", {usd:.4f} USD"


def _refused(facts: Mapping[str, Any]) -> str:
    return f"  {facts['variant']:<18} {facts['idea']} was tried before: {facts['reason']}"


def _repair(facts: Mapping[str, Any]) -> str:
    failure: Screened = facts["failure"]
    return (
        f"  {facts['variant']:<18} {failure.verdict}: {failure.reason}; {facts['agent']} mends it"
    )


def _conflict(facts: Mapping[str, Any]) -> str:
    paths = ", ".join(facts["paths"])
    return f"  {facts['variant']:<18} {facts['idea']} left out: conflict in {paths}"


def _deferred(facts: Mapping[str, Any]) -> str:
    return f"  {facts['variant']:<18} kept for now: checked out in {facts['place']}"


def _settled(facts: Mapping[str, Any]) -> str:
    after = facts["after"]
    best = after.agents[after.best]
    ideas = " + ".join(best.ideas) or "nothing yet"
    return (
        f"generation {after.generation} closed: best is {after.best} with {ideas}, "
        f"{_metric(facts).in_words(best.gain)} (provisional)"
    )


def _certificate(facts: Mapping[str, Any]) -> str:
    decision: CertificateDecision = facts["decision"]
    return f"certificate: {decision.sentence}"


def _minimise(facts: Mapping[str, Any]) -> str:
    return f"minimise {facts['agent']}: can it do without {', '.join(facts['ideas'])}?"


def _minimised(facts: Mapping[str, Any]) -> str:
    outcome = "no worse: reverted" if facts["gone"] else "worse: not all of it can go"
    return f"  without {', '.join(facts['ideas'])}: {outcome}"


def _scale(facts: Mapping[str, Any]) -> str:
    return f"check: tip and champion at {facts['factor']:g} times the budget"


def _note(facts: Mapping[str, Any]) -> str:
    return str(facts["text"])


_LINES = {
    "plan": _plan,
    "proposed": _proposed,
    "replicate": _replicate,
    "raced": _raced,
    "ended": _ended,
    "ask": _ask,
    "answer": _answer,
    "refused": _refused,
    "repair": _repair,
    "conflict": _conflict,
    "deferred": _deferred,
    "settled": _settled,
    "certificate": _certificate,
    "minimise": _minimise,
    "minimised": _minimised,
    "scale": _scale,
    "note": _note,
}
