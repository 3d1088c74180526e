"""One variant's life: propose, screen and repair, race against its parent, a verdict."""

from collections.abc import Sequence
from dataclasses import replace

from darwin_git.domain.change import change_id
from darwin_git.domain.names import VariantName
from darwin_git.domain.outcome import Trial
from darwin_git.domain.planning import Plan, Planned
from darwin_git.domain.population import State
from darwin_git.domain.statistics import RaceDecision, RaceRule, next_look, paired, race
from darwin_git.domain.trial import Allowance, Replicate, Subject, Verdict
from darwin_git.ports import Declined
from darwin_git.steps import measure
from darwin_git.steps.drive import Steps
from darwin_git.steps.join import join
from darwin_git.steps.propose import Made, forbidden, mutate
from darwin_git.steps.repair import repair
from darwin_git.steps.world import World


def trial(world: World, state: State, plan: Plan, planned: Planned, rule: RaceRule) -> Steps[Trial]:
    """From the plan's line to the verdict; every step of it is found again after a kill."""
    variant = str(VariantName(plan.generation, planned.slug))
    made = committed(world, variant)
    if made is None:
        if planned.how == "mutate":
            answer = yield from mutate(world, state, plan, planned)
        else:
            answer = yield from join(world, state, plan, planned)
        if isinstance(answer, Declined):
            verdict = Verdict.INFRA if answer.infra else Verdict.REJECTED
            ours = planned.mutator in world.proposers and world.proposers[planned.mutator].builtin
            # An answer that cannot be used is a failed mutation; an idea that is lacking is none.
            asked = planned.how == "mutate" and not (ours or answer.infra)
            failure = "answer" if asked else "proposal"
            return _ended(world, planned, variant, None, verdict, answer.reason, failure)
        made = answer
    world.tell("proposed", variant=variant, idea=made.idea, subject=made.subject)
    made, subject, allowance, ended = yield from _screened(world, state, plan, planned, made)
    if ended is not None:
        return ended
    assert allowance is not None
    return (yield from _raced(world, state, plan, planned, made, subject, allowance, rule))


def committed(world: World, variant: str) -> Made | None:
    """The variant as an earlier, interrupted step left it."""
    tip = world.history.tip(variant)
    if tip is None:
        return None
    subject, trailers = world.history.message(tip)
    repairs = trailers.get("Darwin-Repair", "")
    return Made(
        tip,
        trailers.get("Darwin-Idea") or trailers.get("Darwin-Operator") or "unnamed",
        trailers.get("Darwin-Mutation") or subject,
        int(repairs) if repairs.isdecimal() else 0,
        tuple(trailers.get("Darwin-Failures", "").split()),
        tuple(trailers.get("Darwin-Memory", "").split()),
        trailers.get("Darwin-Mended", ""),
        subject if repairs else "",
    )


def change_of(world: World, planned: Planned, made: Made) -> str:
    """What a mutation changes; of a merge nobody asks."""
    if planned.how != "mutate":
        return ""
    before, after = world.history.files(planned.parent), world.history.files(made.commit)
    changed: dict[str, str | None] = {
        path: text for path, text in after.items() if before.get(path) != text
    }
    return change_id(before, changed | {path: None for path in before if path not in after})


def _screened(
    world: World, state: State, plan: Plan, planned: Planned, made: Made
) -> Steps[tuple[Made, Subject, Allowance | None, Trial | None]]:
    """Screen; on failure the mutator mends its own mutation as long as it has an answer."""
    variant = str(VariantName(plan.generation, planned.slug))
    while True:
        subject = world.subject(made.commit, variant)
        twin = world.history.twin(made.commit) or world.in_flight.get(subject.tree)
        if twin is not None and twin != variant:
            reason = f"the same tree as {twin[:12]}"
            ended = _ended(world, planned, variant, made, Verdict.DUPLICATE, reason, "")
            return made, subject, None, ended
        foreign = forbidden(world, planned, made.commit)
        if foreign:
            reason = f"it changes {foreign[0]}, which is protected"
            ended = _ended(world, planned, variant, made, Verdict.REJECTED, reason, "rule")
            return made, subject, None, ended
        world.in_flight[subject.tree] = variant
        reference = measure.reference(world, state.baseline)
        found = yield from measure.screen(world, subject, reference, plan.generation)
        if found.verdict is Verdict.OK:
            return made, subject, found.allowance, None
        if found.verdict is Verdict.INFRA:
            ended = _ended(world, planned, variant, made, Verdict.INFRA, found.reason, "")
            return made, subject, None, ended
        answer = yield from repair(world, state, plan, planned, made, found)
        if isinstance(answer, Declined):
            verdict: Verdict = found.verdict
            reason, failure = found.reason, found.failure
            if answer.infra:  # who could not be asked is not to blame
                verdict, reason, failure = Verdict.INFRA, answer.reason, "proposal"
            ended = _ended(world, planned, variant, made, verdict, reason, failure)
            return made, subject, None, ended
        made = answer


