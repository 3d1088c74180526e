"""Variants that git makes: crossovers, replays of parked changes, a person's branch."""

from dataclasses import dataclass, replace

from darwin_git.domain.message import variant_message
from darwin_git.domain.names import VariantName
from darwin_git.domain.planning import Plan, Planned
from darwin_git.domain.population import State
from darwin_git.ports import Declined, Merged
from darwin_git.steps.brief import assignment
from darwin_git.steps.drive import Steps
from darwin_git.steps.exchange import exchange_trailers, led
from darwin_git.steps.propose import Made, author, trailers, unfit
from darwin_git.steps.world import World


@dataclass(frozen=True)
class _Join:
    """What is joined, and how it is told."""

    merged: Merged
    parents: tuple[str, ...]
    idea: str
    subject: str
    why: str


def join(world: World, state: State, plan: Plan, planned: Planned) -> Steps[Made | Declined]:
    """A crossover, a replay or a person's branch: git's three-way merge, committed.

    Conflicts are given to the mutator, who resolves them hunk by hunk if it can.
    """
    joined = _joined(world, state, planned)
    tree, more = joined.merged.tree, dict[str, str]()
    trusted = all(world.history.trusted(one) for one in (planned.parent, planned.other))
    if tree is None:
        answer = yield from _resolved(world, state, plan, planned, joined.merged)
        if isinstance(answer, Declined):
            return answer
        tree, trusted = answer, False
        more = exchange_trailers(world, str(VariantName(plan.generation, planned.slug)))
        more["Darwin-Resolved"] = joined.merged.paths
    oid = world.history.grow(
        str(VariantName(plan.generation, planned.slug)),
        tree,
        joined.parents,
        variant_message(
            joined.subject,
            joined.why,
            "",
            trailers(plan, planned) | {"Darwin-Operator": joined.idea} | more,
        ),
        author(world, planned.mutator),
        trusted=trusted,
    )
    return Made(oid, joined.idea, joined.subject)


def _joined(world: World, state: State, planned: Planned) -> _Join:
    history = world.history
    parents: tuple[str, ...] = (planned.parent, planned.other)
    if planned.how == "replay":
        stone = state.parked[planned.replays]
        merged = history.replay(planned.other, stone.parent, planned.parent)
        idea, parents = stone.idea, (planned.parent,)
        subject = f"Replay {idea} on {planned.target}"
        why = f"{planned.replays} was parked at a gain of {stone.gain:+.4f} {world.metric.unit}. "
        why += "Edits that fail alone may win in company."
    elif planned.how == "crossover":
        merged = history.merge(planned.parent, planned.other)
        mine = state.agents[planned.mutator].ideas
        news = [idea for idea in mine if idea not in state.agents[planned.target].ideas]
        idea = "+".join(news)
        subject = f"Cross {planned.target} with {planned.mutator}: {', '.join(news)}"
        why = f"{planned.mutator}'s lineage has {', '.join(news)}, {planned.target}'s has not."
    else:
        merged = history.merge(planned.parent, planned.other)
        idea, subject = f"person-{planned.other[:8]}", f"Enter {planned.other[:12]} as a variant"
        why = f"Proposed by a person, joined with the tip of {planned.target}."
    return _Join(merged, parents, idea, subject, why)


def _resolved(
    world: World, state: State, plan: Plan, planned: Planned, merged: Merged
) -> Steps[str | Declined]:
    """The tree of a merge whose conflicts the mutator resolved."""
    refusal = Declined(f"conflict in {merged.paths}")
    if planned.mutator not in world.proposers or world.proposers[planned.mutator].builtin:
        return refusal
    foreign = [one.path for one in merged.conflicts if not world.scope.allows(one.path)]
    if foreign or any(one.marked is None for one in merged.conflicts):
        return refusal
    proposer = world.proposers[planned.mutator]
    task = assignment(world, state, plan, planned)
    dialog = proposer.resolve(task, merged.conflicts)
    answer = yield from led(world, task.variant, planned.mutator, proposer, dialog)
    if isinstance(answer, Declined):
        return replace(answer, reason=f"{refusal.reason}; {answer.reason}")
    problem = unfit(answer, world.scope)
    if answer.keys() != {one.path for one in merged.conflicts} or problem:
        return replace(refusal, reason=f"{refusal.reason}; {problem or 'not all were resolved'}")
    return world.history.mend(merged, answer)
