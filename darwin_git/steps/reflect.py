"""After a generation: what memory gains, by rules and by a model that reflects."""

from collections.abc import Sequence

from darwin_git.domain.learning.lesson import MemoryEvent, Reflection
from darwin_git.domain.names import VariantName
from darwin_git.domain.outcome import Trial
from darwin_git.domain.planning import Plan
from darwin_git.domain.population import State
from darwin_git.domain.trial import Verdict
from darwin_git.errors import SPENT, DarwinError
from darwin_git.ports import Declined, Past, Review
from darwin_git.steps.drive import Steps
from darwin_git.steps.exchange import led
from darwin_git.steps.remember import remembered
from darwin_git.steps.world import World


def reflection(world: World, plan: Plan, trials: Sequence[Trial]) -> Steps[Reflection]:
    """What the first agent with a model makes of the generation, where that is allowed."""
    chosen = world.config.memory
    agents = [
        name for name in sorted(world.config.agents) if world.config.agents[name].kind == "llm"
    ]
    if chosen.mode != "on" or not chosen.reflect or not agents:
        return Reflection()
    proposer = world.proposers[agents[0]]
    review = Review(
        plan.generation,
        [_past(plan, trial) for trial in trials if trial.verdict is not Verdict.INFRA],
        [lesson for lesson in world.lessons.values() if not lesson.retired],
        world.metric,
    )
    variant = f"{plan.generation:04d}/reflect"
    try:
        answer = yield from led(world, variant, agents[0], proposer, proposer.reflect(review))
    except DarwinError as error:
        if error.exit_code != SPENT:
            raise
        # What was measured is worth more than what a model makes of it: the generation closes.
        answer = Declined(error.message)
    if isinstance(answer, Declined):
        world.tell("note", text=f"no reflection on this generation: {answer.reason}")
        return Reflection()
    return answer


def _past(plan: Plan, trial: Trial) -> Past:
    outcome = "won" if trial.won else "parked" if trial.parked else "lost"
    if trial.verdict is not Verdict.OK:
        outcome = ": ".join(part for part in (str(trial.verdict), trial.failure) if part)
    return Past(
        variant=str(VariantName(plan.generation, trial.planned.slug)),
        agent=trial.planned.mutator,
        target=trial.planned.target,
        idea=trial.idea,
        subject=trial.subject,
        outcome=outcome,
        gain=trial.gain,
        sd=trial.sd,
    )


def lessons_of(
    world: World,
    state: State,
    plan: Plan,
    trials: Sequence[Trial],
    reflected: Reflection,
) -> list[MemoryEvent]:
    """The events that memory gains; none where it is frozen or off."""
    if world.config.memory.mode != "on":
        return []
    shown = {
        str(VariantName(plan.generation, trial.planned.slug)): trial.lessons
        for trial in trials
        if trial.lessons
    }
    reasons = {
        str(VariantName(plan.generation, trial.planned.slug)): trial.mended
        for trial in trials
        if trial.mended
    }
    return remembered(plan, trials, shown, reflected, world.lessons, state, reasons)
