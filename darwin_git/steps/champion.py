"""The champion moves: its adopting merge, and a person's word on a scale-bound certificate."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from darwin_git.domain.claim import Claim, claim_of
from darwin_git.domain.message import merge_message
from darwin_git.domain.metric import Metric
from darwin_git.domain.names import CHAMPION
from darwin_git.domain.population import State, apply
from darwin_git.domain.statistics import noise
from darwin_git.ports import Move
from darwin_git.steps import measure
from darwin_git.steps.world import World


def standing(world: World, state: State) -> Mapping[str, Any] | None:
    """The best tip's certificate that was scale-bound: it is not asked for again.

    One whose event a kill left out is not standing yet: its fresh seeds are not used up.
    """
    records = world.history.records(state.agents[state.best].measured)
    for record in records:
        own = record["kind"] == "certificate" and record["champion"] == state.champion.measured
        past = own and record["fresh_from"] < measure.FRESH_SEEDS_FROM + state.fresh
        if past and claim_of(record, state.best).scale_bound:
            return record
    return None


def stand(world: World, state: State, record: Mapping[str, Any], accept: bool) -> Claim:
    """What a scale-bound certificate came to; with `accept` the champion moves on its word."""
    outcome = claim_of(record, state.best)
    if not accept:
        return outcome
    subject = world.subject(state.agents[state.best].measured, f"tip of {state.best}")
    known = measure.known_replicates(world, subject)
    losses = [known[seed].loss for seed in record["seeds"]]
    move, event = move_of(world, state, outcome, record, losses)
    subject_line = f"Accept the scale-bound certificate of {state.best}"
    after = apply(state, event)
    world.history.settle([move], state.generation, [event], after, {}, subject_line)
    world.history.fold()
    return replace(outcome, moved=True)


def move_of(
    world: World,
    state: State,
    outcome: Claim,
    fields: Mapping[str, Any],
    losses: Sequence[float],
) -> tuple[Move, dict[str, Any]]:
    """The champion's adopting merge, and its event."""
    tip = state.agents[outcome.agent]
    merge = world.history.commit(
        world.history.full_tree(tip.measured),
        (state.champion.tip, tip.measured),
        _message(world.metric, outcome, tip.ideas, fields),
        None,
    )
    event = {
        "kind": "champion",
        "tip": merge,
        "measured": tip.measured,
        "ideas": list(tip.ideas),
        "s0": max(noise(losses), _least_noise(world)),
        "scale_bound": outcome.scale_bound,
    }
    return Move(CHAMPION, state.champion.tip, merge), event


def _least_noise(world: World) -> float:
    """A training has some, even where a few seeds agree; a metric may have none."""
    return 1e-6 if world.config.genome.contract == "nanogpt" else 0.0


_ACCEPTED = " No gain is left there: the person who commits this wanted it all the same."


def _message(
    metric: Metric,
    outcome: Claim,
    ideas: Sequence[str],
    fields: Mapping[str, Any],
) -> str:
    decision = outcome.decision
    assert decision is not None
    sentences = [
        f"{decision.sentence.replace(': ', ', ', 1).capitalize()}.",
        f"On the race's seeds it was {metric.change_words(outcome.race, 1)}: what selection "
        "flatters, fresh seeds correct.",
    ]
    if outcome.final is not None and outcome.values is not None:
        before, after = (metric.value_words(metric.loss(value)) for value in outcome.values)
        sentences.append(
            f"Final split, read once and never used to decide: {metric.name} {before} to "
            f"{after}, {metric.change_words(outcome.final, 1)}."
        )
    if outcome.scale is not None:
        words = outcome.scale.in_words(metric)
        sentences.append(f"Checked once {words}." + _ACCEPTED * outcome.scale_bound)
    return merge_message(
        f"Certify {' + '.join(ideas)}: {metric.in_words(decision.mean)}",
        sentences,
        {
            "Darwin-Certificate": str(decision.status),
            "Darwin-Seeds": " ".join(str(seed) for seed in fields["seeds"]),
            "Darwin-Agent": outcome.agent,
            "Darwin-Scale": "bound, accepted" if outcome.scale_bound else "",
        },
    )
