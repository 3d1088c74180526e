"""Select and apply: adopting merges, stepping stones, prunes, replacement; one transition."""

import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from darwin_git.domain.learning.lesson import MemoryEvent
from darwin_git.domain.message import merge_message
from darwin_git.domain.names import CHAMPION, LEDGER, VariantName, agent_ref
from darwin_git.domain.outcome import Decision, Trial, joined_ideas
from darwin_git.domain.planning import Plan, replacement
from darwin_git.domain.population import State, apply
from darwin_git.domain.selection import RULES, Candidate
from darwin_git.errors import DarwinError
from darwin_git.ports import Measured, Move
from darwin_git.steps.exchange import spent_in
from darwin_git.steps.measure import measurement, spent
from darwin_git.steps.propose import author
from darwin_git.steps.world import World


@dataclass
class _Draft:
    """A transition in the making."""

    state: State
    events: list[dict[str, Any]] = field(default_factory=list)
    moves: list[Move] = field(default_factory=list)

    def add(self, event: dict[str, Any]) -> None:
        self.events.append(event)
        self.state = apply(self.state, event)


def refuse_occupied(world: World, state: State) -> None:
    """Stop before anything moves a branch under somebody's feet.

    Raises:
        DarwinError: an agent's, the champion's or the ledger's branch is checked out somewhere.
    """
    occupied = world.history.occupied()
    for ref in (CHAMPION, LEDGER, *(agent_ref(name) for name in state.agents)):
        if ref in occupied:
            raise DarwinError(
                f"{ref.removeprefix('refs/heads/')} is checked out in {occupied[ref]}: moving it "
                "would stage a revert there",
                hint=f"git -C {occupied[ref]} switch --detach, then run this again",
            )


def refuse_moved(world: World, state: State) -> None:
    """Stop where somebody else moved a branch of ours: the ledger would no longer be true.

    Raises:
        DarwinError: an agent's branch or the champion stands elsewhere than the ledger says.
    """
    expected = {CHAMPION: state.champion.tip}
    expected |= {agent_ref(name): lineage.tip for name, lineage in state.agents.items()}
    for ref, tip in expected.items():
        found = world.history.resolve(ref)
        if found != tip:
            name = ref.removeprefix("refs/heads/")
            where = "is gone" if found is None else f"was moved to {found[:12]} by hand"
            keep = "" if found is None else f"git branch mine {found[:12]}; "
            raise DarwinError(
                f"{name} {where}; the ledger has it at {tip[:12]}",
                hint=f"{keep}git branch -f {name} {tip[:12]}"
                + ("; then darwin-git propose mine" if keep else ""),
            )


def select(
    state: State, trials: Sequence[Trial], rule: str, seed: int, generation: int
) -> dict[str, Decision]:
    """What becomes of each trial, by slug. Pure.

    Of several winners on one lineage the rule picks the one that is adopted; a union that won is
    adopted beside it. Whatever neither won nor was parked is pruned.
    """
    rng = random.Random(f"{seed}/{generation}/select")
    decisions = {t.planned.slug: Decision.PRUNE for t in trials}
    for t in trials:
        if t.parked:
            decisions[t.planned.slug] = Decision.PARK
        if t.won and t.planned.how == "mix":
            decisions[t.planned.slug] = Decision.ADOPT
    for target in sorted(state.agents):
        winners = [
            t for t in trials if t.won and t.planned.target == target and t.planned.how != "mix"
        ]
        candidates = [
            Candidate(t.planned.slug, -t.total_gain, t.mfu, t.gain or 0.0) for t in winners
        ]
        chosen = {c.name for c in RULES[rule](candidates, 1, rng)}
        for t in winners:
            slug = t.planned.slug
            decisions[slug] = Decision.ADOPT if slug in chosen else Decision.WINNER
    return decisions


