"""What a mutator is told: the target's files and fitness, what was tried, what was learned."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from darwin_git.domain.evidence import replicate_of
from darwin_git.domain.measurement import FROZEN
from darwin_git.domain.names import VariantName
from darwin_git.domain.outcome import joined_ideas
from darwin_git.domain.planning import Plan, Planned
from darwin_git.domain.population import State
from darwin_git.domain.records import canonical_choice
from darwin_git.domain.trial import Replicate, Verdict
from darwin_git.ports import Assignment, Fitness, Outcome, Past, Peer
from darwin_git.steps import measure
from darwin_git.steps.remember import shown
from darwin_git.steps.world import World

GENERATIONS = 6
"""So many of the last generations are told of."""
PAST = 24
"""Trials told of at most: half of them the target lineage's own."""


def learn_the_past(world: World, state: State) -> None:
    """Read once a generation what all its proposers are told."""
    world.outcomes = tuple(
        Outcome(idea, change, sd) for idea, seen in state.outcomes.items() for change, sd in seen
    )
    first = max(1, state.generation - GENERATIONS + 1)
    world.past = tuple(
        past_of(event)
        for generation in range(first, state.generation + 1)
        for event in world.history.events(generation)
        if event["kind"] == "trial" and event["verdict"] != "infra" and event["subject"]
    )
    world.lessons = world.history.lessons() if world.config.memory.mode != "off" else {}


def past_of(event: Mapping[str, Any]) -> Past:
    """A trial's event as a mutator is told of it."""
    verdict, failure = event["verdict"], event.get("failure") or ""
    decision = {"adopt": "adopted", "winner": "won", "park": "parked", "prune": "lost"}
    outcome = decision[event["decision"]] if verdict == "ok" else verdict
    return Past(
        variant=event["variant"],
        agent=event["mutator"],
        target=event["target"],
        idea=event["idea"],
        subject=event["subject"],
        outcome=f"{outcome}: {failure}" if failure else outcome,
        gain=event["gain"],
        sd=event["sd"],
    )


def assignment(world: World, state: State, plan: Plan, planned: Planned) -> Assignment:
    """The mutator's task."""
    files = world.history.files(planned.parent)
    target, best = state.agents[planned.target], state.agents[state.best]
    genome, scope = world.config.genome, world.scope
    told = Assignment(
        variant=str(VariantName(plan.generation, planned.slug)),
        mutator=planned.mutator,
        target=planned.target,
        files=files,
        mutable=frozenset(path for path in files if scope.allows(path)),
        train=genome.train,
        contract=genome.contract,
        frozen=FROZEN | frozenset(genome.overrides),
        seed=planned.seed,
        outcomes=world.outcomes,
        tried=frozenset(target.tried) | frozenset(world.drawn),
        present=frozenset(joined_ideas(target.ideas, best.ideas)),
        control=plan.control,
        scope=scope,
        metric=world.metric,
    )
    if world.proposers[planned.mutator].builtin:
        return told  # the catalogue reads no more than that
    return _in_full(world, state, planned, told)


def _in_full(world: World, state: State, planned: Planned, told: Assignment) -> Assignment:
    """With what only a model, or a program, can make use of."""
    # What our own agents draw meanwhile is left out: whoever is faster must change no prompt.
    quiet = replace(told, tried=frozenset(state.agents[planned.target].tried))
    own = [one for one in world.past if one.target == planned.target][-PAST // 2 :]
    others = [one for one in world.past if one not in own][-(PAST - len(own)) :]
    peers = tuple(
        Peer(name, lineage.gain, lineage.ideas)
        for name, lineage in sorted(state.agents.items(), key=lambda item: -item[1].gain)
        if name != planned.target
    )
    return replace(
        quiet,
        fitness=_fitness(world, state, planned),
        rules=_rules(world),
        past=(*others, *own),
        peers=peers,
        lessons=shown(world.lessons, quiet, own, world.config.memory, _strategy(world, planned)),
    )


def _strategy(world: World, planned: Planned) -> str:
    chosen = world.config.agents.get(planned.mutator)
    return chosen.strategy if chosen else ""


def _fitness(world: World, state: State, planned: Planned) -> Fitness | None:
    """What the notes say of the commit that is mutated."""
    lineage = state.agents[planned.target]
    replicates = _replicates(world, state, lineage.measured)
    if not replicates:
        return None
    screened = measure.known_screen(world, world.subject(lineage.measured, planned.target))
    allowed = screened.allowance if screened else None
    clean = [r for r in replicates if r.exclusive]
    rates = [r.tokens_per_second for r in clean]
    used = [r.mfu for r in clean if r.mfu is not None]
    return Fitness(
        loss=sum(r.loss for r in replicates) / len(replicates),
        gain=lineage.gain,
        noise=state.s0,
        seeds=len(replicates),
        parameters=allowed.parameters if allowed else 0,
        flops_per_token=allowed.flops_per_token if allowed else 0.0,
        tokens=allowed.tokens if allowed else 0,
        tokens_per_second=sum(rates) / len(rates) if rates else 0.0,
        mfu=sum(used) / len(used) if used else None,
        curve=replicates[0].curve,
    )


def _replicates(world: World, state: State, commit: str) -> list[Replicate]:
    """The race's, in the order of their seeds, as they were when the generation began.

    Its own races train parents on further seeds: a prompt that knew of them would be another one
    after a kill, and asked again.
    """
    closed = (r for r in world.history.records(commit) if r["generation"] <= state.generation)
    found = [
        replicate_of(record)
        for record in canonical_choice(closed)
        if record["kind"] == "replicate" and record["verdict"] == Verdict.OK
    ]
    raced = [r for r in found if r.seed < measure.FRESH_SEEDS_FROM]
    return sorted(raced or found, key=lambda r: r.seed)


def _rules(world: World) -> tuple[str, ...]:
    """What holds for every mutation of this run, in sentences."""
    budget, genome = world.config.budget, world.config.genome
    if genome.contract == "command":
        metric = world.metric
        better = "less" if metric.direction == "min" else "more"
        return (
            f"A program outside this repository measures {metric.name}; {better} is better.",
            "It is run under several seeds; a gain that only one seed shows is luck.",
        )
    rules: Sequence[str] = (
        f"Every training sees {budget.tokens:,} tokens; the number of steps follows from your "
        "batch, block size and accumulation: half the batch means twice the steps.",
        f"Equal tokens must not buy compute: more than {budget.flops_ratio:g} times the "
        f"baseline's FLOPs per token, or {budget.wall_ratio:g} times its time per token, gets "
        f"proportionally fewer tokens; above {budget.wall_refuse:g} times its time it is refused.",
        f"The model stays in {genome.model} as GPT and GPTConfig; {genome.train[0]} keeps its "
        "configurator, its printed `iter N: loss X, ...` lines and its checkpoint's fields.",
    )
    most = budget.max_parameters
    return (*rules, f"At most {most:,} parameters.") if most else tuple(rules)
