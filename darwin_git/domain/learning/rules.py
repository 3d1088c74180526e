"""The rules that turn a generation's trials into lessons.

| what became of the variant                            | lesson    | joins a known one with     |
|-------------------------------------------------------|-----------|----------------------------|
| it won its race                                       | recipe    | the same ideas             |
| gain below -2 standard errors and below -s0           | dead end  | the same ideas             |
| it failed at last, with a class                       | safeguard | the same class, and either |
| it failed, and was repaired                           | workflow  | the same ideas or reason   |
| nobody's fault, a duplicate, stopped, never committed | none      |                            |

A known lesson gets one more piece of evidence instead of a second text. Two standard errors are
the usual 95 % of a normal error; s0 besides, since one seed's error is a guess.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from darwin_git.domain.learning.lesson import (
    CLASSES,
    Evidence,
    Lesson,
    LessonKind,
    MemoryEvent,
    classes_of,
    cleaned,
    ideas_of,
    lesson_event,
    new_lesson,
    scope_of,
    words_in,
)
from darwin_git.domain.metric import PERPLEXITY, Metric
from darwin_git.domain.outcome import Trial
from darwin_git.domain.statistics import paired
from darwin_git.domain.trial import Verdict

NORMAL = 1.96
WORST = -2.0
REASON = 240
BASE_IDEAS = 6
LARGEST = 50.0
"""Nats: of what a diverged loss lost, words say no more than that."""

BLAMELESS = frozenset({Verdict.INFRA, Verdict.DUPLICATE, Verdict.STOPPED})
_BY_VERDICT: Mapping[Verdict, str] = {
    Verdict.TIMEOUT: "timeout",
    Verdict.OOM: "oom",
    Verdict.DIVERGED: "nan",
    Verdict.CHEATED: "rule",
    Verdict.CRASHED: "other",
}
_ADVICE: Mapping[str, str] = {
    "syntax": "Every changed file must parse: look at brackets, quotes and indentation.",
    "import": "Import only what the unchanged files import, or what stands in these files.",
    "shape": "Follow the shape of every tensor that the change touches, to the loss.",
    "oom": "Memory is limited: what is added must be small, or must free as much.",
    "nan": "Look for divisions by zero, logarithms of zero, and steps that are too large.",
    "timeout": "It must be about as fast as its parent for each token.",
    "rule": "The rules of the run hold for every mutation.",
    "other": "Check names, arguments and their order against the unchanged code.",
}
_QUOTED = re.compile("“([^”]*)”")


@dataclass
class _Known:
    """What is known so far, the events of this generation included."""

    lessons: dict[str, Lesson]
    generation: int
    events: list[MemoryEvent] = field(default_factory=list)

    def add(self, lesson: Lesson, evidence: Evidence, *, reason: str = "") -> None:
        """Write a lesson, or the evidence to the known one that says the same."""
        same = sorted(
            (one for one in self.lessons.values() if _same(one, lesson, reason)),
            key=lambda one: (bool(one.retired), one.generation, one.id),
        )
        written = same[0] if same else lesson
        behind = {(one.variant, one.commit) for one in written.evidence}
        if (evidence.variant, evidence.commit) not in behind:
            self.events.append(lesson_event(written, self.generation, evidence))
            self.lessons[written.id] = replace(written, evidence=(*written.evidence, evidence))


def learn(
    trials: Mapping[str, Trial],
    lessons: Mapping[str, Lesson],
    *,
    generation: int,
    s0: float,
    bases: Mapping[str, Sequence[str]],
    reasons: Mapping[str, str],
    metric: Metric = PERPLEXITY,
) -> list[MemoryEvent]:
    """The events of a generation's trials, by the table above.

    Args:
        trials: by variant ("0003/a2-on-a1").
        lessons: what is known already.
        s0: paired noise of the baseline, in loss units.
        bases: the ideas that a target's lineage had, by agent.
        reasons: by variant, the reason of the last failure that was repaired, where it is known.
        metric: what gains are gains of.
    """
    known = _Known(dict(lessons), generation)
    for variant, trial in trials.items():
        if trial.verdict in BLAMELESS or not trial.commit:
            continue
        base = bases.get(trial.planned.target, ())
        if trial.gain is not None and math.isfinite(trial.gain):
            _measured(known, variant, trial, base, s0, metric)
        elif failure := failure_of(trial):
            _failed(known, variant, trial, failure)
        if trial.failures and trial.verdict is Verdict.OK:
            _mended(known, variant, trial, reasons.get(variant, ""))
    return known.events


def failure_of(trial: Trial) -> str:
    """The class that a trial failed with at last; empty where it did not fail."""
    if trial.failure in CLASSES:
        return trial.failure
    return _BY_VERDICT.get(trial.verdict, "")


def ideas_in(trial: Trial) -> frozenset[str]:
    """A trial's idea as scopes have it; a crossover's "a+b" counts as its parts."""
    return scope_of(trial.idea.split("+"))


def evidence_of(variant: str, trial: Trial) -> Evidence:
    """The gain with its 95 % interval: the paired one of three seeds or more, else 1.96 errors."""
    gain = trial.gain
    if gain is None or not math.isfinite(gain):
        return Evidence(variant, trial.commit)
    effects = list((trial.effects or {}).values())
    if len(effects) > 2:
        found = paired(effects)
        return Evidence(variant, trial.commit, gain, found.low, found.high)
    if not 0.0 < trial.sd < math.inf:
        return Evidence(variant, trial.commit, gain)
    half = NORMAL * trial.sd
    return Evidence(variant, trial.commit, gain, gain - half, gain + half)


def _measured(
    known: _Known, variant: str, trial: Trial, base: Sequence[str], s0: float, metric: Metric
) -> None:
    """A recipe or a dead end, or neither: most outcomes are noise."""
    gain = trial.gain or 0.0
    kind: LessonKind
    if trial.won:
        kind, word = "recipe", "won"
    elif gain < WORST * trial.sd and gain < -s0:
        kind, word = "dead_end", "lost"
    else:
        return
    evidence = evidence_of(variant, trial)
    ideas = " + ".join(base[-BASE_IDEAS:]) or "the baseline"
    text = f"{_named(trial)} {word} on top of {cleaned(ideas, 160)}: {_effect(evidence, metric)}."
    known.add(new_lesson(kind, text, ideas_in(trial), "rule", known.generation), evidence)


def _failed(known: _Known, variant: str, trial: Trial, failure: str) -> None:
    reason = _last_line(trial.reason)
    said = f": “{reason}”" if reason else ""
    text = f"{failure} failure{said}. {_ADVICE[failure]} First seen with {_named(trial)}."
    scope = (failure, *sorted(ideas_in(trial)))
    lesson = new_lesson("safeguard", text, scope, "rule", known.generation)
    known.add(lesson, evidence_of(variant, trial), reason=reason)


def _mended(known: _Known, variant: str, trial: Trial, why: str) -> None:
    failure = trial.failures[-1] if trial.failures[-1] in CLASSES else "other"
    reason = _last_line(why)
    said = f": “{reason}”" if reason else ""
    text = (
        f"{failure} failure{said}, with {_named(trial, subject=False)}, "
        f"mended by “{_quotable(trial.repair or trial.subject, 72)}”."
    )
    scope = (failure, *sorted(ideas_in(trial)))
    lesson = new_lesson("workflow", text, scope, "rule", known.generation)
    known.add(lesson, evidence_of(variant, trial), reason=reason)


def _same(known: Lesson, new: Lesson, reason: str) -> bool:
    """Whether two lessons are one; see the table."""
    if known.id == new.id:
        return True
    if known.kind != new.kind or classes_of(known) != classes_of(new):
        return False
    if ideas_of(new) and ideas_of(known) == ideas_of(new):
        return True
    words = words_in(reason)
    quoted = _QUOTED.search(known.text) if words and known.source == "rule" else None
    return quoted is not None and _bare(quoted[1], known) == _bare(reason, new)


def _bare(reason: str, lesson: Lesson) -> frozenset[str]:
    """A reason's words without the names of the lesson's own ideas."""
    return words_in(reason) - words_in(" ".join(ideas_of(lesson)))


def _effect(evidence: Evidence, metric: Metric) -> str:
    """A gain as the metric's change: ``-4.1 % perplexity (95 %: -5.2 % to -3.0 %)``."""
    told = f"{metric.change_words(bounded(evidence.gain, metric))} {metric.name}"
    if evidence.low is None or evidence.high is None:
        return told
    ends = [metric.change_words(bounded(x, metric)) for x in (evidence.high, evidence.low)]
    return f"{told} (95 %: {ends[0]} to {ends[1]})"


def bounded(gain: float | None, metric: Metric) -> float | None:
    """A gain that words can say: exp(-gain) of what a diverged loss lost is too large."""
    if gain is None or metric.scale == "linear":
        return gain
    return max(-LARGEST, min(LARGEST, gain))


def _named(trial: Trial, *, subject: bool = True) -> str:
    """The idea, with the subject of its commit."""
    idea = _quotable(trial.idea, 60) or "an unnamed idea"
    return f"{idea} (“{_quotable(trial.subject, 72)}”)" if subject and trial.subject else idea


def _last_line(reason: str) -> str:
    lines = [line for line in reason[-16 * REASON :].splitlines() if line.strip()]
    return _quotable(lines[-1], REASON) if lines else ""


def _quotable(text: str, limit: int) -> str:
    """Cleaned text that cannot close its own quotation."""
    return cleaned(text.replace("“", '"').replace("”", '"'), limit)
