"""Make a variant's commits: mutation, crossover, replay, repair."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from darwin_git.domain.answers.rules import MAX_FILE, path_problem, size
from darwin_git.domain.change import change_id
from darwin_git.domain.message import one_line, variant_message
from darwin_git.domain.names import VariantName
from darwin_git.domain.planning import Plan, Planned
from darwin_git.domain.population import State
from darwin_git.domain.scope import Scope, matches
from darwin_git.ports import Assignment, Declined, NoTree, Proposal, Proposer, Refusal
from darwin_git.steps.brief import assignment
from darwin_git.steps.drive import Call, Steps
from darwin_git.steps.exchange import exchange_trailers, led, unasked
from darwin_git.steps.world import World


@dataclass(frozen=True)
class Made:
    """A variant that stands in git."""

    commit: str
    idea: str
    subject: str
    repairs: int = 0
    failures: tuple[str, ...] = ()
    """Classes of the failures that were repaired, in order."""
    lessons: tuple[str, ...] = ()
    """What of the memory its mutator was shown."""
    mended: str = ""
    """What the last failure said that was repaired."""
    repair: str = ""
    """The title of the last repair."""


def author(world: World, agent: str) -> tuple[str, str]:
    """The agent as a commit's author."""
    signature = world.proposers[agent].signature if agent in world.proposers else "person"
    return f"{agent} ({signature})", f"{agent}@darwin-git.invalid"


def forbidden(world: World, planned: Planned, commit: str) -> list[str]:
    """Paths that a variant changed and must not, however it came about.

    A person may change more than agents may, but not what is protected; what of it was adopted may
    be joined with other lineages as it is.
    """
    if planned.how == "mix":
        return []  # what is joined won its own race, and git alone joined it
    changed = world.history.changed(commit, planned.parent)
    if planned.how == "person":
        protected = world.config.genome.protected
        return sorted(path for path in changed if matches(path, protected))
    if planned.other:
        changed &= world.history.changed(commit, planned.other)
    return sorted(path for path in changed if not world.scope.allows(path))


def mutate(world: World, state: State, plan: Plan, planned: Planned) -> Steps[Made | Declined]:
    """Ask the mutator and commit what it answers, unless it was tried before: then ask again."""
    task = assignment(world, state, plan, planned)
    proposer = world.proposers[planned.mutator]
    world.tell("propose", variant=task.variant, agent=planned.mutator)
    answer: Proposal | Declined
    if proposer.builtin:
        answer = yield from _drawn(world, proposer, task)
    else:
        answer = yield from _asked(world, state, planned, proposer, task)
    if isinstance(answer, Declined):
        return answer
    lessons = tuple(lesson.id for lesson in task.lessons)
    made = commit(world, plan, planned, answer, {"Darwin-Memory": " ".join(lessons)})
    return replace(made, lessons=lessons) if isinstance(made, Made) else made


def _drawn(world: World, proposer: Proposer, task: Assignment) -> Steps[Proposal | Declined]:
    """One of our own proposals; they come one after another."""

    def run(_: object) -> Proposal | Declined:
        # Ideas drawn meanwhile by others count as tried: four agents try four ideas.
        fresh = replace(task, tried=task.tried | frozenset(world.drawn))
        answer = unasked(proposer.propose(fresh))
        if isinstance(answer, Proposal):
            world.drawn.add(answer.idea)
        return answer

    answer: Proposal | Declined = (yield [Call(run, pool="proposers")])[0]
    return answer


def _asked(
    world: World, state: State, planned: Planned, proposer: Proposer, task: Assignment
) -> Steps[Proposal | Declined]:
    """A model's or a program's proposal; what was tried before is told and asked for anew."""
    refusals: list[Refusal] = []
    while True:
        dialog = proposer.propose(replace(task, refusals=tuple(refusals)))
        answer = yield from led(world, task.variant, planned.mutator, proposer, dialog)
        if isinstance(answer, Declined):
            return answer
        known = tried_before(world, state, planned, task, answer)
        if not known or len(refusals) >= world.config.repair.renewals:
            return answer
        refusals.append(Refusal(answer, known))
        world.tell("refused", variant=task.variant, idea=answer.idea, reason=known)


