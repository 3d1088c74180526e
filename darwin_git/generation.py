"""One generation, told in the order in which things happen.

This module and the steps below it know no git, no container and no HTTP: they talk to ports. An
interrupted generation is finished by the next `step`: the plan stands in the ledger, proposals on
branches, measurements in notes, and every step first looks for what is there already.
"""

from dataclasses import dataclass

from darwin_git.domain.learning.lesson import MemoryEvent, Reflection
from darwin_git.domain.names import VariantName
from darwin_git.domain.outcome import Trial
from darwin_git.domain.planning import Plan, Planned, plan
from darwin_git.domain.population import State
from darwin_git.domain.trial import Verdict
from darwin_git.errors import DarwinError
from darwin_git.steps.brief import learn_the_past
from darwin_git.steps.claim import trainings_reserved
from darwin_git.steps.drive import Steps, drive
from darwin_git.steps.hours import refuse_spent
from darwin_git.steps.race import committed, trial
from darwin_git.steps.reflect import lessons_of, reflection
from darwin_git.steps.settle import refuse_moved, refuse_occupied, settle
from darwin_git.steps.union import RACE, unions
from darwin_git.steps.world import World


@dataclass(frozen=True)
class Generation:
    """What a step did."""

    plan: Plan
    trials: tuple[Trial, ...]
    before: State
    after: State


def step(world: World, state: State, *, control: str = "") -> Generation:
    """Run one generation, or finish the one that was interrupted.

    Args:
        state: the population after the last finished generation.
        control: "random" for the comparison run.

    Raises:
        DarwinError: a branch that must move is checked out; the budget is spent; infrastructure
            failed (what was measured is kept, the next step goes on).
    """
    refuse_occupied(world, state)
    refuse_moved(world, state)
    _refuse_spent(world, state)
    planned = planned_generation(world, state, control)
    world.tell("plan", plan=planned, state=state)
    trials = run_trials(world, state, planned)
    trials += merge_train(world, state, planned, trials)
    learned = remember(world, state, planned, trials)
    after = settle(world, state, planned, trials, learned)
    world.history.fold()
    world.tell("settled", before=state, after=after)
    return Generation(planned, tuple(trials), state, after)


def planned_generation(world: World, state: State, control: str) -> Plan:
    """The open plan, or a new one: durable before anything follows it."""
    known = world.history.plan(state.generation + 1)
    if known is not None:
        return known
    chosen = world.config.population
    new = plan(
        state,
        seed=chosen.seed,
        crossover=chosen.crossover,
        replay=chosen.replay,
        exploration=chosen.exploration,
        control=control,
    )
    world.history.write_plan(new)
    return new


def run_trials(world: World, state: State, planned: Plan) -> list[Trial]:
    """Propose, screen, train, evaluate and race every planned variant, as a pipeline for each."""
    world.in_flight.clear()
    world.drawn.clear()
    world.desk.open(world.history, planned.generation)
    learn_the_past(world, state)
    for one in planned.trials:
        made = committed(world, str(VariantName(planned.generation, one.slug)))
        if made is not None and _ours(world, one):
            world.drawn.add(made.idea)
    steps: dict[str, Steps[Trial]] = {
        one.slug: trial(world, state, planned, one, world.race) for one in planned.trials
    }
    trials = list(drive(steps, world.executor, world.waiting).values())
    _refuse_faults(trials)
    _refuse_outage(trials)
    return trials


def _ours(world: World, planned: Planned) -> bool:
    return planned.mutator in world.proposers and world.proposers[planned.mutator].builtin


def merge_train(world: World, state: State, planned: Plan, trials: list[Trial]) -> list[Trial]:
    """Race the union of the winners with the best tip."""
    winners = [one for one in trials if one.won]
    tries = world.config.selection.union_tries
    steps = unions(world, state, planned, winners, tries)
    tried: list[Trial] = drive({"unions": steps}, world.executor, world.waiting)["unions"]
    _refuse_faults(tried)
    return tried


def remember(world: World, state: State, planned: Plan, trials: list[Trial]) -> list[MemoryEvent]:
    """Lessons of the generation: by rules, and by a model that reflects where that is allowed."""
    drive_reflection = {"reflection": reflection(world, planned, trials)}
    reflected: Reflection = drive(drive_reflection, world.executor, world.waiting)["reflection"]
    return lessons_of(world, state, planned, trials, reflected)


def _refuse_spent(world: World, state: State) -> None:
    """No generation begins that could leave the certificate without its trainings."""
    races = len(state.agents) * world.race.seeds[-1]
    joins = world.config.selection.union_tries * RACE.seeds[-1]
    needed = races + joins + trainings_reserved(world, state)
    refuse_spent(world, state, needed, "a generation with the certificate's trainings")


def _refuse_outage(trials: list[Trial]) -> None:
    """Where nobody could be asked there is no generation: an outage burns none."""
    out = [t for t in trials if t.verdict is Verdict.INFRA]
    if trials and len(out) == len(trials):
        raise DarwinError(
            f"no agent could propose: {out[0].reason}",
            hint="nothing is lost: run `darwin-git step` again once the endpoint answers; "
            "`darwin-git doctor` asks it",
        )


def _refuse_faults(trials: list[Trial]) -> None:
    """A trial that infrastructure broke is run again by the next step, not held against anyone."""
    broken = [t for t in trials if t.verdict is Verdict.INFRA and t.failure != "proposal"]
    if broken:
        raise DarwinError(
            f"{broken[0].planned.slug} could not be measured: {broken[0].reason}",
            hint="mend that and run `darwin-git step` again: it goes on, nothing is paid twice",
        )
