"""Screens and replicates through the cache: what was measured once is never paid again."""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from darwin_git.domain.evidence import replicate_fields, replicate_of, screen_fields, screened_of
from darwin_git.domain.measurement import identity
from darwin_git.domain.records import canonical_choice
from darwin_git.domain.trial import Allowance, Replicate, Screened, Subject, Verdict
from darwin_git.ports import Measured, Slot
from darwin_git.steps.drive import Call, Steps
from darwin_git.steps.world import World

T = TypeVar("T")

FRESH_SEEDS_FROM = 1001
"""Race seeds count from 1, fresh seeds from here: no certificate ever reuses a seed."""


def measurement(world: World, subject: Subject, factor: float = 1.0) -> str:
    """The measurement identity: conditions, tree, and the budget's factor where it is not 1."""
    conditions = world.trials.protocol + (f"x{factor:g}" if factor != 1.0 else "")
    return identity(conditions, subject.tree)


def screen(
    world: World, subject: Subject, reference: Allowance | None, generation: int
) -> Steps[Screened]:
    """The screen's outcome, from the notes where it is there."""
    known = known_screen(world, subject)
    if known is not None:
        return known
    key = measurement(world, subject)

    def keep(screened: Screened) -> None:
        made = Measured("screen", subject, key, screen_fields(screened), generation)
        if screened.verdict is Verdict.OK:
            # Goes into git together with the first replicate: a kill before costs a smoke run.
            world.screens[subject.commit] = made
        elif screened.verdict is not Verdict.INFRA:
            world.history.record(made)

    def look(slot: Slot) -> Screened:
        return world.trials.screen(subject, reference, slot)

    for pause in (0.0, *world.pauses):
        world.tell("screen", variant=subject.label)
        found = yield [Call(after(world, pause, look), keep)]
        if found[0].verdict is not Verdict.INFRA:
            break
    # As the notes have it: a repair that is asked for again after a kill is the same question.
    return screened_of(screen_fields(found[0]))


def after(world: World, pause: float, call: Callable[[Slot], T]) -> Callable[[Slot], T]:
    """A call after a pause on its slot: what broke may be mending itself."""

    def run(slot: Slot) -> T:
        if pause:
            world.ended.wait(pause)
        return call(slot)

    return run


def known_screen(world: World, subject: Subject) -> Screened | None:
    """The screen that the notes hold for this measurement, or will hold."""
    key = measurement(world, subject)
    waiting = world.screens.get(subject.commit)
    if waiting is not None and waiting.identity == key:
        return screened_of(waiting.fields)
    records = world.history.records(subject.commit)
    found = [r for r in records if r["kind"] == "screen" and r["identity"] == key]
    return screened_of(min(found, key=lambda r: str(r["id"]))) if found else None


def known_replicates(world: World, subject: Subject, factor: float = 1.0) -> dict[int, Replicate]:
    """Replicates in the notes by seed, for this measurement and budget factor."""
    key = measurement(world, subject, factor)
    return {
        record["seed"]: replicate_of(record)
        for record in canonical_choice(world.history.records(subject.commit))
        if record["kind"] == "replicate"
        and record["identity"] == key
        and record["verdict"] != Verdict.INFRA
    }


def replicates(
    world: World,
    subject: Subject,
    seeds: Sequence[int],
    allowance: Allowance,
    generation: int,
    *,
    factor: float = 1.0,
    final: bool = False,
) -> Steps[list[Replicate]]:
    """One replicate for each seed, trained only where the notes have none.

    A fault of infrastructure is tried again after each of `world.pauses`, then returned as it is.
    """
    key = measurement(world, subject, factor)
    found = known_replicates(world, subject, factor)

    def call(seed: int, pause: float) -> Call:
        def keep(replicate: Replicate) -> None:
            if replicate.verdict is not Verdict.INFRA:
                fields = replicate_fields(replicate, factor)
                waiting = world.screens.pop(subject.commit, None)
                made = Measured("replicate", subject, key, fields, generation)
                world.history.record(*(m for m in (waiting, made) if m))
            world.tell("replicate", variant=subject.label, replicate=replicate)

        def train(slot: Slot) -> Replicate:
            return world.trials.replicate(
                subject, seed, allowance, slot, factor=factor, final=final
            )

        return Call(after(world, pause, train), keep)

    faults: dict[int, Replicate] = {}
    for pause in (0.0, *world.pauses):
        missing = [s for s in seeds if s not in found or (final and _lacks_final(found[s]))]
        if not missing:
            break
        for seed in missing:
            world.tell("train", variant=subject.label, seed=seed)
        for replicate in (yield [call(seed, pause) for seed in missing]):
            target = faults if replicate.verdict is Verdict.INFRA else found
            target[replicate.seed] = replicate
    return [found.get(seed) or faults[seed] for seed in seeds]


def _lacks_final(replicate: Replicate) -> bool:
    return replicate.verdict is Verdict.OK and replicate.final_loss is None


def failure(results: Sequence[Replicate]) -> Replicate | None:
    """The first replicate that is not ok."""
    return next((r for r in results if r.verdict is not Verdict.OK), None)


def reference(world: World, baseline: str) -> Allowance:
    """The baseline's allowance, which others are compared with."""
    screened = known_screen(world, world.subject(baseline, "baseline"))
    assert screened is not None and screened.allowance is not None, "baseline without a screen"
    return screened.allowance


def allowance_of(world: World, subject: Subject) -> Allowance:
    """The allowance of a subject that passed its screen."""
    screened = known_screen(world, subject)
    assert screened is not None and screened.allowance is not None, f"{subject.label} not screened"
    return screened.allowance


def spent(world: World, commits: Sequence[str], generation: int) -> tuple[int, float]:
    """(trainings, seconds) that the notes of these commits say a generation spent."""
    rows: dict[str, dict[str, Any]] = {}
    for commit in dict.fromkeys(commits):
        for record in world.history.records(commit):
            if record["kind"] == "replicate" and record["generation"] == generation:
                rows[record["id"]] = record
    return len(rows), sum(row["seconds"] for row in rows.values())