def _raced(
    world: World,
    state: State,
    plan: Plan,
    planned: Planned,
    made: Made,
    subject: Subject,
    allowance: Allowance,
    rule: RaceRule,
) -> Steps[Trial]:
    """Replicates on the run's fixed seeds, added only while the race is undecided."""
    parent = world.subject(measured_commit(state, planned.parent), f"parent of {subject.label}")
    parent_allowance = measure.allowance_of(world, parent)
    baseline = world.subject(state.baseline, "baseline")
    looks = next_look(0, rule)
    children: list[Replicate] = []
    effects: dict[int, float] = {}
    decision = RaceDecision.MORE
    while decision is RaceDecision.MORE and looks is not None:
        seeds = range(1, looks + 1)
        children = yield from measure.replicates(world, subject, seeds, allowance, plan.generation)
        bad = measure.failure(children)
        if bad is not None:
            ended = _ended(
                world, planned, subject.label, made, bad.verdict, bad.reason, bad.failure
            )
            return replace(ended, trainings=len(children), seconds=_seconds(children))
        parents = yield from measure.replicates(
            world, parent, seeds, parent_allowance, plan.generation
        )
        broken = next((p for p in parents if p.verdict is Verdict.INFRA), None)
        if broken is not None:
            reason = f"its parent could not be trained on the race's seeds: {broken.reason}"
            return _ended(world, planned, subject.label, made, Verdict.INFRA, reason, "")
        # A seed under which the parent fails says nothing of the difference: it is left out.
        pairs = [(p, c) for p, c in zip(parents, children, strict=True) if p.verdict is Verdict.OK]
        if not pairs:
            reason = "its parent fails under the race's seeds: nothing to compare with"
            return _ended(world, planned, subject.label, made, Verdict.STOPPED, reason, "")
        effects = {c.seed: p.loss - c.loss for p, c in pairs}
        decision = race(list(effects.values()), state.s0, rule)
        looks = next_look(looks, rule)
    bases = yield from measure.replicates(
        world,
        baseline,
        range(1, len(children) + 1),
        measure.reference(world, state.baseline),
        plan.generation,
    )
    broken = next((b for b in bases if b.verdict is Verdict.INFRA), None)
    if broken is not None:
        reason = f"the baseline could not be trained on the race's seeds: {broken.reason}"
        return _ended(world, planned, subject.label, made, Verdict.INFRA, reason, "")
    total = [b.loss - c.loss for b, c in zip(bases, children, strict=True)]
    trial = Trial(
        planned=planned,
        commit=made.commit,
        tree=subject.tree,
        idea=made.idea,
        subject=made.subject,
        verdict=Verdict.OK,
        repairs=made.repairs,
        failures=made.failures,
        mended=made.mended,
        repair=made.repair,
        lessons=made.lessons,
        change=change_of(world, planned, made),
        effects=effects,
        gain=sum(effects.values()) / len(effects),
        sd=_standard_error(list(effects.values()), state.s0),
        total_gain=sum(total) / len(total),
        loss=sum(c.loss for c in children) / len(children),
        mfu=_mean_mfu(children),
        won=decision is RaceDecision.MERGE,
        parked=decision in (RaceDecision.PARK, RaceDecision.MORE),
        trainings=len(children),
        seconds=_seconds(children),
    )
    world.tell("raced", variant=subject.label, trial=trial)
    return trial


def measured_commit(state: State, tip: str) -> str:
    """The commit on which the notes of a lineage's tip stand."""
    for lineage in state.agents.values():
        if lineage.tip == tip:
            return lineage.measured
    return tip


def _standard_error(effects: Sequence[float], s0: float) -> float:
    """Of the mean effect; with one or two seeds the baseline's noise is the better guess."""
    if len(effects) < 3:
        return float(s0 / len(effects) ** 0.5)
    sd = paired(effects).sd or 0.0
    return float(max(sd, s0 / 10) / len(effects) ** 0.5)


def _mean_mfu(replicates: Sequence[Replicate]) -> float | None:
    known = [r.mfu for r in replicates if r.mfu is not None and r.exclusive]
    return sum(known) / len(known) if len(known) == len(replicates) else None


def _seconds(replicates: Sequence[Replicate]) -> float:
    return round(sum(r.seconds for r in replicates), 3)


def _ended(
    world: World,
    planned: Planned,
    variant: str,
    made: Made | None,
    verdict: Verdict,
    reason: str,
    failure: str,
) -> Trial:
    """A trial without a race."""
    ended = Trial(
        planned=planned,
        commit=made.commit if made else "",
        tree=world.history.tree(made.commit) if made else "",
        idea=made.idea if made else "",
        subject=made.subject if made else "",
        verdict=verdict,
        reason=reason,
        failure=failure,
        repairs=made.repairs if made else 0,
        failures=made.failures if made else (),
        mended=made.mended if made else "",
        repair=made.repair if made else "",
        lessons=made.lessons if made else (),
        change=change_of(world, planned, made) if made else "",
    )
    world.tell("ended", variant=variant, trial=ended)
    return ended
