"""Make a variant's commits: mutation, crossover, replay, repair."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase

from darwin_git.config import FILE_NAME, Genome
from darwin_git.domain.measurement import FROZEN
from darwin_git.domain.message import variant_message
from darwin_git.domain.names import VariantName
from darwin_git.domain.outcome import joined_ideas
from darwin_git.domain.planning import Plan, Planned
from darwin_git.domain.population import State
from darwin_git.domain.trial import Screened
from darwin_git.ports import Assignment, Declined, Proposal
from darwin_git.steps.drive import Call, Steps
from darwin_git.steps.world import World


@dataclass(frozen=True)
class Made:
    """A variant that stands in git."""

    commit: str
    idea: str
    subject: str
    repairs: int = 0


def author(world: World, agent: str) -> tuple[str, str]:
    """The agent as a commit's author."""
    signature = world.proposers[agent].signature if agent in world.proposers else "person"
    return f"{agent} ({signature})", f"{agent}@darwin-git.invalid"


def assignment(world: World, state: State, plan: Plan, planned: Planned) -> Assignment:
    """What the mutator is told."""
    files = world.history.files(planned.parent)
    target, best = state.agents[planned.target], state.agents[state.best]
    genome = world.config.genome
    return Assignment(
        variant=str(VariantName(plan.generation, planned.slug)),
        mutator=planned.mutator,
        target=planned.target,
        files=files,
        mutable=frozenset(path for path in files if may_change(path, genome)),
        train=genome.train,
        contract=genome.contract,
        frozen=FROZEN | frozenset(genome.overrides),
        seed=planned.seed,
        outcomes=world.outcomes,
        tried=frozenset(target.tried) | frozenset(world.drawn),
        present=frozenset(joined_ideas(target.ideas, best.ideas)),
        control=plan.control,
    )


def may_change(path: str, genome: Genome) -> bool:
    """Whether agents may change a path: mutable, not protected, never ours or git's."""
    if path == FILE_NAME or path.split("/")[-1].startswith(".git"):
        return False
    return _matches(path, genome.mutable) and not _matches(path, genome.protected)


def forbidden(world: World, planned: Planned, commit: str) -> list[str]:
    """Paths that a variant changed and must not, however it came about.

    A person may change more than agents may, but not what is protected.
    """
    genome = world.config.genome
    changed = sorted(world.history.changed(commit, planned.parent))
    if planned.how == "person":
        return [path for path in changed if _matches(path, genome.protected)]
    return [path for path in changed if not may_change(path, genome)]


def _matches(path: str, patterns: tuple[str, ...]) -> bool:
    """`*` stays within a folder; `data/*` and `data/**` cover everything below data/, `**` all."""
    for pattern in patterns:
        if pattern == "**":
            return True
        folder = pattern.removesuffix("/**").removesuffix("/*")
        if folder != pattern and path.startswith(folder + "/"):
            if pattern.endswith("/**") or pattern in ("data/*",):
                return True
            if "/" not in path.removeprefix(folder + "/"):
                return True
        if path.count("/") == pattern.count("/") and fnmatchcase(path, pattern):
            return True
    return False


def mutate(world: World, state: State, plan: Plan, planned: Planned) -> Steps[Made | Declined]:
    """Ask the mutator and commit what it answers."""
    task = assignment(world, state, plan, planned)
    proposer = world.proposers[planned.mutator]

    def run(_: object) -> Proposal | Declined:
        # Ideas drawn meanwhile by others count as tried: four agents try four ideas.
        fresh = replace(task, tried=task.tried | frozenset(world.drawn))
        with world.executor.hold(proposer.gpu):
            answer = proposer.propose(fresh)
        if isinstance(answer, Proposal):
            world.drawn.add(answer.idea)
        return answer

    world.tell("propose", variant=task.variant, agent=planned.mutator)
    answer = (yield [Call(run, pool="proposers")])[0]
    if isinstance(answer, Declined):
        return answer
    return commit(world, plan, planned, answer)


def commit(world: World, plan: Plan, planned: Planned, proposal: Proposal) -> Made | Declined:
    """Commit a proposal onto its variant's branch."""
    foreign = sorted(p for p in proposal.files if not may_change(p, world.config.genome))
    if foreign:
        return Declined(f"the mutation touches {foreign[0]}, which agents may not change")
    variant = VariantName(plan.generation, planned.slug)
    base = world.history.tip(str(variant)) or planned.parent
    oid = world.history.grow(
        str(variant),
        world.history.splice(base, proposal.files),
        (base,),
        variant_message(
            proposal.subject,
            proposal.hypothesis,
            proposal.expected,
            _own_trailers(proposal) | trailers(plan, planned),
        ),
        author(world, planned.mutator),
        trusted=world.proposers[planned.mutator].builtin and world.history.trusted(base),
    )
    return Made(oid, proposal.idea, proposal.subject)


def _own_trailers(proposal: Proposal) -> dict[str, str]:
    """The proposer's trailers that are well-formed; ours go over them."""
    good = re.compile(r"Darwin-[A-Za-z]+(-[A-Za-z]+)*")
    return {key: text for key, text in proposal.trailers.items() if good.fullmatch(key)}


def trailers(plan: Plan, planned: Planned) -> dict[str, str]:
    """The trailers that every variant's commit carries."""
    return {
        "Darwin-Generation": str(plan.generation),
        "Darwin-Agent": planned.mutator,
        "Darwin-Target": planned.target,
        "Darwin-Parent": planned.parent,
    }


def join(world: World, state: State, plan: Plan, planned: Planned) -> Made | Declined:
    """A crossover, a replay or a person's branch: git's three-way merge, committed."""
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
    if merged.tree is None:
        return Declined("conflict in " + ", ".join(merged.conflicts))
    oid = history.grow(
        str(VariantName(plan.generation, planned.slug)),
        merged.tree,
        parents,
        variant_message(subject, why, "", trailers(plan, planned) | {"Darwin-Operator": idea}),
        author(world, planned.mutator),
        trusted=all(history.trusted(one) for one in (planned.parent, planned.other)),
    )
    return Made(oid, idea, subject)


def repair(
    world: World, state: State, plan: Plan, planned: Planned, made: Made, failed: Screened
) -> Steps[Made | Declined]:
    """Show the mutator what went wrong; a mended proposal is one more commit on the branch."""
    if planned.how != "mutate":
        return Declined("nobody to repair a merge")
    task = assignment(world, state, plan, planned)
    proposer = world.proposers[planned.mutator]
    now: Mapping[str, str] = world.history.files(made.commit)
    changes = {path: text for path, text in now.items() if task.files.get(path) != text}
    previous = Proposal(changes, made.idea, made.subject, "", "", {})

    def run(_: object) -> Proposal | Declined:
        with world.executor.hold(proposer.gpu):
            return proposer.repair(task, previous, failed)

    answer = (yield [Call(run, pool="proposers")])[0]
    return answer if isinstance(answer, Declined) else commit(world, plan, planned, answer)
