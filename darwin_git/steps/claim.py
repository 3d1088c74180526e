"""The champion's certificate: the one claim, on seeds never used before."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from darwin_git.domain.claim import Claim
from darwin_git.domain.message import merge_message
from darwin_git.domain.metric import Metric
from darwin_git.domain.names import CHAMPION
from darwin_git.domain.population import State, apply
from darwin_git.domain.statistics import (
    CertificateDecision,
    CertificateRule,
    CertificateStatus,
    certificate_level,
    certify,
    noise,
    paired,
)
from darwin_git.domain.trial import Replicate, Subject, Verdict
from darwin_git.errors import DarwinError
from darwin_git.ports import Measured, Move
from darwin_git.steps import measure
from darwin_git.steps.drive import Steps, drive
from darwin_git.steps.hours import refuse_spent
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


def trainings_reserved(world: World, state: State) -> int:
    """The most trainings that the next certificate can spend: both sides, every look."""
    return 2 * world.claim.looks(state.certificates + 1)[-1][0]


def claim(world: World, state: State) -> Claim:
    """Challenge the champion with the best tip; the champion moves where it is certified.

    Killed half-way it starts again on the same fresh seeds and finds its trainings in the notes.

    Raises:
        DarwinError: a branch that must move is checked out; the device hours are spent.
    """
    agent = state.best
    tip = state.agents[agent]
    if tip.measured == state.champion.measured:
        return Claim(agent, None)
    refuse_occupied(world, state)
    refuse_moved(world, state)
    refuse_spent(world, state, trainings_reserved(world, state), "the certificate")
    steps = _compared(world, state, tip.measured)
    found = drive({"certificate": steps}, world.executor, world.waiting)["certificate"]
    final = [
        t.final_loss - m.final_loss
        for m, t in zip(found.mine, found.theirs, strict=True)
        if m.final_loss is not None and t.final_loss is not None
    ]
    outcome = Claim(
        agent,
        found.decision,
        _race_gain(world, state, tip.measured),
        sum(final) / len(final) if final else None,
        _values(world.metric, found.theirs, found.mine) if final else None,
    )
    fields = _record(state, outcome, found)
    known = [r for r in world.history.records(tip.measured) if r["kind"] == "certificate"]
    if not any(r["fresh_from"] == fields["fresh_from"] for r in known):
        measured = world.subject(tip.measured, f"tip of {agent}")
        key = measure.measurement(world, measured)
        world.history.record(Measured("certificate", measured, key, fields, state.generation))
    _apply(world, state, outcome, fields, found)
    world.history.fold()
    return outcome


def _compared(world: World, state: State, commit: str) -> Steps[_Compared]:
    """Train both sides look by look until the certificate is decided.

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
    return _Compared(decision, tuple(mine), tuple(theirs), top - first, tuple(spent.values()))


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


def _race_gain(world: World, state: State, commit: str) -> float:
    """Gain over the champion on the race seeds that both were trained on."""
    mine = measure.known_replicates(world, world.subject(commit, "tip"))
    theirs = measure.known_replicates(world, world.subject(state.champion.measured, "champion"))
    shared = [s for s in mine if s in theirs and s < measure.FRESH_SEEDS_FROM]
    both = [(mine[s], theirs[s]) for s in shared]
    gains = [t.loss - m.loss for m, t in both if m.verdict is t.verdict is Verdict.OK]
    return sum(gains) / len(gains) if gains else 0.0


def _values(
    metric: Metric, champion: Sequence[Replicate], tip: Sequence[Replicate]
) -> tuple[float, float]:
    means = [sum(r.final_loss or 0.0 for r in side) / len(side) for side in (champion, tip)]
    return metric.value(means[0]), metric.value(means[1])


def _record(state: State, outcome: Claim, found: _Compared) -> dict[str, Any]:
    decision = found.decision
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
    if decision.status is CertificateStatus.CERTIFIED:
        merge = world.history.commit(
            world.history.full_tree(tip.measured),
            (state.champion.tip, tip.measured),
            _message(world.metric, outcome, decision, tip.ideas, fields),
            None,
        )
        moves.append(Move(CHAMPION, state.champion.tip, merge))
        events.append(
            {
                "kind": "champion",
                "tip": merge,
                "measured": tip.measured,
                "ideas": list(tip.ideas),
                "s0": max(noise([r.loss for r in found.mine]), _least_noise(world)),
            }
        )
    after = state
    for event in events:
        after = apply(after, event)
    subject = f"Certificate {state.certificates + 1}: {decision.status}"
    world.history.settle(moves, state.generation, events, after, {}, subject)


def _least_noise(world: World) -> float:
    """A training has some, even where a few seeds agree; a metric may have none."""
    return 1e-6 if world.config.genome.contract == "nanogpt" else 0.0


def _message(
    metric: Metric,
    outcome: Claim,
    decision: CertificateDecision,
    ideas: Sequence[str],
    fields: Mapping[str, Any],
) -> str:
    sentences = [
        f"{decision.sentence.replace(': ', ', ', 1).capitalize()}.",
        f"On the race's seeds it was {metric.change_words(outcome.race, 1)}: what selection "
        "flatters, fresh seeds correct.",
    ]
    if outcome.final is not None and outcome.values is not None:
        before, after = (metric.value_words(metric.loss(value)) for value in outcome.values)
        sentences.append(
            f"Final split, read once and never used to decide: {metric.name} {before} to "
            f"{after}, {metric.change_words(outcome.final, 1)}."
        )
    return merge_message(
        f"Certify {' + '.join(ideas)}: {metric.in_words(decision.mean)}",
        sentences,
        {
            "Darwin-Certificate": str(decision.status),
            "Darwin-Seeds": " ".join(str(seed) for seed in fields["seeds"]),
            "Darwin-Agent": outcome.agent,
        },
    )
