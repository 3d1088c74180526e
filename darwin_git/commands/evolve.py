"""The commands that spend compute: baseline, step, run, certify, propose, and prune."""

import re
import time
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from darwin_git.domain.claim import Claim
from darwin_git.domain.names import VariantName
from darwin_git.domain.planning import Plan, Planned
from darwin_git.domain.population import State, apply
from darwin_git.errors import SPENT, DarwinError
from darwin_git.generation import Generation, step
from darwin_git.ports import Move
from darwin_git.steps.claim import claim, rounds_reserved
from darwin_git.steps.start import baseline as measure_baseline
from darwin_git.steps.world import World
from darwin_git.wiring import Wired


def baseline(wired: Wired, seeds: int | None) -> State:
    """Measure the genome at HEAD, once; later calls return what is known."""
    known = wired.history.state()
    if known is not None:
        return known
    commit = wired.repository.resolve("HEAD")
    wired.history.trust(commit)
    chosen = seeds or wired.config.population.baseline_seeds
    return measure_baseline(wired.world, commit, wired.measured, chosen)


def one_step(wired: Wired, control: str) -> Generation:
    """One generation, on a baseline that is there."""
    wired.ready_agents(control)
    return step(wired.world, wired.must_state(), control=control)


@dataclass
class Run:
    """What `run` did, and why it ended."""

    generations: list[Generation] = field(default_factory=list)
    claim: Claim | None = None
    ended: str = ""
    exit_code: int = 0


def run(wired: Wired, generations: int | None, deadline: float | None, control: str) -> Run:
    """Generations until a number, a deadline or the budget ends it; then one certificate.

    Args:
        generations: at most so many in this call.
        deadline: on the world's clock, seconds; the certificate's time is kept free before it.
        control: see `step`.
    """
    done = Run()
    world = wired.world
    wired.ready_agents(control)
    state = baseline(wired, None)
    longest = 0.0
    while generations is None or len(done.generations) < generations:
        if deadline is not None:
            left = deadline - world.clock() - _certificate_seconds(world, state)
            if left < (longest or _generation_seconds(world, state)):
                done.ended = "the time is up: what is left is the certificate's"
                break
        began = world.clock()
        try:
            done.generations.append(step(world, state, control=control))
        except DarwinError as error:
            if error.exit_code != SPENT:
                raise
            done.ended, done.exit_code = error.message, SPENT
            break
        longest = max(longest, world.clock() - began)
        state = done.generations[-1].after
    try:
        done.claim = claim(world, state)
    except DarwinError as error:
        if error.exit_code != SPENT:
            raise
        done.ended, done.exit_code = error.message, SPENT
    return done


def _seconds_each(world: World, state: State) -> float:
    """Seconds of one replicate on one slot: its training, two imports of torch, its scoring."""
    mean = state.totals.train_seconds / max(1, state.totals.trainings)
    return mean * 1.1 + 3.5


def _certificate_seconds(world: World, state: State) -> float:
    return rounds_reserved(world, state) * _seconds_each(world, state)


def _generation_seconds(world: World, state: State) -> float:
    """A first guess: a screen and a first look for each variant, then a union on two seeds."""
    trainings = len(state.agents) * (world.race.seeds[0] + 0.5) + 3
    return (trainings / world.executor.slots + 1) * _seconds_each(world, state)


def certify(wired: Wired, accept_scale_bound: bool = False) -> Claim:
    """The best tip against the champion, on demand.

    Args:
        accept_scale_bound: move the champion also where the gain is gone at a larger budget.
    """
    return claim(wired.world, wired.must_state(), accept=accept_scale_bound)


def propose(wired: Wired, ref: str, target: str | None) -> Generation:
    """Enter a person's branch as a variant; it is measured and decided like any other."""
    state = wired.must_state()
    wired.refuse_untrusted(f"{ref} was not made by this clone's own catalogue")
    if wired.history.plan(state.generation + 1) is not None:
        raise DarwinError(
            f"generation {state.generation + 1} is open", hint="`darwin-git step` finishes it"
        )
    commit = wired.repository.resolve(ref)
    chosen = target or state.best
    if chosen not in state.agents:
        raise DarwinError(f"{chosen!r} is no agent", hint="agents: " + ", ".join(state.agents))
    tip = state.agents[chosen].tip
    wired.history.files(commit)  # a link or a bad path in it is an error here, not in the step
    if wired.repository.git.call("merge-base", tip, commit, check=False).returncode:
        raise DarwinError(
            f"{ref} has no history in common with {chosen}'s lineage",
            hint=f"start your branch from the genome: git switch -c my-idea {state.baseline[:12]}",
        )
    planned = Planned(
        slug=f"person-on-{chosen}",
        how="person",
        mutator="person",
        target=chosen,
        parent=tip,
        other=commit,
        seed=0,
    )
    wired.history.write_plan(Plan(state.generation + 1, (planned,)))
    return step(wired.world, state)


def prune(wired: Wired, variants: list[str]) -> list[str]:
    """Archive stepping stones, all of them or the named ones; nothing is deleted."""
    state = wired.must_state()
    unknown = sorted(set(variants) - set(state.parked))
    if unknown:
        raise DarwinError(
            f"{unknown[0]} is no stepping stone",
            hint="stepping stones: " + (", ".join(state.parked) or "none"),
        )
    occupied = wired.history.occupied()
    moves: list[Move] = []
    events: list[dict[str, str]] = []
    for name in variants or sorted(state.parked):
        variant = VariantName.parse(name)
        tip = wired.history.resolve(variant.ref)
        if variant.ref in occupied:
            raise DarwinError(
                f"{name} is checked out in {occupied[variant.ref]}",
                hint=f"git -C {occupied[variant.ref]} switch --detach",
            )
        if tip is not None:
            moves += [Move(variant.archive_ref, None, tip), Move(variant.ref, tip, None)]
        events.append({"kind": "archive", "variant": name})
    if events:
        after = state
        for event in events:
            after = apply(after, event)
        subject = f"Prune {len(events)} stepping stones"
        wired.history.settle(moves, state.generation, events, after, {}, subject)
    return [event["variant"] for event in events]


def deadline_of(for_: str | None, until: str | None, now: datetime) -> float | None:
    """Seconds from now that ``--for 8h`` or ``--until 07:00`` leave; None without either.

    Raises:
        DarwinError: neither a duration nor a time of day.
    """
    if for_ is not None and until is not None:
        raise DarwinError("--for and --until are two ways to say one thing", hint="give one")
    if for_ is not None:
        return _duration(for_)
    if until is not None:
        return _until(until, now)
    return None


def _duration(text: str) -> float:
    parts = re.findall(r"(\d+(?:\.\d+)?)([smhd])", text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise DarwinError(f"{text!r} is no duration", hint="as in 90s, 30m, 8h, 1h30m, 2d")
    units = {"s": 1, "m": 60, "h": 3600, "d": 86400}
    return sum(float(number) * units[unit] for number, unit in parts)


def _until(text: str, now: datetime) -> float:
    try:
        at = datetime.strptime(text, "%H:%M").time()
    except ValueError:
        raise DarwinError(f"{text!r} is no time of day", hint="as in 07:00") from None
    then = datetime.combine(now.date(), at, now.tzinfo)
    return ((then if then > now else then + timedelta(days=1)) - now).total_seconds()


def clock() -> float:
    """Monotonic seconds."""
    return time.monotonic()
