"""Memory in a generation: which lessons a mutator is shown, and what is learned at the end."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from darwin_git.config import Memory
from darwin_git.domain.learning.credit import reflected, retire_by_rule, validate
from darwin_git.domain.learning.fold import fold
from darwin_git.domain.learning.lesson import Lesson, MemoryEvent, Reflection
from darwin_git.domain.learning.retrieval import PER_KIND, retrieve, words_of
from darwin_git.domain.learning.rules import learn
from darwin_git.domain.metric import Metric
from darwin_git.domain.names import VariantName
from darwin_git.domain.outcome import Trial
from darwin_git.domain.planning import Plan
from darwin_git.domain.population import State
from darwin_git.ports import Assignment, Past

_UNKNOWN: Mapping[str, str] = MappingProxyType({})


def shown(
    lessons: Mapping[str, Lesson],
    task: Assignment,
    own: Sequence[Past],
    chosen: Memory,
    strategy: str = "",
) -> list[Lesson]:
    """The lessons for one assignment, the most relevant first.

    Args:
        lessons: as the generation found them.
        own: the latest trials on the same target.
        strategy: the mutator's.
    """
    if chosen.mode == "off":
        return []
    failures = [past.outcome for past in own if past.gain is None]
    ideas = [*task.present, *(past.idea for past in own)]
    words = words_of(ideas, task.mutable, failures, strategy)
    return retrieve(lessons, words, limit=chosen.shown, per_kind=PER_KIND)


def remembered(
    plan: Plan,
    trials: Sequence[Trial],
    shown_by_variant: Mapping[str, Sequence[str]],
    reflection: Reflection,
    lessons: Mapping[str, Lesson],
    state: State,
    reasons: Mapping[str, str] = _UNKNOWN,
) -> list[MemoryEvent]:
    """The events that a generation adds to memory where it is on, in a fixed order.

    Args:
        shown_by_variant: ids of the lessons that a variant's mutator saw.
        lessons: as they were when the generation began.
        state: before the generation is settled: lineages have their old ideas.
        reasons: by variant, why it failed before it was repaired.
    """
    by_name = {str(VariantName(plan.generation, trial.planned.slug)): trial for trial in trials}
    events = validate(by_name, shown_by_variant, lessons, plan.generation)
    events += learn(
        by_name,
        lessons,
        generation=plan.generation,
        s0=state.s0,
        bases={name: lineage.ideas for name, lineage in state.agents.items()},
        reasons=reasons,
        metric=Metric.of(state.measured.get("metric")),
    )
    events += reflected(reflection, fold(events, lessons), plan.generation)
    return events + retire_by_rule(fold(events, lessons), plan.generation)
