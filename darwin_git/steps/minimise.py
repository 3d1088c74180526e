"""Before its certificate the best tip is minimised: what cannot be seen to help is reverted."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from darwin_git.domain.message import merge_message
from darwin_git.domain.minimise import (
    SEEDS,
    Adopted,
    Adoption,
    GroupTest,
    groups_allowed,
    trainings_of,
)
from darwin_git.domain.names import VariantName, agent_ref
from darwin_git.domain.outcome import joined_ideas
from darwin_git.domain.population import State, apply
from darwin_git.domain.statistics import expendable
from darwin_git.domain.trial import Replicate, Verdict
from darwin_git.errors import DarwinError
from darwin_git.ports import Move
from darwin_git.steps import measure
from darwin_git.steps.drive import Steps, drive
from darwin_git.steps.propose import author
from darwin_git.steps.revert import Job, reverted
from darwin_git.steps.scale import check_trainings
from darwin_git.steps.union import RACE
from darwin_git.steps.world import World


@dataclass(frozen=True)
class _Tested:
    """A group that was reverted.

    Attributes:
        group: the merges that were reverted beside those that had gone already.
        commit: the reverted tree's; empty where it could not be made.
        variant: its name; empty where the tree was measured already under another.
        effects: loss(tip) - loss(reverted) by seed; none where it failed.
        gone: whether it is no worse, so that the merges go.
    """

    group: tuple[Adoption, ...]
    commit: str = ""
    variant: str = ""
    effects: tuple[float, ...] = ()
    gone: bool = False
    reason: str = ""


@dataclass
class _Found:
    """What group testing came to."""

    measured: str
    reverted: tuple[Adoption, ...] = ()
    tested: list[_Tested] = field(default_factory=list)


def adopted(world: World, state: State) -> Adopted:
    """The merges in effect, from all events of the run."""
    events = (e for g in range(state.generation + 1) for e in world.history.events(g))
    return Adopted.fold(events)


def seeds_of(world: World) -> range:
    """Two of the run's seeds that no race uses: on its own a lucky merge looks good again."""
    first = max(world.race.seeds[-1], RACE.seeds[-1]) + 1
    return range(first, first + SEEDS)


def groups(world: World, state: State) -> int:
    """How many groups the next minimisation may train."""
    if not world.config.selection.minimise:
        return 0
    return groups_allowed(state.totals.trainings, check_trainings(world))


def minimise_trainings(world: World, state: State) -> int:
    """The most trainings that the next minimisation can spend."""
    most = groups(world, state)
    return trainings_of(most) if most else 0


def minimise(world: World, state: State) -> State:
    """Revert what the best tip can do without, by an adopting merge; the new state.

    All merges that raced under s0 are reverted together by three-way merge and measured against
    the tip; halves where that is worse or in conflict. Done once for a tip: killed half-way it
    starts again and finds its branches and trainings in git.

    Raises:
        DarwinError: infrastructure failed; what was trained is kept.
    """
    agent = state.best
    lineage, most = state.agents[agent], groups(world, state)
    if not most or lineage.minimised == lineage.measured:
        return state
    known = adopted(world, state)
    doubtful = known.doubtful(agent, state.s0)
    if not doubtful:
        return state
    job = Job(world, state, agent, known.lineages[agent])
    world.tell("minimise", agent=agent, ideas=[one.idea for one in doubtful])
    steps = _tested(job, doubtful, most)
    found = drive({"minimise": steps}, world.executor, world.waiting)["minimise"]
    return _settle(job, found)


def _tested(job: Job, doubtful: Sequence[Adoption], most: int) -> Steps[_Found]:
    """Test groups until all is known or the trainings are spent."""
    world, state, lineage = job.world, job.state, job.lineage
    tip = world.subject(lineage.measured, f"tip of {job.agent}")
    allowance = measure.allowance_of(world, tip)
    seeds = seeds_of(world)
    whole = yield from measure.replicates(world, tip, seeds, allowance, state.generation)
    _refuse_fault(whole)
    found, tests = _Found(lineage.measured), GroupTest(doubtful)
    if measure.failure(whole) is not None:
        return found  # a tip that fails here has nothing that could be compared
    best = whole
    while most and (group := tests.next_group()) is not None:
        commit, variant, reason = reverted(job, (*tests.gone, *group))
        if not commit:
            tests.answer(False)
            found.tested.append(_Tested(group, reason=reason))
            continue
        most -= 1
        news, reason = yield from _measured(world, state, commit, variant)
        if reason:
            tests.answer(False)
            found.tested.append(_Tested(group, commit, variant, reason=reason))
            continue
        effects = tuple(t.loss - r.loss for t, r in zip(best, news, strict=True))
        total = [t.loss - r.loss for t, r in zip(whole, news, strict=True)]
        gone = expendable(effects, state.s0) and expendable(total, state.s0)
        tests.answer(gone)
        found.tested.append(_Tested(group, commit, variant, effects, gone))
        world.tell("minimised", agent=job.agent, ideas=[m.idea for m in group], gone=gone)
        if gone:
            best, found.measured = news, commit
    found.reverted = tests.gone
    return found


