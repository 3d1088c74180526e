"""Fitness, history and memory as lines for a prompt. What others wrote is one clean line each."""

from collections.abc import Callable, Sequence

from darwin_git.agents.llm.parts import Item
from darwin_git.domain.learning.lesson import Lesson
from darwin_git.domain.metric import Metric
from darwin_git.domain.quoting import line
from darwin_git.ports.agents import Fitness, Past, Peer

CURVE = 12
"""Points of the printed curve."""
SHORT_LESSON = 140
_EVIDENCE = 3

Count = Callable[[str], int]


def fitness(seen: Fitness | None, metric: Metric) -> list[str]:
    """What is known of the target, a sentence a line."""
    if seen is None:
        return []
    seeds = "1 seed" if seen.seeds == 1 else f"the mean of {seen.seeds} seeds"
    rows = [
        f"Held-out {metric.name}: {metric.value_words(seen.loss)} ({seeds}); loss {seen.loss:.4f} "
        f"{metric.unit}, {seen.gain:+.4f} gained on the baseline.",
        f"Noise: a gain below {seen.noise:.4f} {metric.unit} on one seed is luck.",
    ]
    facts = [
        f"{seen.parameters:,} parameters" if seen.parameters else "",
        f"{seen.flops_per_token:.3g} training FLOPs per token" if seen.flops_per_token else "",
        f"{seen.tokens:,} training tokens" if seen.tokens else "",
        f"{seen.tokens_per_second:,.0f} tokens/s" if seen.tokens_per_second else "",
        f"{seen.mfu:.1%} MFU" if seen.mfu is not None else "",
    ]
    if any(facts):
        rows.append("Cost: " + ", ".join(filter(None, facts)) + ".")
    if seen.curve:
        points = ", ".join(f"{step}: {loss:.3f}" for step, loss in thinned(seen.curve))
        rows.append(f"Training loss as the code printed it, by iteration: {points}.")
    return rows


def thinned(curve: Sequence[tuple[int, float]]) -> list[tuple[int, float]]:
    """At most CURVE points, the first and the last among them."""
    if len(curve) <= CURVE:
        return list(curve)
    last = len(curve) - 1
    return [curve[round(at * last / (CURVE - 1))] for at in range(CURVE)]


def gain(value: float | None, sd: float, metric: Metric) -> str:
    """A gain with its standard error and what it does to the metric."""
    if value is None:
        return "no gain measured"
    error = f" +- {sd:.4f}" if sd else ""
    return f"gain {value:+.4f}{error} ({metric.in_words(value)})"


def past(one: Past, metric: Metric, here: str, count: Count) -> Item:
    """A mutation of before and its outcome; `here` is the agent whose branch is the target."""
    where = "" if one.target == here else f" on {line(one.target, 20)}"
    text = (
        f"{line(one.variant, 80)} by {line(one.agent, 20)}{where}: {line(one.subject, 100)} "
        f"[{line(one.idea, 60)}]: {line(one.outcome, 160)}, {gain(one.gain, one.sd, metric)}"
    )
    return Item(text, count(text), age=one.variant.partition("/")[0], here=one.target == here)


def peer(one: Peer, metric: Metric, count: Count) -> Item:
    """Another lineage with its ideas, the shorter form with the first three."""
    ideas = [line(idea, 60) for idea in one.ideas[:24]]
    start = f"{line(one.name, 20)}, {one.gain:+.4f} ({metric.in_words(one.gain)}): "
    text = start + (", ".join(ideas) or "none yet")
    short = start + (", ".join(ideas[:3]) or "none yet")
    return Item(text, count(text), short, count(short))


def lesson(one: Lesson, count: Count) -> Item:
    """A lesson with its id and what speaks for it."""
    seen = f"helped {one.helped} of {one.shown} times shown" if one.shown else "not shown before"
    start = f"{line(one.id, 20)} {line(one.kind, 20)}, confidence {one.confidence:.2f}, {seen}"
    outcomes = (
        f"{line(e.variant, 80)}" + (f" {e.gain:+.4f}" if e.gain is not None else " failed")
        for e in one.evidence[-_EVIDENCE:]
    )
    evidence = ", ".join(outcomes)
    scope = ", ".join(line(word, 40) for word in sorted(one.scope)[:8])
    text = start + (f", evidence {evidence}" if evidence else "")
    text += (f", about {scope}" if scope else "") + f": {line(one.text, 600)}"
    short = f"{start}: {line(one.text, SHORT_LESSON)}"
    return Item(text, count(text), short, count(short))
