"""What lessons are worth: an outcome validates those that its mutator was shown, or retires them.

A shown lesson helped where

| kind             | the variant                                                            |
|------------------|------------------------------------------------------------------------|
| recipe, workflow | won, or was parked with a gain above zero                              |
| safeguard        | never failed with the lesson's class; without a class: never failed    |
| dead end         | tried none of the lesson's ideas, and did not fail                     |

and nothing is said by a variant that infrastructure broke, that was a duplicate or was stopped.

A lesson is retired by rule where

| rule         | when                                                                           |
|--------------|--------------------------------------------------------------------------------|
| useless      | shown at least 6 times, and confidence below `NEEDED` of its kind              |
| contradicted | a recipe: dead ends of the same ideas have at least 2 outcomes, and more of    |
|              | them; a dead end: recipes have                                                 |
| crowded out  | more than 1 000 live lessons: the least confident, the oldest first            |

What a person wrote is retired by a person only. The numbers are choices. A recipe's share of
successes is a mutation's chance to win, so little is asked of it; a safeguard that does not keep
every other variant from its failure does nothing.
"""

from collections.abc import Mapping, Sequence

from darwin_git.domain.learning.lesson import (
    KINDS,
    Lesson,
    LessonKind,
    MemoryEvent,
    Reflection,
    classes_of,
    cleaned,
    ideas_of,
    lesson_event,
    new_lesson,
    retire_event,
    words_in,
)
from darwin_git.domain.learning.rules import BLAMELESS, failure_of, ideas_in
from darwin_git.domain.outcome import Trial

SHOWN_ENOUGH = 6
NEEDED: Mapping[LessonKind, float] = {
    "recipe": 0.2,
    "workflow": 0.2,
    "safeguard": 0.5,
    "dead_end": 0.5,
}
LOST_ENOUGH = 2
LIVE = 1000
DRAFTS = 3
"""New lessons, and retired ones, of one reflection at most: a choice."""
ALIKE = 0.8
"""Share of common words (Jaccard's) from which a draft says what is known: a choice."""
_OPPOSITE: Mapping[LessonKind, LessonKind] = {"recipe": "dead_end", "dead_end": "recipe"}


def validate(
    trials: Mapping[str, Trial],
    shown: Mapping[str, Sequence[str]],
    lessons: Mapping[str, Lesson],
    generation: int,
) -> list[MemoryEvent]:
    """A ``shown`` event for each variant whose mutator saw lessons.

    Args:
        trials, shown: by variant; ids that are no lesson's (a forged trailer) do not count.
        lessons: as they were when they were shown.
    """
    events: list[MemoryEvent] = []
    for variant, trial in trials.items():
        ids = [key for key in dict.fromkeys(shown.get(variant, ())) if key in lessons]
        if not ids or trial.verdict in BLAMELESS:
            continue
        events.append(
            {
                "kind": "shown",
                "generation": generation,
                "variant": variant,
                "ids": ids,
                "helped": [key for key in ids if helped(lessons[key], trial)],
            }
        )
    return events


def helped(lesson: Lesson, trial: Trial) -> bool:
    """Whether a lesson served a variant whose mutator saw it; see the table above."""
    failure = failure_of(trial)
    if lesson.kind == "safeguard":
        met = {failure, *trial.failures} - {""}
        return not met & (classes_of(lesson) or met)
    if lesson.kind == "dead_end":
        return not failure and not ideas_in(trial) & ideas_of(lesson)
    return trial.won or (trial.parked and (trial.gain or 0.0) > 0.0)


def retire_by_rule(lessons: Mapping[str, Lesson], generation: int) -> list[MemoryEvent]:
    """The lessons that the rules retire; `lessons` has this generation's outcomes."""
    found: dict[str, str] = {}
    live = [one for one in lessons.values() if not one.retired and one.source != "person"]
    outcomes: dict[tuple[LessonKind, frozenset[str]], int] = {}
    for one in lessons.values():
        key = (one.kind, ideas_of(one))
        outcomes[key] = outcomes.get(key, 0) + len(one.evidence)
    for one in live:
        against = _OPPOSITE.get(one.kind)
        others = outcomes.get((against, ideas_of(one)), 0) if against and ideas_of(one) else 0
        if one.shown >= SHOWN_ENOUGH and one.confidence < NEEDED[one.kind]:
            found[one.id] = f"it helped {one.helped} of {one.shown} mutations that were shown it"
        elif others >= LOST_ENOUGH and others > len(one.evidence):
            word = "lost clearly" if against == "dead_end" else "won"
            found[one.id] = f"the same {word} {others} times, against {len(one.evidence)}"
    kept = [one for one in live if one.id not in found]
    kept.sort(key=lambda one: (one.confidence, one.generation, one.id))
    for one in kept[: max(0, len(kept) - LIVE)]:
        found[one.id] = f"crowded out: {LIVE} lessons are kept"
    return [retire_event(key, found[key], "rule", generation) for key in sorted(found)]


def reflected(
    reflection: Reflection, lessons: Mapping[str, Lesson], generation: int
) -> list[MemoryEvent]:
    """What is taken of a model's reflection: at most three new lessons and three retired ones.

    A draft of an unknown kind, without text, or that says what is known is left out; a lesson is
    retired only where it exists and no person wrote it.
    """
    events: list[MemoryEvent] = []
    known = list(lessons.values())
    for draft in reflection.drafts:
        kind = next((one for one in KINDS if one == draft.kind), None)
        if len(events) == DRAFTS:
            break
        if kind is None or not words_in(cleaned(draft.text)):
            continue
        lesson = new_lesson(kind, draft.text, draft.scope, "model", generation)
        if not any(_alike(one, lesson) for one in known):
            known.append(lesson)
            events.append(lesson_event(lesson, generation, None))
    gone = [
        key
        for key in sorted(reflection.retire)
        if key in lessons and not lessons[key].retired and lessons[key].source != "person"
    ]
    whys = reflection.retire
    return events + [retire_event(key, whys[key], "model", generation) for key in gone[:DRAFTS]]


def _alike(known: Lesson, new: Lesson) -> bool:
    if known.id == new.id:
        return True
    one, other = words_in(known.text), words_in(new.text)
    return known.kind == new.kind and len(one & other) >= ALIKE * len(one | other)