def _measured(
    world: World, state: State, commit: str, variant: str
) -> Steps[tuple[list[Replicate], str]]:
    """Screen and train a reverted tree; its replicates, or why it has none."""
    subject = world.subject(commit, variant or f"reverted to {commit[:12]}")
    reference = measure.reference(world, state.baseline)
    screened = yield from measure.screen(world, subject, reference, state.generation)
    if screened.verdict is Verdict.INFRA:
        raise _fault(screened.reason)
    if screened.allowance is None or screened.verdict is not Verdict.OK:
        return [], f"{screened.verdict}: {screened.reason}"
    seeds = seeds_of(world)
    news = yield from measure.replicates(
        world, subject, seeds, screened.allowance, state.generation
    )
    _refuse_fault(news)
    bad = measure.failure(news)
    return news, "" if bad is None else f"{bad.verdict} under seed {bad.seed}: {bad.reason}"


def _refuse_fault(replicates: Sequence[Replicate]) -> None:
    broken = next((r for r in replicates if r.verdict is Verdict.INFRA), None)
    if broken is not None:
        raise _fault(broken.reason)


def _fault(reason: str) -> DarwinError:
    return DarwinError(
        f"the tip could not be minimised: {reason}",
        hint="mend that and run `darwin-git certify`; what was trained is kept",
    )


def _settle(job: Job, found: _Found) -> State:
    """One transition: the adopting merge, the event, the branches into the archive."""
    world, lineage = job.world, job.lineage
    moves: list[Move] = []
    tip, gain = lineage.tip, lineage.gain
    if found.reverted:
        tip = world.history.commit(
            world.history.full_tree(found.measured),
            (lineage.tip, found.measured),
            _message(job, found),
            author(world, job.agent),
        )
        gain = _gain(job, found)
        moves.append(Move(agent_ref(job.agent), lineage.tip, tip))
    trainings, seconds = _spent(job, found)
    event: dict[str, Any] = {
        "kind": "minimise",
        "agent": job.agent,
        "tip": tip,
        "before": lineage.measured,
        "measured": found.measured,
        "ideas": list(_ideas(job, found)),
        "gain": gain,
        "reverted": [
            {"merge": m.merge, "variant": m.variant, "idea": m.idea, "gain": m.gain}
            for m in found.reverted
        ],
        "tested": [_row(one) for one in found.tested],
        "seeds": list(seeds_of(world)),
        "trainings": trainings,
        "seconds": seconds,
    }
    events = [event, *_archive(job, found, moves)]
    after = job.state
    for one in events:
        after = apply(after, one)
    names = ", ".join(one.idea for one in found.reverted) or "nothing"
    subject = f"Minimise {job.agent}: {names} reverted"
    world.history.settle(moves, job.state.generation, events, after, {}, subject)
    return after


def _archive(job: Job, found: _Found, moves: list[Move]) -> Iterator[dict[str, Any]]:
    """The reverted trees' branches go out of sight, but for one that somebody looks at."""
    history = job.world.history
    occupied = history.occupied()
    for name in sorted({one.variant for one in found.tested if one.variant}):
        variant = VariantName.parse(name)
        commit = history.resolve(variant.ref)
        if variant.ref in occupied:
            yield {"kind": "defer", "variant": name}
        elif commit is not None:
            moves += [Move(variant.archive_ref, None, commit), Move(variant.ref, commit, None)]


def _ideas(job: Job, found: _Found) -> tuple[str, ...]:
    """Without those of the reverted merges, but where another merge brings them as well."""
    kept = joined_ideas([one.idea for one in job.merges if one not in found.reverted])
    lost = set(joined_ideas([one.idea for one in found.reverted])) - set(kept)
    return tuple(idea for idea in job.lineage.ideas if idea not in lost)


def _gain(job: Job, found: _Found) -> float:
    """Over the baseline: the tip's own, which the reverted tree was found to be no worse than.

    Where nothing is left over the champion it is the champion's, or the tip would stay the best.
    """
    state = job.state
    if found.measured not in (state.baseline, state.champion.measured):
        return job.lineage.gain
    subject = job.world.subject(found.measured, "champion")
    known = measure.known_replicates(job.world, subject)
    gains = [
        loss - known[int(seed)].loss
        for seed, loss in state.losses.items()
        if int(seed) in known and known[int(seed)].verdict is Verdict.OK
    ]
    return sum(gains) / len(gains) if gains else 0.0


def _spent(job: Job, found: _Found) -> tuple[int, float]:
    """(trainings, seconds) of the replicates that were made for this."""
    seeds, rows = seeds_of(job.world), dict[str, float]()
    for commit in {job.lineage.measured, *(one.commit for one in found.tested if one.commit)}:
        for record in job.world.history.records(commit):
            new = record["kind"] == "replicate" and record["generation"] == job.state.generation
            if new and record["seed"] in seeds and record["factor"] == 1.0:
                rows[record["id"]] = record["seconds"]
    return len(rows), round(sum(rows.values()), 3)


def _row(one: _Tested) -> dict[str, Any]:
    return {
        "variant": one.variant,
        "commit": one.commit,
        "ideas": [merge.idea for merge in one.group],
        "effects": list(one.effects),
        "gone": one.gone,
        "reason": one.reason,
    }


def _message(job: Job, found: _Found) -> str:
    names = ", ".join(one.idea for one in found.reverted)
    last = [one for one in found.tested if one.gone][-1]
    effects = ", ".join(f"{x:+.4f}" for x in last.effects)
    return merge_message(
        f"Minimise {job.agent}: without {names}",
        [
            f"Before a certificate: without {names} the tip is not worse on {SEEDS} seeds that no "
            f"race used, {effects} {job.world.metric.unit} at the last test.",
        ],
        {"Darwin-Variant": last.variant, "Darwin-Agent": job.agent, "Darwin-Minimised": names},
    )
