"""The population as a value, and the events that make it.

Events are the ledger's primary record (append-only); the state is what is left when they are
folded. `summary.json` is the serialised state, so a command needs to read one small file.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from darwin_git.domain.account import Spend

SCHEMA = "darwin-git/summary/1"
OUTCOMES_KEPT = 8
"""Outcomes kept for each idea: the state must stay small at 10 000 variants."""
IDEAS_KEPT = 512
"""Ideas whose outcomes are kept, the latest: a language model names new ones for ever."""

CHANGES_KEPT = 4096
"""Changes known again when they are proposed once more, the latest."""

Event = Mapping[str, Any]


@dataclass(frozen=True)
class Lineage:
    """One agent's branch.

    Attributes:
        tip: the commit that the branch points at.
        measured: the commit on which the notes of the tip's tree stand.
        ideas: names of the ideas adopted, in order.
        gain: nats per token below the baseline, mean over the race seeds it was trained on.
        behind: generations in a row in which the best tip was ahead by more than s0.
        tried: ideas tried on this tip.
        wins, tries: of the agent as a mutator: its credit.
        minimised: `measured` where the tip was minimised: once is enough.
    """

    tip: str
    measured: str
    ideas: tuple[str, ...] = ()
    gain: float = 0.0
    behind: int = 0
    tried: tuple[str, ...] = ()
    wins: int = 0
    tries: int = 0
    minimised: str = ""


@dataclass(frozen=True)
class Parked:
    """A variant kept alive as a stepping stone."""

    commit: str
    parent: str
    mutator: str
    target: str
    idea: str
    gain: float
    replays: int = 0


@dataclass(frozen=True)
class Champion:
    """The best approved genome."""

    tip: str
    measured: str
    ideas: tuple[str, ...] = ()
    moved: int = 0
    """Generation of the last move, 0 for the baseline."""


@dataclass(frozen=True)
class Totals:
    """What was spent and what became of it."""

    variants: int = 0
    trainings: int = 0
    train_seconds: float = 0.0
    verdicts: Mapping[str, int] = field(default_factory=dict)
    decisions: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Mutations:
    """How often a mutation worked at first, and how often it was mended.

    Attributes:
        made: mutations that were written: committed, or answered and of no use.
        failed: those whose first screen failed, or that could not be applied.
        repaired: those of them that a repair brought through the screen.
        classes: of the first failures.
    """

    made: int = 0
    failed: int = 0
    repaired: int = 0
    classes: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class State:
    """Everything a next generation needs, bounded in size.

    Attributes:
        generation: the last finished one; 0 after the baseline.
        protocol: hash of the measurement conditions but for the tree.
        measured: these conditions in words, to name what changed.
        baseline: the commit that everything is compared with.
        losses: the baseline's nats per token by seed.
        s0: paired noise of the baseline, nats per token (sqrt 2 times its standard deviation).
        agents: lineages by agent.
        parked: stepping stones by variant ("0003/a2-on-a1").
        outcomes: by idea, the last (change of loss, standard error) pairs; None is a failure.
        certificates: certificates since the champion last moved.
        fresh: how many fresh seeds were used up.
        history: (generation, best gain, mean gain of the tips) in nats per token.
        deferred: variants to archive later, since somebody has them checked out.
        models: what models took, of all closed generations.
        changes: (variant, what became of it) by the change's id.
    """

    island: str
    protocol: str
    measured: Mapping[str, Any]
    baseline: str
    losses: Mapping[str, float]
    s0: float
    agents: Mapping[str, Lineage]
    champion: Champion
    generation: int = 0
    parked: Mapping[str, Parked] = field(default_factory=dict)
    outcomes: Mapping[str, tuple[tuple[float | None, float], ...]] = field(default_factory=dict)
    certificates: int = 0
    fresh: int = 0
    history: tuple[tuple[int, float, float], ...] = ()
    deferred: tuple[str, ...] = ()
    totals: Totals = Totals()
    mutations: Mutations = Mutations()
    models: Spend = field(default_factory=Spend)
    changes: Mapping[str, tuple[str, str]] = field(default_factory=dict)

    @property
    def best(self) -> str:
        """The agent whose tip has the largest gain; ties go to the first name."""
        return min(self.agents, key=lambda name: (-self.agents[name].gain, name))


def start(event: Event) -> State:
    """The state after the baseline event."""
    commit = event["commit"]
    return State(
        island=event["island"],
        protocol=event["protocol"],
        measured=event["measured"],
        baseline=commit,
        losses=event["losses"],
        s0=event["s0"],
        agents={name: Lineage(commit, commit) for name in event["agents"]},
        champion=Champion(commit, commit),
        history=((0, 0.0, 0.0),),
        totals=Totals(trainings=event["trainings"], train_seconds=event["seconds"]),
    )


def fold(events: Iterable[Event]) -> State | None:
    """Rebuild the state from all events in order; None without a baseline."""
    state: State | None = None
    for event in events:
        state = start(event) if state is None else apply(state, event)
    return state


def apply(state: State, event: Event) -> State:
    """One event's effect. Unknown kinds change nothing, so that old tools read new ledgers."""
    handler = _HANDLERS.get(event["kind"])
    return handler(state, event) if handler else state


