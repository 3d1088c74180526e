"""The merge train: after a generation the best tip is joined with every other winner."""

from collections.abc import Sequence
from dataclasses import dataclass

from darwin_git.domain.message import variant_message
from darwin_git.domain.names import VariantName
from darwin_git.domain.outcome import Trial, joined_ideas
from darwin_git.domain.planning import Plan, Planned
from darwin_git.domain.population import State
from darwin_git.domain.statistics import RaceRule
from darwin_git.domain.trial import Verdict
from darwin_git.steps.drive import Steps
from darwin_git.steps.propose import author, trailers
from darwin_git.steps.race import trial
from darwin_git.steps.world import World

RACE = RaceRule(seeds=(1, 2), drop=0.0, merge=0.2, p=0.5)
"""Two seeds, and the mean must be above zero: the parts have won their own races already."""


@dataclass(frozen=True)
class Best:
    """The best tip once this generation's winners are merged.

    Attributes:
        agent: whose lineage it is.
        commit: its measured commit.
        ideas: of that lineage.
        gain: nats per token below the baseline.
    """

    agent: str
    commit: str
    ideas: tuple[str, ...]
    gain: float


def best_after(state: State, winners: Sequence[Trial]) -> Best:
    """The best of the present tips and the winners."""
    tips = [
        Best(name, lineage.measured, lineage.ideas, lineage.gain)
        for name, lineage in sorted(state.agents.items())
    ]
    tips += [
        Best(
            one.planned.target,
            one.commit,
            joined_ideas(state.agents[one.planned.target].ideas, (one.idea,)),
            one.total_gain,
        )
        for one in winners
    ]
    return max(tips, key=lambda tip: tip.gain)


def unions(
    world: World, state: State, plan: Plan, winners: Sequence[Trial], tries: int
) -> Steps[list[Trial]]:
    """Race the union of the best tip with the other winners; drop the weakest where it fails.

    Returns all unions that were tried, the last one won or not. A winner that conflicts is left
    out; the union of two lineages is a variant like any other.
    """
    best = best_after(state, winners)
    others = sorted(
        (w for w in winners if w.commit != best.commit and w.idea not in best.ideas),
        key=lambda w: -(w.gain or 0.0),
    )
    tried: list[Trial] = []
    while others and len(tried) < tries:
        number = len(tried) + 1
        slug = f"mix-on-{best.agent}" + (f".{number}" if number > 1 else "")
        planned = Planned(
            slug=slug,
            how="mix",
            mutator=best.agent,
            target=best.agent,
            parent=best.commit,
            other=others[0].commit,
            seed=0,
        )
        if not _commit(world, plan, planned, best, others):
            others.pop()
            continue
        outcome = yield from trial(world, state, plan, planned, RACE)
        tried.append(outcome)
        if outcome.won or outcome.verdict is Verdict.INFRA:
            break
        others.pop()
    return tried


def _commit(
    world: World, plan: Plan, planned: Planned, best: Best, others: Sequence[Trial]
) -> bool:
    """Commit the union where it is not there yet; False where nothing could be joined."""
    variant = str(VariantName(plan.generation, planned.slug))
    if world.history.tip(variant) is not None:
        return True
    history, made_by = world.history, author(world, best.agent)
    tip, joined = best.commit, list[Trial]()
    for other in others:
        merged = history.merge(tip, other.commit)
        if merged.tree is None:
            paths = [conflict.path for conflict in merged.conflicts]
            world.tell("conflict", variant=variant, idea=other.idea, paths=paths)
            continue
        joined.append(other)
        tip = history.commit(merged.tree, (tip, other.commit), "union in progress\n", made_by)
    if not joined:
        return False
    names = ", ".join(other.idea for other in joined)
    gains = "; ".join(f"{o.idea} {o.gain:+.4f}" for o in joined if o.gain is not None)
    history.grow(
        variant,
        history.full_tree(tip),
        (best.commit, *(other.commit for other in joined)),
        variant_message(
            f"Join {names} with the best tip",
            f"Each won its own race, by {gains} {world.metric.unit}. "
            "Gains mostly add up, but not always: the union is measured.",
            "the sum of the gains, if they are independent",
            trailers(plan, planned) | {"Darwin-Operator": "+".join(o.idea for o in joined)},
        ),
        made_by,
        trusted=all(history.trusted(one) for one in (best.commit, *(o.commit for o in joined))),
    )
    return True
