"""Trees with merges reverted: made by three-way merge, each a variant of its own."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from darwin_git.domain.message import variant_message
from darwin_git.domain.minimise import Adoption
from darwin_git.domain.names import VariantName, slug
from darwin_git.domain.population import Lineage, State
from darwin_git.steps import measure
from darwin_git.steps.propose import author
from darwin_git.steps.world import World


@dataclass(frozen=True)
class Job:
    """Whose tip is minimised, and the merges in effect on it."""

    world: World
    state: State
    agent: str
    merges: tuple[Adoption, ...]

    @property
    def lineage(self) -> Lineage:
        """As it stands before."""
        return self.state.agents[self.agent]


def reverted(job: Job, gone: Sequence[Adoption]) -> tuple[str, str, str]:
    """(commit, variant, why not): a commit to measure with these merges reverted."""
    merged = _tree(job, gone)
    if merged[1]:
        return "", "", merged[1]
    tree = merged[0]
    for known in _measured_before(job, tree):
        return known, "", ""
    history, state = job.world.history, job.state
    for number in range(1, 10_000):
        variant = str(VariantName(state.generation, slug("min", job.agent, number)))
        there = history.tip(variant)
        if there is None:
            break
        if history.full_tree(there) == tree:
            return there, variant, ""
    names = ", ".join(one.idea for one in gone)
    commit = history.grow(
        variant,
        tree,
        (job.lineage.tip,),
        variant_message(
            f"Revert {names} on {job.agent}",
            "Each gained less than the noise in its race. What the tip is not worse without is "
            "not carried into the certificate.",
            "no change",
            {
                "Darwin-Generation": str(state.generation),
                "Darwin-Agent": job.agent,
                "Darwin-Target": job.agent,
                "Darwin-Parent": job.lineage.tip,
                "Darwin-Operator": "minimise",
                "Darwin-Reverts": " ".join(one.merge for one in gone),
            },
        ),
        author(job.world, job.agent),
        trusted=all(history.trusted(one) for one in (job.lineage.tip, *(m.merge for m in gone))),
    )
    return commit, variant, ""


def _tree(job: Job, gone: Sequence[Adoption]) -> tuple[str, str]:
    """The tip's tree with merges reverted, the newest first; or what stands in the way."""
    history, made_by = job.world.history, author(job.world, job.agent)
    onto = job.lineage.tip
    for one in reversed([merge for merge in job.merges if merge in gone]):
        merged = history.replay(one.before, one.merge, onto)
        if merged.tree is None:
            return "", f"to revert {one.idea} conflicts in {merged.paths}"
        onto = history.commit(merged.tree, (onto,), "revert in progress\n", made_by)
    return history.full_tree(onto), ""


def _measured_before(job: Job, tree: str) -> Iterator[str]:
    """Commits with this tree whose screen is known: nothing is trained twice."""
    world, state = job.world, job.state
    commits = [job.lineage.measured, state.champion.measured, state.baseline]
    commits += [one.measured for one in job.merges]
    for commit in dict.fromkeys(commits):
        if world.history.full_tree(commit) == tree:
            screened = measure.known_screen(world, world.subject(commit, "measured before"))
            if screened is not None and screened.allowance is not None:
                yield commit