def _trial(state: State, event: Event) -> State:
    agents = dict(state.agents)
    mutator, target = agents.get(event["mutator"]), event["target"]
    won = event["decision"] in ("adopt", "winner")
    counted = event["verdict"] not in ("infra", "duplicate") and event["how"] != "mix"
    if counted and mutator is not None:
        agents[event["mutator"]] = replace(
            mutator, wins=mutator.wins + won, tries=mutator.tries + 1
        )
    idea = event["idea"]
    if idea and agents[target].tip == event["parent"] and event["how"] in ("mutate", "replay"):
        tried = (*agents[target].tried, idea)
        agents[target] = replace(agents[target], tried=tuple(dict.fromkeys(tried)))
    outcomes = dict(state.outcomes)
    if idea and counted and event["how"] == "mutate":
        change = None if event["gain"] is None else -event["gain"]
        seen = (*outcomes.pop(idea, ()), (change, event["sd"]))
        outcomes[idea] = seen[-OUTCOMES_KEPT:]
        if len(outcomes) > IDEAS_KEPT:
            del outcomes[next(iter(outcomes))]
    parked = dict(state.parked)
    if event["decision"] in ("park", "winner"):
        parked[event["variant"]] = Parked(
            commit=event["commit"],
            parent=event["parent"],
            mutator=event["mutator"],
            target=target,
            idea=idea,
            gain=event["gain"] or 0.0,
        )
    replayed = event.get("replays")
    if replayed in parked:
        parked[replayed] = replace(parked[replayed], replays=parked[replayed].replays + 1)
    totals = replace(
        state.totals,
        variants=state.totals.variants + 1,
        verdicts=_count(state.totals.verdicts, event["verdict"]),
        decisions=_count(state.totals.decisions, event["decision"]),
    )
    return replace(
        state,
        agents=agents,
        outcomes=outcomes,
        parked=parked,
        totals=totals,
        mutations=_mutated(state.mutations, event),
        changes=_changed(state.changes, event),
    )


def _mutated(sofar: Mutations, event: Event) -> Mutations:
    """One more mutation, where the trial was one and somebody wrote it.

    An answer that never became a commit is a failure of class ``answer``.
    """
    if event["how"] != "mutate" or event["verdict"] in NEVER_SCREENED:
        return sofar
    if not event["commit"] and event.get("failure") != "answer":
        return sofar
    classes = [*event.get("failures", ())]
    passed = event["verdict"] in ("ok", "stopped") or event.get("trainings", 0) > 0
    if not passed:
        classes.append(event.get("failure") or event["verdict"])
    if not classes:
        return replace(sofar, made=sofar.made + 1)
    return Mutations(
        made=sofar.made + 1,
        failed=sofar.failed + 1,
        repaired=sofar.repaired + passed,
        classes=_count(sofar.classes, classes[0]),
    )


def _changed(sofar: Mapping[str, tuple[str, str]], event: Event) -> Mapping[str, tuple[str, str]]:
    """What became of a change, so that it is known again on a relative."""
    change = event.get("change")
    if not change or event["verdict"] in NEVER_SCREENED:
        return sofar
    if event["gain"] is None:
        became = f"failed ({event.get('failure') or event['verdict']})"
    else:
        became = f"was decided {event['decision']}, with a gain of {event['gain']:+.4f}"
    changes = {**sofar, change: (event["variant"], became)}
    if len(changes) > CHANGES_KEPT:
        del changes[next(iter(changes))]
    return changes


def _tip(state: State, event: Event) -> State:
    """An adoption or a replacement: a lineage has a new tip."""
    old = state.agents[event["agent"]]
    new = replace(
        old,
        tip=event["tip"],
        measured=event["measured"],
        ideas=tuple(event["ideas"]),
        gain=event["gain"],
        behind=0,
        tried=(),
    )
    return replace(state, agents={**state.agents, event["agent"]: new})


