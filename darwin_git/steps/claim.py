"""The champion's certificate: the one claim, on seeds never used before."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from darwin_git.domain.claim import Claim
from darwin_git.domain.message import merge_message
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
    perplexity_change,
)
from darwin_git.domain.trial import Replicate, Subject, Verdict, loss
from darwin_git.errors import DarwinError
from darwin_git.ports import Measured, Move
from darwin_git.steps import measure
from darwin_git.steps.drive import Steps, drive
from darwin_git.steps.settle import refuse_moved, refuse_occupied
from darwin_git.steps.world import World


def trainings_reserved(world: World) -> int:
    """The most trainings that the next certificate can spend: both sides, every look."""
    return 2 * world.config.selection.certificate[-1]


def claim(world: World, state: State) -> Claim:
    """Challenge the champion with the best tip; the champion moves where it is certified.

    Killed half-way it starts again on the same fresh seeds and finds its trainings in the notes.
    """
    agent = state.best
    tip = state.agents[agent]
    if tip.measured == state.champion.measured:
        return Claim(agent, None)
    refuse_occupied(world, state)
    refuse_moved(world, state)
    steps = _compared(world, state, tip.measured)
    decision, mine, theirs = drive({"certificate": steps}, world.executor)["certificate"]
    measured = world.subject(tip.measured, f"tip of {agent}")
    final = [loss(t.final) - loss(m.final) for m, t in zip(mine, theirs, strict=True) if m.final]
    race_gain = _race_gain(world, state, tip.measured)
    outcome = Claim(
        agent,
        decision,
        race_gain,
        sum(final) / len(final) if final else None,
        _perplexities(theirs, mine) if final else None,
    )
    fields = _record(state, outcome, mine, theirs)
    known = [r for r in world.history.records(tip.measured) if r["kind"] == "certificate"]
    if not any(r["fresh_from"] == fields["fresh_from"] for r in known):
        key = measure.measurement(world, measured)
        world.history.record(Measured("certificate", measured, key, fields, state.generation))
    _apply(world, state, outcome, fields, theirs, mine)
    world.history.fold()
    return outcome


def _compared(
    world: World, state: State, commit: str
) -> Steps[tuple[CertificateDecision, list[Replicate], list[Replicate]]]:
    """Train both sides look by look until the certificate is decided."""
    rule = world.claim
    number = state.certificates + 1
    tip = world.subject(commit, f"tip of {state.best}")
    champion = world.subject(state.champion.measured, "champion")
    first = measure.FRESH_SEEDS_FROM + state.fresh
    decision: CertificateDecision | None = None
    mine: list[Replicate] = []
    theirs: list[Replicate] = []
    for look, _ in rule.looks(number):
        seeds = range(first, first + look)
        mine = yield from _trained(world, tip, seeds, state.generation)
        bad = measure.failure(mine)
        if bad is not None:
            return _failed(bad, look, number, rule), [r for r in mine if r.scored], []
        theirs = yield from _trained(world, champion, seeds, state.generation)
        effects = [t.loss - m.loss for t, m in zip(theirs, mine, strict=True)]
        margin = max(rule.margin, 2.5 * _split_error(theirs[0], mine[0]))
        decision = certify(effects, state.s0, rule, number, margin)
        world.tell("certificate", decision=decision)
        if decision.status is not CertificateStatus.MORE:
            break
    assert decision is not None, "a certificate has at least one look"
    return decision, mine, theirs


def _trained(
    world: World, subject: Subject, seeds: Sequence[int], generation: int
) -> Steps[list[Replicate]]:
    allowance = measure.allowance_of(world, subject)
    results = yield from measure.replicates(
        world, subject, seeds, allowance, generation, final=True
    )
    bad = measure.failure(results)
    if bad is not None and bad.verdict is Verdict.INFRA:
        raise DarwinError(
            f"the certificate could not be measured: {bad.reason}",
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
    """Standard error of the effect over the shards of the scored split, nats per token."""
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


def _perplexities(champion: Sequence[Replicate], tip: Sequence[Replicate]) -> tuple[float, float]:
    import math

    means = [sum(loss(r.final) for r in side) / len(side) for side in (champion, tip)]
    return math.exp(means[0]), math.exp(means[1])


def _record(
    state: State, outcome: Claim, mine: Sequence[Replicate], theirs: Sequence[Replicate]
) -> dict[str, Any]:
    decision = outcome.decision
    assert decision is not None
    return {
        **{k: (str(v) if k == "status" else v) for k, v in asdict(decision).items()},
        "champion": state.champion.measured,
        "number": state.certificates + 1,
        "fresh_from": measure.FRESH_SEEDS_FROM + state.fresh,
        "seeds": [r.seed for r in mine],
        "effects": [t.loss - m.loss for t, m in zip(theirs, mine, strict=False)],
        "s0": state.s0,
        "race": outcome.race,
        "final": outcome.final,
        "final_perplexities": outcome.perplexities,
    }


def _apply(
    world: World,
    state: State,
    outcome: Claim,
    fields: Mapping[str, Any],
    theirs: Sequence[Replicate],
    mine: Sequence[Replicate],
) -> None:
    """Write the certificate's events; move the champion where it is certified."""
    decision, tip = outcome.decision, state.agents[outcome.agent]
    assert decision is not None
    spent = measure.spent(world, [tip.measured, state.champion.measured], state.generation)
    fresh = (*mine, *theirs)
    events: list[dict[str, Any]] = [
        {
            **fields,
            "kind": "certificate",
            "commit": tip.measured,
            "agent": outcome.agent,
            "fresh": world.config.selection.certificate[-1],
            "trainings": min(spent[0], len(fresh)),
            "seconds": round(sum(r.seconds for r in fresh), 3),
        }
    ]
    moves = []
    if decision.status is CertificateStatus.CERTIFIED:
        merge = world.history.commit(
            world.history.full_tree(tip.measured),
            (state.champion.tip, tip.measured),
            _message(outcome, decision, tip.ideas, fields),
            None,
        )
        moves.append(Move(CHAMPION, state.champion.tip, merge))
        events.append(
            {
                "kind": "champion",
                "tip": merge,
                "measured": tip.measured,
                "ideas": list(tip.ideas),
                "s0": max(noise([r.loss for r in mine]), 1e-6),
            }
        )
    after = state
    for event in events:
        after = apply(after, event)
    subject = f"Certificate {state.certificates + 1}: {decision.status}"
    world.history.settle(moves, state.generation, events, after, {}, subject)


def _message(
    outcome: Claim,
    decision: CertificateDecision,
    ideas: Sequence[str],
    fields: Mapping[str, Any],
) -> str:
    sentences = [
        f"{decision.sentence}.",
        f"On the race's seeds it was {perplexity_change(outcome.race):+.1f} %: what selection "
        "flatters, fresh seeds correct.",
    ]
    if outcome.final is not None and outcome.perplexities is not None:
        before, after = outcome.perplexities
        sentences.append(
            f"Final split, read once and never used to decide: perplexity {before:.3f} to "
            f"{after:.3f}, {perplexity_change(outcome.final):+.1f} %."
        )
    return merge_message(
        f"Certify {' + '.join(ideas)}: {perplexity_change(decision.mean):+.1f} % perplexity",
        sentences,
        {
            "Darwin-Certificate": str(decision.status),
            "Darwin-Seeds": " ".join(str(seed) for seed in fields["seeds"]),
            "Darwin-Agent": outcome.agent,
        },
    )
