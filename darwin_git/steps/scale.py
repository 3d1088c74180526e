"""A certified gain is checked once at a larger budget: some gains are gone there."""

from darwin_git.domain.claim import ScaleCheck
from darwin_git.domain.population import State
from darwin_git.domain.trial import Replicate, Verdict
from darwin_git.errors import DarwinError
from darwin_git.steps import measure
from darwin_git.steps.drive import Steps
from darwin_git.steps.world import World

SEEDS = 2


def check_trainings(world: World) -> int:
    """What the check takes, in trainings of the usual length: both sides, each seed."""
    return 0 if world.scale == 1.0 else round(2 * SEEDS * world.scale)


def scale_check(
    world: World, state: State, commit: str, first: int
) -> Steps[tuple[ScaleCheck, tuple[Replicate, ...]]]:
    """Champion against challenger at `world.scale` times the budget; with what was trained.

    A seed under which the champion fails says nothing; a tip that fails has shown no gain.

    Args:
        first: the first of two seeds that nothing was decided on.

    Raises:
        DarwinError: infrastructure failed; what was trained is kept.
    """
    seeds, factor = range(first, first + SEEDS), world.scale
    world.tell("scale", factor=factor)
    sides: list[list[Replicate]] = []
    for one, label in ((commit, f"tip of {state.best}"), (state.champion.measured, "champion")):
        subject = world.subject(one, f"{label}, {factor:g} x the budget")
        allowance = measure.allowance_of(world, subject)
        sides.append(
            (
                yield from measure.replicates(
                    world, subject, seeds, allowance, state.generation, factor=factor
                )
            )
        )
        broken = next((r for r in sides[-1] if r.verdict is Verdict.INFRA), None)
        if broken is not None:
            raise DarwinError(
                f"the check at {factor:g} times the budget failed: {broken.reason}",
                hint="mend that and run `darwin-git certify`; what was trained is kept",
            )
    mine, theirs = sides
    spent = (*mine, *theirs)
    bad = measure.failure(mine)
    if bad is not None:
        reason = f"{bad.verdict} under seed {bad.seed}: {bad.reason}"
        return ScaleCheck(factor, (), (), reason), spent
    pairs = [(m, t) for m, t in zip(mine, theirs, strict=True) if t.verdict is Verdict.OK]
    effects = tuple(t.loss - m.loss for m, t in pairs)
    reason = "" if pairs else "the champion failed under each seed"
    return ScaleCheck(factor, tuple(m.seed for m, _ in pairs), effects, reason), spent
