"""The champion's certificate: the one claim, on seeds never used before."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from darwin_git.domain.claim import Claim, ScaleCheck
from darwin_git.domain.metric import Metric
from darwin_git.domain.population import State, apply
from darwin_git.domain.statistics import (
    CertificateDecision,
    CertificateRule,
    CertificateStatus,
    certificate_level,
    certify,
    paired,
)
from darwin_git.domain.trial import Replicate, Subject, Verdict
from darwin_git.errors import DarwinError
from darwin_git.ports import Measured
from darwin_git.steps import measure, scale
from darwin_git.steps.champion import move_of, stand, standing
from darwin_git.steps.drive import Steps, drive
from darwin_git.steps.hours import refuse_spent
from darwin_git.steps.minimise import adopted, minimise, minimise_trainings, seeds_of
from darwin_git.steps.settle import refuse_moved, refuse_occupied
from darwin_git.steps.world import World


@dataclass(frozen=True)
class _Compared:
    """Both sides on the same fresh seeds; empty where the tip itself failed."""

    decision: CertificateDecision
    mine: tuple[Replicate, ...]
    theirs: tuple[Replicate, ...]
    used: int
    """Fresh seeds that are no longer fresh."""
    trainings: tuple[Replicate, ...]
    scale: ScaleCheck | None = None


def trainings_reserved(world: World, state: State) -> int:
    """The most that the next certificate can spend, in trainings of the usual length.

    Minimising the tip, both sides at every look, and the check at a larger budget.
    """
    looks = 2 * world.claim.looks(state.certificates + 1)[-1][0]
    return minimise_trainings(world, state) + looks + scale.check_trainings(world)


def rounds_reserved(world: World, state: State) -> float:
    """How long that takes at most, in trainings one after another: groups wait for each other."""
    slots = world.executor.slots
    looks = 2 * world.claim.looks(state.certificates + 1)[-1][0]
    groups = minimise_trainings(world, state) // scale.SEEDS
    longest = 0.0 if world.scale == 1.0 else world.scale * -(-2 * scale.SEEDS // slots)
    return groups * -(-scale.SEEDS // slots) + -(-looks // slots) + longest


def claim(world: World, state: State, *, accept: bool = False) -> Claim:
    """Challenge the champion with the best tip; the champion moves where it is certified.

    The tip is minimised first and checked at a larger budget afterwards. Killed half-way it starts
    again on the same fresh seeds and finds its trainings in the notes.

    Args:
        accept: the person wants the champion to move also where the gain is scale-bound.

    Raises:
        DarwinError: a branch that must move is checked out; the device hours are spent.
    """
    agent = state.best
    if state.agents[agent].measured == state.champion.measured:
        return Claim(agent, None)
    refuse_occupied(world, state)
    refuse_moved(world, state)
    known = standing(world, state)
    if known is not None:
        return stand(world, state, known, accept)
    refuse_spent(world, state, trainings_reserved(world, state), "the certificate")
    before, state = state, minimise(world, state)
    tip = state.agents[agent]
    reverted = tuple(idea for idea in before.agents[agent].ideas if idea not in tip.ideas)
    if tip.measured == state.champion.measured:
        world.history.fold()
        return Claim(agent, None, reverted=reverted)
    steps = _compared(world, state, tip.measured)
    found = drive({"certificate": steps}, world.executor, world.waiting)["certificate"]
    outcome = replace(_outcome(world, state, agent, found), reverted=reverted)
    fields = _record(state, outcome, found)
    notes = [r for r in world.history.records(tip.measured) if r["kind"] == "certificate"]
    if not any(r["fresh_from"] == fields["fresh_from"] for r in notes):
        measured = world.subject(tip.measured, f"tip of {agent}")
        key = measure.measurement(world, measured)
        world.history.record(Measured("certificate", measured, key, fields, state.generation))
    outcome = replace(outcome, moved=outcome.certified and (accept or not outcome.scale_bound))
    _apply(world, state, outcome, fields, found)
    world.history.fold()
    return outcome


def _outcome(world: World, state: State, agent: str, found: _Compared) -> Claim:
    final = [
        t.final_loss - m.final_loss
        for m, t in zip(found.mine, found.theirs, strict=True)
        if m.final_loss is not None and t.final_loss is not None
    ]
    outcome = Claim(
        agent,
        found.decision,
        _race_gain(world, state, agent),
        sum(final) / len(final) if final else None,
        _values(world.metric, found.theirs, found.mine) if final else None,
        found.scale,
    )
    if found.scale is None:
        return outcome
    words = f"{found.decision.sentence}; {found.scale.in_words(world.metric)}"
    if outcome.scale_bound:
        words = words.replace("certified:", "certified, but scale-bound:", 1)
        words += ": the champion moves only where a person wants it"
    return replace(outcome, decision=replace(found.decision, sentence=words))


def _compared(world: World, state: State, commit: str) -> Steps[_Compared]:
    """Train both sides look by look until the certificate is decided, then check what is certain.

    A fresh seed under which the champion fails says nothing of the tip: it is skipped for both.
    """
    rule = world.claim
    number = state.certificates + 1
    looks = rule.looks(number)
    tip = world.subject(commit, f"tip of {state.best}")
    champion = world.subject(state.champion.measured, "champion")
    first = measure.FRESH_SEEDS_FROM + state.fresh
    good: list[int] = []
    top = first
    decision: CertificateDecision | None = None
    mine: list[Replicate] = []
    theirs: list[Replicate] = []
    spent: dict[tuple[str, int], Replicate] = {}
    for look, _ in looks:
        while len(good) < look:
            wanted = range(top, top + look - len(good))
            top = wanted.stop
            if top - first > 2 * looks[-1][0]:
                raise DarwinError(
                    "the champion fails under too many fresh seeds to be compared with",
                    hint="look at `darwin-git show champion`; the machine may be overloaded",
                )
            news = yield from _trained(world, tip, wanted, state.generation)
            spent |= {("tip", r.seed): r for r in news}
            bad = measure.failure(news)
            if bad is not None:
                failed = _failed(bad, look, number, rule)
                return _Compared(failed, (), (), top - first, tuple(spent.values()))
            olds = yield from _trained(world, champion, wanted, state.generation)
            spent |= {("champion", r.seed): r for r in olds}
            for new, old in zip(news, olds, strict=True):
                if old.verdict is Verdict.OK:
                    good.append(new.seed)
                    mine.append(new)
                    theirs.append(old)
        effects = [t.loss - m.loss for t, m in zip(theirs, mine, strict=True)]
        margin = max(rule.margin, 2.5 * _split_error(theirs[0], mine[0]))
        decision = certify(effects, state.s0, rule, number, margin, world.metric)
        world.tell("certificate", decision=decision)
        if decision.status is not CertificateStatus.MORE:
            break
    assert decision is not None, "a certificate has at least one look"
    used, trainings = top - first, tuple(spent.values())
    found = _Compared(decision, tuple(mine), tuple(theirs), used, trainings)
    if decision.status is not CertificateStatus.CERTIFIED or world.scale == 1.0:
        return found
    begin = first + max(used, looks[-1][0])
    check, more = yield from scale.scale_check(world, state, commit, begin)
    used = begin + scale.SEEDS - first
    return replace(found, used=used, trainings=(*trainings, *more), scale=check)


def _trained(
    world: World, subject: Subject, seeds: Sequence[int], generation: int
) -> Steps[list[Replicate]]:
    allowance = measure.allowance_of(world, subject)
    results = yield from measure.replicates(
        world, subject, seeds, allowance, generation, final=True
    )
    broken = next((r for r in results if r.verdict is Verdict.INFRA), None)
    if broken is not None:
        raise DarwinError(
            f"the certificate could not be measured: {broken.reason}",
            hint="mend that and run `darwin-git certify`; what was trained is kept",
        )
    return results


def _failed(bad: Replicate, look: int, number: int, rule: CertificateRule) -> CertificateDecision:
    """A tip that fails under a fresh seed is not certified, however good it is elsewhere."""
    return CertificateDecision(
        status=CertificateStatus.UNSTABLE,
        mean=0.0,
        low=None,
        high=None,
        p=1.0,
        level=certificate_level(number, rule.level),
        level_spent=certificate_level(number, rule.level),
        margin=rule.margin,
        worst=0.0,
        n=look,
        sentence=f"unstable: {bad.verdict} under fresh seed {bad.seed}: {bad.reason}",
    )


def _split_error(champion: Replicate, tip: Replicate) -> float:
    """Standard error of the effect over the shards of the scored split, nats per token.

    A judged metric comes without shards: what its split is worth is for its program to say.
    """
    if not champion.scored:
        return 0.0
    effects = [
        c.nats / c.tokens - t.nats / t.tokens
        for c, t in zip(champion.scored, tip.scored, strict=True)
    ]
    sd = paired(effects).sd
    return float((sd or 0.0) / len(effects) ** 0.5)


def _race_gain(world: World, state: State, agent: str) -> float:
    """Gain over the champion on the race seeds that both were trained on.

    Of the tip as it was before it was minimised: that is what the races had chosen.
    """
    tip = state.agents[agent]
    before = adopted(world, state).before.get(agent, tip.measured)
    raced = before if tip.minimised == tip.measured else tip.measured
    mine = measure.known_replicates(world, world.subject(raced, "tip"))
    theirs = measure.known_replicates(world, world.subject(state.champion.measured, "champion"))
    shared = [s for s in mine if s in theirs and s < measure.FRESH_SEEDS_FROM]
    shared = [s for s in shared if s not in seeds_of(world)] or shared
    both = [(mine[s], theirs[s]) for s in shared]
    gains = [t.loss - m.loss for m, t in both if m.verdict is t.verdict is Verdict.OK]
    return sum(gains) / len(gains) if gains else 0.0


def _values(
    metric: Metric, champion: Sequence[Replicate], tip: Sequence[Replicate]
) -> tuple[float, float]:
    means = [sum(r.final_loss or 0.0 for r in side) / len(side) for side in (champion, tip)]
    return metric.value(means[0]), metric.value(means[1])


def _record(state: State, outcome: Claim, found: _Compared) -> dict[str, Any]:
    decision = outcome.decision
    assert decision is not None
    pairs = list(zip(found.theirs, found.mine, strict=True))
    return {
        **{k: (str(v) if k == "status" else v) for k, v in asdict(decision).items()},
        "champion": state.champion.measured,
        "number": state.certificates + 1,
        "fresh_from": measure.FRESH_SEEDS_FROM + state.fresh,
        "seeds": [m.seed for _, m in pairs],
        "effects": [t.loss - m.loss for t, m in pairs],
        "s0": state.s0,
        "race": outcome.race,
        "final": outcome.final,
        "final_values": outcome.values,
        "scale": outcome.scale and outcome.scale.to_json(),
        "scale_bound": outcome.scale_bound,
    }


def _apply(
    world: World, state: State, outcome: Claim, fields: Mapping[str, Any], found: _Compared
) -> None:
    """Write the certificate's events; move the champion where it is certified."""
    decision, tip = found.decision, state.agents[outcome.agent]
    planned = world.claim.looks(state.certificates + 1)[-1][0]
    events: list[dict[str, Any]] = [
        {
            **fields,
            "kind": "certificate",
            "commit": tip.measured,
            "agent": outcome.agent,
            "ideas": list(tip.ideas),
            "fresh": max(found.used, planned),
            "trainings": len(found.trainings),
            "seconds": round(sum(r.seconds for r in found.trainings), 3),
        }
    ]
    moves = []
    if outcome.moved:
        move, event = move_of(world, state, outcome, fields, [r.loss for r in found.mine])
        moves.append(move)
        events.append(event)
    after = state
    for event in events:
        after = apply(after, event)
    label = "scale-bound" if outcome.scale_bound else decision.status
    subject = f"Certificate {state.certificates + 1}: {label}"
    world.history.settle(moves, state.generation, events, after, {}, subject)
