"""One generation, told in the order in which things happen.

This module and the steps below it know no git, no container and no HTTP: they talk to ports. An
interrupted generation is finished by the next `step`: the plan stands in the ledger, proposals on
branches, measurements in notes, and every step first looks for what is there already.
"""

from dataclasses import dataclass

from darwin_git.domain.names import VariantName
from darwin_git.domain.outcome import Trial
from darwin_git.domain.planning import Plan, plan
from darwin_git.domain.population import State
from darwin_git.domain.trial import Verdict
from darwin_git.errors import SPENT, DarwinError
from darwin_git.ports import Outcome
from darwin_git.steps.drive import Steps, drive
from darwin_git.steps.race import committed, trial
from darwin_git.steps.settle import refuse_moved, refuse_occupied, settle
from darwin_git.steps.union import unions
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
    after = settle(world, state, planned, trials)
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
    world.outcomes = tuple(
        Outcome(idea, change, sd) for idea, seen in state.outcomes.items() for change, sd in seen
    )
    for one in planned.trials:
        made = committed(world, str(VariantName(planned.generation, one.slug)))
        if made is not None:
            world.drawn.add(made.idea)
    steps: dict[str, Steps[Trial]] = {
        one.slug: trial(world, state, planned, one, world.race) for one in planned.trials
    }
    trials = list(drive(steps, world.executor, world.waiting).values())
    _refuse_faults(trials)
    return trials


def merge_train(world: World, state: State, planned: Plan, trials: list[Trial]) -> list[Trial]:
    """Race the union of the winners with the best tip."""
    winners = [one for one in trials if one.won]
    tries = world.config.selection.union_tries
    steps = unions(world, state, planned, winners, tries)
    tried: list[Trial] = drive({"unions": steps}, world.executor, world.waiting)["unions"]
    _refuse_faults(tried)
    return tried


def _refuse_spent(world: World, state: State) -> None:
    limit = world.config.budget.device_hours
    hours = state.totals.train_seconds / 3600
    if limit is not None and hours >= limit:
        raise DarwinError(
            f"the budget of {limit:g} device hours is spent: {hours:.2f} h in "
            f"{state.totals.trainings} trainings",
            hint="raise budget.device_hours in darwin.toml, or `darwin-git certify` and report",
            exit_code=SPENT,
        )


def _refuse_faults(trials: list[Trial]) -> None:
    """A trial that infrastructure broke is run again by the next step, not held against anyone."""
    broken = [t for t in trials if t.verdict is Verdict.INFRA and t.failure != "proposal"]
    if broken:
        raise DarwinError(
            f"{broken[0].planned.slug} could not be measured: {broken[0].reason}",
            hint="mend that and run `darwin-git step` again: it goes on, nothing is paid twice",
        )