def _minimised(state: State, event: Event) -> State:
    """A tip was minimised: the ideas that it can do without leave it, and count as tried on it."""
    old = state.agents[event["agent"]]
    gone = tuple(idea for idea in old.ideas if idea not in event["ideas"])
    new = replace(
        old,
        tip=event["tip"],
        measured=event["measured"],
        ideas=tuple(event["ideas"]),
        gain=event["gain"],
        tried=gone if event["tip"] != old.tip else old.tried,
        minimised=event["measured"],
    )
    totals = _spent(state.totals, event)
    return replace(state, agents={**state.agents, event["agent"]: new}, totals=totals)


def _archived(state: State, event: Event) -> State:
    gone = event["variant"]
    return replace(
        state,
        parked={name: stone for name, stone in state.parked.items() if name != gone},
        deferred=tuple(name for name in state.deferred if name != gone),
    )


def _deferred(state: State, event: Event) -> State:
    return replace(state, deferred=(*state.deferred, event["variant"]))


def _certificate(state: State, event: Event) -> State:
    return replace(
        state,
        certificates=state.certificates + 1,
        fresh=state.fresh + event["fresh"],
        totals=_spent(state.totals, event),
    )


def _champion(state: State, event: Event) -> State:
    champion = Champion(
        event["tip"], event["measured"], tuple(event["ideas"]), moved=state.generation
    )
    return replace(state, champion=champion, certificates=0, s0=event.get("s0", state.s0))


def _generation(state: State, event: Event) -> State:
    gains = {name: lineage.gain for name, lineage in state.agents.items()}
    best = max(gains.values())
    agents = {
        name: replace(lineage, behind=lineage.behind + 1 if best - lineage.gain > state.s0 else 0)
        for name, lineage in state.agents.items()
    }
    point = (event["number"], best, sum(gains.values()) / len(gains))
    return replace(
        state,
        generation=event["number"],
        agents=agents,
        history=(*state.history, point),
        totals=_spent(state.totals, event),
        models=_models(state.models, event),
    )


_HANDLERS = {
    "trial": _trial,
    "adopt": _tip,
    "replace": _tip,
    "minimise": _minimised,
    "archive": _archived,
    "defer": _deferred,
    "certificate": _certificate,
    "champion": _champion,
    "generation": _generation,
}


NEVER_SCREENED = frozenset({"infra", "duplicate"})


def _spent(totals: Totals, event: Event) -> Totals:
    return replace(
        totals,
        trainings=totals.trainings + event["trainings"],
        train_seconds=round(totals.train_seconds + event["seconds"], 3),
    )


def _models(sofar: Spend, event: Event) -> Spend:
    """With what the generation's models took; ledgers without models say nothing."""
    return sofar.and_(Spend(**event["models"])) if event.get("models") else sofar


def _count(counts: Mapping[str, int], key: str) -> dict[str, int]:
    return {**counts, key: counts.get(key, 0) + 1}


def to_json(state: State) -> dict[str, Any]:
    """The summary's JSON object. By hand: `asdict` copies every value, a millisecond a variant."""
    return {
        "schema": SCHEMA,
        **state.__dict__,
        "agents": {name: one.__dict__ for name, one in state.agents.items()},
        "parked": {name: one.__dict__ for name, one in state.parked.items()},
        "champion": state.champion.__dict__,
        "totals": state.totals.__dict__,
        "mutations": state.mutations.__dict__,
        "models": state.models.__dict__,
    }


def from_json(data: Mapping[str, Any]) -> State:
    """The state of a summary written by `to_json`."""
    values = {key: value for key, value in data.items() if key != "schema"}
    values["agents"] = {k: Lineage(**_tuples(v)) for k, v in values["agents"].items()}
    values["parked"] = {k: Parked(**v) for k, v in values["parked"].items()}
    values["champion"] = Champion(**_tuples(values["champion"]))
    values["totals"] = Totals(**values["totals"])
    values["mutations"] = Mutations(**values.get("mutations", {}))
    values["models"] = Spend(**values.get("models", {}))
    values["changes"] = {
        change: (variant, became) for change, (variant, became) in values.get("changes", {}).items()
    }
    values["outcomes"] = {
        idea: tuple((change, sd) for change, sd in seen)
        for idea, seen in values["outcomes"].items()
    }
    values["history"] = tuple((g, best, mean) for g, best, mean in values["history"])
    values["deferred"] = tuple(values["deferred"])
    return State(**values)


def _tuples(data: Mapping[str, Any]) -> dict[str, Any]:
    return {key: tuple(v) if isinstance(v, list) else v for key, v in data.items()}
