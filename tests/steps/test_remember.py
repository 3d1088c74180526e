"""Memory over generations: learned, shown to whom it concerns, credited, retired; switched off."""

from dataclasses import replace

import pytest

from darwin_git.config import Memory
from darwin_git.domain.learning.fold import fold
from darwin_git.domain.learning.lesson import Draft, MemoryEvent, Reflection
from darwin_git.domain.outcome import Trial
from darwin_git.domain.planning import Plan, Planned
from darwin_git.domain.population import Lineage, State, start
from darwin_git.domain.records import canonical_json
from darwin_git.domain.trial import Verdict
from darwin_git.ports import Assignment, Past
from darwin_git.steps.remember import remembered, shown

ON, FREEZE, OFF = (Memory(mode=mode) for mode in ("on", "freeze", "off"))
SHAPE = "RuntimeError: mat1 and mat2 shapes cannot be multiplied"


def planned(mutator: str, target: str) -> Planned:
    return Planned(f"{mutator}-on-{target}", "mutate", mutator, target, "b" * 40, 1)


def trial(one: Planned, idea: str = "rotary", **changes: object) -> Trial:
    plain = Trial(one, "c" * 40, "d" * 40, idea, f"Try {idea}", Verdict.OK, gain=0.0, sd=0.01)
    return replace(plain, **changes)  # type: ignore[arg-type]


def crashed(one: Planned, idea: str = "rotary") -> Trial:
    how = {"verdict": Verdict.CRASHED, "failure": "shape", "reason": SHAPE, "gain": None}
    return trial(one, idea, **how)


def task(target: str = "a1", present: tuple[str, ...] = ()) -> Assignment:
    files = {"model.py": "", "train.py": ""}
    return Assignment(
        f"0002/a2-on-{target}", "a2", target, files, frozenset(files), ("train.py",),
        frozenset(), 1, present=frozenset(present),
    )  # fmt: skip


@pytest.fixture
def state() -> State:
    event = {
        **{"island": "abcd1234", "commit": "b" * 40, "protocol": "p", "measured": {"tokens": 1}},
        **{"agents": ["a1", "a2", "a3", "a4"], "losses": {"1": 2.3, "2": 2.4}, "s0": 0.01},
        **{"trainings": 2, "seconds": 3.5},
    }
    first = start(event)
    return replace(first, agents={**first.agents, "a1": Lineage("t" * 40, "t" * 40, ("swiglu",))})


def generation(number: int, *trials: Trial) -> tuple[Plan, list[Trial]]:
    return Plan(number, tuple(one.planned for one in trials)), list(trials)


def test_a_lesson_is_learned_shown_credited_and_retired(state: State) -> None:
    plan, trials = generation(1, crashed(planned("a2", "a1")))
    events = remembered(plan, trials, {}, Reflection(), fold([]), state)
    [lesson] = fold(events).values()
    assert lesson.kind == "safeguard"

    own = [Past("0001/a2-on-a1", "a2", "a1", "rotary", "Try rotary", "crashed: shape")]
    for number in range(2, 12):
        lessons = fold(events)
        found = shown(lessons, task(present=("swiglu",)), own, ON, strategy="architecture")
        if not found:
            break
        assert [one.id for one in found] == [lesson.id]
        plan, trials = generation(number, crashed(planned("a2", "a1"), f"rotary{number}"))
        seen = {f"{number:04d}/a2-on-a1": [one.id for one in found]}
        events += remembered(plan, trials, seen, Reflection(), lessons, state)

    [last] = fold(events).values()
    assert last.shown == 9, "eight outcomes stand behind it: (1 + 8) / (2 + 9 + 8) is below 0.5"
    assert last.helped == 0
    assert last.retired == "it helped 0 of 9 mutations that were shown it"
    assert shown(fold(events), task(), own, ON) == []


