"""Planning and population: pure functions on values."""

import json
import random

from hypothesis import given
from hypothesis import strategies as st

from darwin_git.domain.planning import Plan, draw_targets, plan, replacement
from darwin_git.domain.population import (
    OUTCOMES_KEPT,
    Lineage,
    Parked,
    State,
    apply,
    from_json,
    start,
    to_json,
)

BASE = {
    "kind": "baseline",
    "island": "abcd1234",
    "commit": "b" * 40,
    "protocol": "p",
    "measured": {"tokens": 1},
    "agents": ["a1", "a2", "a3", "a4"],
    "losses": {"1": 2.3, "2": 2.4},
    "s0": 0.01,
    "trainings": 2,
    "seconds": 3.5,
}


def event(**changes: object) -> dict[str, object]:
    return {
        "kind": "trial",
        "variant": "0001/a2-on-a1",
        "commit": "c" * 40,
        "parent": "b" * 40,
        "how": "mutate",
        "mutator": "a2",
        "target": "a1",
        "idea": "rotary",
        "verdict": "ok",
        "decision": "adopt",
        "gain": 0.2,
        "sd": 0.01,
    } | changes


def with_gains(**gains: float) -> State:
    state = start(BASE)
    agents = {
        name: Lineage(tip=name * 20, measured=name * 20, gain=gains.get(name, 0.0))
        for name in state.agents
    }
    return State(**{**state.__dict__, "agents": agents})


@given(st.integers(2, 12), st.integers(0, 1000))
def test_equal_credit_is_a_derangement(n: int, seed: int) -> None:
    names = [f"a{i}" for i in range(n)]
    targets = draw_targets(names, dict.fromkeys(names, 0.0), 0.3, random.Random(seed))
    assert sorted(targets.values()) == sorted(names)
    assert all(mutator != target for mutator, target in targets.items())


@given(st.lists(st.floats(0, 1), min_size=2, max_size=12), st.floats(0, 1), st.integers(0, 1000))
def test_targets_are_never_oneself_and_never_too_popular(
    weights: list[float], exploration: float, seed: int
) -> None:
    names = [f"a{i}" for i in range(len(weights))]
    chances = dict(zip(names, weights, strict=True))
    targets = draw_targets(names, chances, exploration, random.Random(seed))
    assert set(targets) == set(names)
    assert all(mutator != target for mutator, target in targets.items())
    most = max(list(targets.values()).count(name) for name in names)
    assert most <= -(-len(names) // 2)


def test_better_lineages_are_mutated_more_often() -> None:
    state = with_gains(a1=0.3, a2=0.05)
    drawn = [
        trial.target
        for seed in range(200)
        for trial in plan(state, seed=seed, crossover=0, replay=0, exploration=0.3).trials
    ]
    assert drawn.count("a1") > 2 * drawn.count("a3")
    assert drawn.count("a3") > 0, "the exploration floor"


def test_a_plan_repeats_itself_and_survives_json() -> None:
    state = with_gains(a1=0.3)
    one = plan(state, seed=1, crossover=0.2, replay=0.2, exploration=0.3)
    again = plan(state, seed=1, crossover=0.2, replay=0.2, exploration=0.3)
    assert one == again
    assert Plan.from_json(json.loads(json.dumps(one.to_json()))) == one


def test_parked_variants_come_back_on_the_best_tip_at_most_twice() -> None:
    state = with_gains(a1=0.3)
    stone = Parked("p" * 40, "b" * 40, "a2", "a3", "softcap15", 0.01)
    state = State(**{**state.__dict__, "parked": {"0001/a2-on-a3": stone}})
    made = plan(state, seed=3, crossover=0, replay=1.0, exploration=0.3)
    replays = [trial for trial in made.trials if trial.how == "replay"]
    assert len(replays) == 1
    assert replays[0].other == stone.commit
    tired = Parked(**{**stone.__dict__, "replays": 2})
    state = State(**{**state.__dict__, "parked": {"0001/a2-on-a3": tired}})
    made = plan(state, seed=3, crossover=0, replay=1.0, exploration=0.3)
    assert all(trial.how == "mutate" for trial in made.trials)


def test_replacement_waits_two_generations_and_keeps_half_the_lineages_different() -> None:
    state = with_gains(a1=0.3)
    assert replacement(state) is None
    for number in (1, 2):
        state = apply(
            state, {"kind": "generation", "number": number, "trainings": 0, "seconds": 0.0}
        )
    pair = replacement(state)
    assert pair == ("a2", "a1")
    best = state.agents["a1"]
    state = apply(
        state,
        {
            "kind": "replace",
            "agent": "a2",
            "tip": "t" * 40,
            "measured": best.measured,
            "ideas": [],
            "gain": best.gain,
        },
    )
    assert replacement(state) is None, "half of four share a tree already"


def test_a_failure_counts_against_the_idea_and_infrastructure_does_not() -> None:
    state = start(BASE)
    state = apply(state, event(verdict="crashed", decision="prune", gain=None, sd=0.0))
    assert state.outcomes["rotary"] == ((None, 0.0),)
    assert (state.agents["a2"].wins, state.agents["a2"].tries) == (0, 1)
    state = apply(state, event(verdict="infra", decision="prune", gain=None, idea="muon"))
    assert "muon" not in state.outcomes
    assert state.agents["a2"].tries == 1


def test_the_state_stays_bounded() -> None:
    state = start(BASE)
    for _ in range(50):
        state = apply(state, event(decision="prune", gain=-0.1))
    assert len(state.outcomes["rotary"]) == OUTCOMES_KEPT
    assert state.agents["a1"].tried == ("rotary",)


def test_a_state_survives_json() -> None:
    state = apply(start(BASE), event(decision="park"))
    state = apply(state, {"kind": "generation", "number": 1, "trainings": 4, "seconds": 1.5})
    assert from_json(json.loads(json.dumps(to_json(state)))) == state


def test_unknown_events_change_nothing() -> None:
    state = start(BASE)
    assert apply(state, {"kind": "from-the-future"}) == state


def test_an_answer_that_was_of_no_use_counts_as_a_failed_mutation() -> None:
    nothing = {"commit": "", "verdict": "rejected", "decision": "prune", "gain": None}
    refused = event(**nothing, failure="answer")
    none_left = event(**nothing, failure="proposal")
    state = apply(apply(start(BASE), refused), none_left)
    assert (state.mutations.made, state.mutations.failed) == (1, 1)
    assert state.mutations.classes == {"answer": 1}