def settle(
    world: World,
    state: State,
    plan: Plan,
    trials: Sequence[Trial],
    learned: Sequence[MemoryEvent] = (),
) -> State:
    """Apply a generation's outcomes in one transition; the new state.

    Args:
        learned: what memory gains.
    """
    refuse_occupied(world, state)
    chosen = world.config.selection
    decisions = select(state, trials, chosen.rule, world.config.population.seed, plan.generation)
    draft = _Draft(state)
    ordered = sorted(trials, key=lambda t: t.planned.how == "mix")
    for t in ordered:
        draft.add(t.event(_name(plan, t), decisions[t.planned.slug]))
    _record_verdicts(world, plan, trials, decisions)
    for t in ordered:
        if decisions[t.planned.slug] is Decision.ADOPT:
            _adopt(world, draft, t, _name(plan, t), _ideas(state, trials, t))
    _keep_stones(world, draft, plan)
    _archive(world, draft, plan, trials)
    commits = [t.commit for t in trials if t.commit] + [state.baseline]
    commits += [lineage.measured for lineage in state.agents.values()]
    trainings, seconds = spent(world, commits, plan.generation)
    draft.add(
        {
            "kind": "generation",
            "number": plan.generation,
            "trainings": trainings,
            "seconds": round(seconds, 3),
            "models": spent_in(world.history.exchanges(f"{plan.generation:04d}")).__dict__,
        }
    )
    _replace(world, draft)
    for name, lineage in draft.state.agents.items():
        if lineage.tip != state.agents[name].tip:
            draft.moves.append(Move(agent_ref(name), state.agents[name].tip, lineage.tip))
    world.history.settle(
        draft.moves,
        plan.generation,
        draft.events,
        draft.state,
        {f"fitness/{plan.generation:04d}.json": _fitness(draft, plan)},
        f"Close generation {plan.generation}",
        learned,
    )
    return draft.state


def _name(plan: Plan, t: Trial) -> str:
    return str(VariantName(plan.generation, t.planned.slug))


def _record_verdicts(
    world: World, plan: Plan, trials: Sequence[Trial], decisions: Mapping[str, Decision]
) -> None:
    """The verdicts as notes, each once."""
    made = []
    for t in trials:
        known = world.history.records(t.commit) if t.commit else []
        if not t.commit or any(
            r["kind"] == "verdict" and r["generation"] == plan.generation for r in known
        ):
            continue
        subject = world.subject(t.commit, _name(plan, t))
        fields = {
            key: value
            for key, value in t.event(subject.label, decisions[t.planned.slug]).items()
            if key not in ("kind", "commit", "tree") and value not in (None, "", {})
        }
        identity = measurement(world, subject)
        made.append(Measured("verdict", subject, identity, fields, plan.generation))
        waiting = world.screens.pop(t.commit, None)
        if waiting is not None:
            made.append(waiting)
    world.history.record(*made)


def _ideas(state: State, trials: Sequence[Trial], t: Trial) -> tuple[str, ...]:
    """The ideas in a trial's tree: its parent's (for a union perhaps another winner's), its own."""
    parent = next((one for one in trials if one.commit == t.planned.parent), None)
    before = state.agents[t.planned.target].ideas
    return joined_ideas(before, (parent.idea,) if parent else (), (t.idea,))


def _adopt(world: World, draft: _Draft, t: Trial, variant: str, ideas: tuple[str, ...]) -> None:
    """An adopting merge: parents (branch tip, measured commit), exactly the measured tree."""
    lineage = draft.state.agents[t.planned.target]
    effects = ", ".join(f"{x:+.4f}" for x in (t.effects or {}).values())
    seeds = "1 paired seed" if len(t.effects or {}) == 1 else f"{len(t.effects or {})} paired seeds"
    metric = world.metric
    message = merge_message(
        f"Adopt {t.idea} into {t.planned.target}: {metric.in_words(t.gain or 0.0)}, provisional",
        [
            f"{t.subject} ({variant}).",
            f"Provisional, on {seeds} against its parent: {effects} "
            f"{metric.unit}; {metric.in_words(t.total_gain)} against the baseline on the same "
            "seeds. Only a certificate is a claim.",
        ],
        {"Darwin-Variant": variant, "Darwin-Agent": t.planned.mutator},
    )
    tip = world.history.commit(
        world.history.full_tree(t.commit),
        (lineage.tip, t.commit),
        message,
        author(world, t.planned.mutator),
    )
    draft.add(
        {
            "kind": "adopt",
            "agent": t.planned.target,
            "tip": tip,
            "measured": t.commit,
            "variant": variant,
            "mutator": t.planned.mutator,
            "ideas": list(ideas),
            "idea": t.idea,
            "gain": t.total_gain,
        }
    )