def test_what_concerns_the_target_is_shown_first(state: State) -> None:
    won = {"won": True, "gain": 0.05}
    plan, trials = generation(
        1,
        trial(planned("a2", "a1"), "muon", **won),
        trial(planned("a3", "a2"), "rotary", **won),
        trial(planned("a4", "a3"), "dropout", gain=-0.09),
        crashed(planned("a1", "a4"), "gqa"),
    )
    lessons = fold(remembered(plan, trials, {}, Reflection(), {}, state))
    assert sorted(one.kind for one in lessons.values()) == [
        "dead_end", "recipe", "recipe", "safeguard",
    ]  # fmt: skip
    first = shown(lessons, task(present=("rotary",)), [], ON)[0]
    assert "rotary" in first.scope
    own = [Past("0001/a1-on-a4", "a1", "a4", "moe", "Try moe", "crashed: shape")]
    assert shown(lessons, task("a4"), own, ON)[0].kind == "safeguard"
    assert "muon" in shown(lessons, task(), [], ON, strategy="muon first")[0].scope
    assert len(shown(lessons, task(), [], Memory(shown=2))) == 2
    assert shown(lessons, task(), [], Memory(shown=0)) == []
    assert "on top of swiglu" in next(o.text for o in lessons.values() if "muon" in o.scope)


def test_three_variants_of_one_generation_make_one_lesson_also_when_a_later_one_joins(
    state: State,
) -> None:
    plan, trials = generation(1, *(crashed(planned("a2", f"a{n}"), f"x{n}") for n in (1, 3, 4)))
    events = remembered(plan, trials, {}, Reflection(), {}, state)
    [lesson] = fold(events).values()
    assert [one.variant for one in lesson.evidence] == [
        "0001/a2-on-a1", "0001/a2-on-a3", "0001/a2-on-a4",
    ]  # fmt: skip
    plan, trials = generation(2, crashed(planned("a2", "a1"), "y"))
    events += remembered(plan, trials, {}, Reflection(), fold(events), state)
    [lesson] = fold(events).values()
    assert len(lesson.evidence) == 4


def test_off_is_neither_and_freeze_still_shows(state: State) -> None:
    plan, trials = generation(1, trial(planned("a2", "a1"), won=True, gain=0.05))
    events = remembered(plan, trials, {}, Reflection(), {}, state)
    for chosen, n in ((ON, 1), (FREEZE, 1), (OFF, 0)):
        assert len(shown(fold(events), task(), [], chosen)) == n


def test_an_outage_leaves_memory_as_it_was(state: State) -> None:
    plan, trials = generation(1, trial(planned("a2", "a1"), won=True, gain=0.05))
    lessons = fold(remembered(plan, trials, {}, Reflection(), {}, state))
    down = trial(planned("a2", "a1"), verdict=Verdict.INFRA, gain=None, reason="endpoint down")
    again = trial(planned("a3", "a1"), verdict=Verdict.DUPLICATE, gain=None)
    plan, trials = generation(2, down, again)
    seen = dict.fromkeys(("0002/a2-on-a1", "0002/a3-on-a1"), tuple(lessons))
    assert remembered(plan, trials, seen, Reflection(), lessons, state) == []


def test_a_reflection_joins_the_rules_and_repeats_nothing_they_wrote(state: State) -> None:
    plan, trials = generation(1, trial(planned("a2", "a1"), won=True, gain=0.05))
    [rule] = remembered(plan, trials, {}, Reflection(), {}, state)
    drafts = (Draft("recipe", rule["text"], ("rotary",)), Draft("workflow", "Read the log first."))
    events = remembered(plan, trials, {}, Reflection(drafts, {rule["id"]: "no"}), {}, state)
    assert [event["kind"] for event in events] == ["lesson", "lesson", "retire"]
    assert [event.get("source") for event in events] == ["rule", "model", None]


def test_the_same_generation_remembers_the_same(state: State) -> None:
    def once() -> list[MemoryEvent]:
        plan, trials = generation(
            1,
            trial(planned("a2", "a1"), won=True, gain=0.05),
            crashed(planned("a3", "a2"), "gqa"),
            trial(planned("a4", "a3"), "moe", failures=("shape",), subject="Reshape it"),
        )
        reasons = {"0001/a4-on-a3": SHAPE}
        return remembered(plan, trials, {}, Reflection(), {}, state, reasons)

    assert list(map(canonical_json, once())) == list(map(canonical_json, once()))
    kinds = [event["lesson"] for event in once()]
    assert kinds == ["recipe", "safeguard", "workflow"]
    assert SHAPE in once()[2]["text"]