def tried_before(
    world: World, state: State, planned: Planned, task: Assignment, proposal: Proposal
) -> str:
    """What became of the same tree, or of the same change on a relative; empty if it is new."""
    change = change_id(task.files, proposal.files)
    known = state.changes.get(change)
    if known is not None:
        return f"{known[0]} made the same change: it {known[1]}"
    if unfit(proposal.files, world.scope):
        return ""  # commit() says why
    try:
        tree = world.history.splice(planned.parent, proposal.files)
    except NoTree:
        return ""
    holder = world.history.holder(tree)
    if holder is None:
        return ""
    subject = world.history.message(holder)[0]
    return f"its files are those of {holder[:12]} ({one_line(subject)}), measured already"


def unfit(files: Mapping[str, str | None], scope: Scope, *, ours: bool = False) -> str:
    """Why contents cannot be committed, as a sentence; empty where they can.

    A proposer has checked as much: nothing foreign reaches git on its word alone.

    Args:
        ours: from the catalogue, whose texts are not looked at again.
    """
    for path, text in sorted(files.items()):
        if not scope.allows(path):
            return f"the mutation touches {path}, which agents may not change"
        if ours:
            continue
        if problem := path_problem(path, scope):
            return problem
        if text and ("\0" in text or size(text) > MAX_FILE or not _encodable(text)):
            return f"the new text of {path} is too long, or no text"
    return ""


def commit(
    world: World,
    plan: Plan,
    planned: Planned,
    proposal: Proposal,
    more: Mapping[str, str] = MappingProxyType({}),
) -> Made | Declined:
    """Commit a proposal onto its variant's branch.

    Args:
        more: further trailers of ours.
    """
    variant = VariantName(plan.generation, planned.slug)
    asked = exchange_trailers(world, str(variant))
    builtin = world.proposers[planned.mutator].builtin
    if problem := unfit(proposal.files, world.scope, ours=builtin):
        return Declined(problem)
    base = world.history.tip(str(variant)) or planned.parent
    idea = proposal.idea if builtin else named(proposal.idea)
    subject = one_line(proposal.subject) or f"Try {idea}"
    try:
        tree = world.history.splice(base, proposal.files)
    except NoTree as error:
        # Such as a file where a folder of images is, which no mutator was shown.
        return Declined(error.message)
    if tree == world.history.full_tree(base):
        return Declined("the mutation changes nothing")
    oid = world.history.grow(
        str(variant),
        tree,
        (base,),
        variant_message(
            subject,
            proposal.hypothesis,
            proposal.expected,
            _own_trailers(proposal, idea) | trailers(plan, planned) | asked | dict(more),
        ),
        author(world, planned.mutator),
        trusted=builtin and world.history.trusted(base),
    )
    return Made(oid, idea, subject)


def _encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:  # half of a pair that JSON let through
        return False
    return True


def named(idea: str) -> str:
    """A foreign idea's name as lineages carry it: "+" would make two of it."""
    return re.sub(r"[^a-z0-9._-]+", "-", idea.lower()).strip("-._")[:40] or "unnamed"


def _own_trailers(proposal: Proposal, idea: str) -> dict[str, str]:
    """What a proposer may say of itself."""
    may = ("Darwin-Operator", "Darwin-Model")
    kept = {key: text for key, text in proposal.trailers.items() if key in may}
    return kept if kept.get("Darwin-Operator") == idea else kept | {"Darwin-Idea": idea}


def trailers(plan: Plan, planned: Planned) -> dict[str, str]:
    """The trailers that every variant's commit carries."""
    return {
        "Darwin-Generation": str(plan.generation),
        "Darwin-Agent": planned.mutator,
        "Darwin-Target": planned.target,
        "Darwin-Parent": planned.parent,
    }