def _keep_stones(world: World, draft: _Draft, plan: Plan) -> None:
    """The rule chooses which stepping stones stay alive; the others are archived."""
    chosen = world.config.selection
    rng = random.Random(f"{world.config.population.seed}/{plan.generation}/keep")
    present = {idea for lineage in draft.state.agents.values() for idea in lineage.ideas}
    stones = draft.state.parked
    candidates = [
        Candidate(name, -stone.gain, None, stone.gain)
        for name, stone in stones.items()
        if stone.idea not in present
    ]
    kept = {c.name for c in RULES[chosen.rule](candidates, chosen.keep, rng)}
    for name in sorted(set(stones) - kept):
        draft.add({"kind": "archive", "variant": name})


def _archive(world: World, draft: _Draft, plan: Plan, trials: Sequence[Trial]) -> None:
    """Move every variant that is not kept out of sight, in the same transition."""
    occupied = world.history.occupied()
    before = {_name(plan, t) for t in trials if t.commit} | set(draft.state.deferred)
    gone = {e["variant"] for e in draft.events if e["kind"] == "archive"}
    for name in sorted((before | gone) - set(draft.state.parked)):
        variant = VariantName.parse(name)
        tip = world.history.resolve(variant.ref)
        if tip is None:
            continue
        if variant.ref in occupied:
            if name not in draft.state.deferred:
                draft.add({"kind": "defer", "variant": name})
            world.tell("deferred", variant=name, place=occupied[variant.ref])
            continue
        if name in draft.state.deferred:
            draft.add({"kind": "archive", "variant": name})
        draft.moves.append(Move(variant.archive_ref, None, tip))
        draft.moves.append(Move(variant.ref, tip, None))


def _replace(world: World, draft: _Draft) -> None:
    """A lineage that stays behind takes the survivor's tree by a merge; its history stays."""
    pair = replacement(draft.state)
    if pair is None:
        return
    name, survivor = pair
    lineage, best = draft.state.agents[name], draft.state.agents[survivor]
    tip = world.history.commit(
        world.history.full_tree(best.tip),
        (lineage.tip, best.tip),
        merge_message(
            f"Replace {name} by the survivor {survivor}",
            [
                f"{name} was behind {survivor} by more than the baseline's noise for "
                f"{lineage.behind} generations. The tree is {survivor}'s, unchanged; what {name} "
                "was stays in its first parent.",
            ],
            {"Darwin-Agent": survivor, "Darwin-Target": name},
        ),
        author(world, survivor),
    )
    draft.add(
        {
            "kind": "replace",
            "agent": name,
            "by": survivor,
            "tip": tip,
            "measured": best.measured,
            "ideas": list(best.ideas),
            "gain": best.gain,
        }
    )


def _fitness(draft: _Draft, plan: Plan) -> bytes:
    """The derived table of a generation: what its trials came to."""
    rows = [event for event in draft.events if event["kind"] == "trial"]
    data: Mapping[str, Any] = {
        "schema": "darwin-git/fitness/1",
        "generation": plan.generation,
        "control": plan.control,
        "trials": rows,
        "best": {"agent": draft.state.best, "gain": draft.state.agents[draft.state.best].gain},
    }
    return (json.dumps(data, indent=1, sort_keys=True) + "\n").encode()
