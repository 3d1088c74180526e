"""Readers: they return the data that `--json` prints and report/terminal.py renders."""

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from darwin_git.commands.moves import certified_moves, scale_bound
from darwin_git.domain import names
from darwin_git.domain.account import total
from darwin_git.domain.evidence import replicate_of
from darwin_git.domain.metric import Metric
from darwin_git.domain.population import State
from darwin_git.domain.records import Record, canonical_choice, is_intact, of_kind
from darwin_git.domain.statistics import floor, in_words
from darwin_git.domain.trial import Replicate, Verdict, bits_per_byte, perplexity
from darwin_git.errors import DarwinError
from darwin_git.store.history import GitHistory
from darwin_git.store.repository import Repository

Data = dict[str, Any]

REVIEW = "git log -p --first-parent --notes=darwin/summary {base}..{tip}"
"""Without --first-parent git shows no diff for merges."""


def schema(what: str) -> str:
    """The JSON schema's name and version."""
    return f"darwin-git/{what}/1"


def must_state(history: GitHistory) -> State:
    """The population.

    Raises:
        DarwinError: there is no baseline yet.
    """
    state = history.state()
    if state is None:
        raise DarwinError(
            "there is no baseline yet", hint="run `darwin-git baseline`, or `darwin-git run`"
        )
    return state


def status(repository: Repository, history: GitHistory) -> Data:
    """Where the run stands, from the ledger's summary and what is pending."""
    state = history.state()
    data: Data = {"schema": schema("status"), "baseline": None}
    if state is None:
        return data
    metric = metric_of(state)
    open_plan = history.plan(state.generation + 1)
    looks = len(state.losses)
    return data | {
        "metric": metric.to_json(),
        "baseline": state.baseline,
        "island": state.island,
        "generation": state.generation,
        "open": None if open_plan is None else open_plan.generation,
        "pending_notes": repository.notes.pending_count,
        "noise": {
            "s0": state.s0,
            "seeds": looks,
            "floor": {str(n): floor(state.s0, n) for n in (2, 4, 8)},
            "words": in_words(state.s0, 4, metric=metric),
        },
        "baseline_value": metric.value(sum(state.losses.values()) / looks),
        "champion": asdict(state.champion),
        "best": state.best,
        "agents": {
            name: {
                "tip": lineage.tip,
                "ideas": list(lineage.ideas),
                "gain": lineage.gain,
                "change": metric.change(lineage.gain),
                "wins": lineage.wins,
                "tries": lineage.tries,
                "behind": lineage.behind,
            }
            for name, lineage in sorted(state.agents.items())
        },
        "parked": {name: asdict(stone) for name, stone in sorted(state.parked.items())},
        "certificates": state.certificates,
        "totals": asdict(state.totals),
        "models": _models(history, state),
        "mutations": mutations(state),
    }


def _models(history: GitHistory, state: State) -> Data:
    """What models took, an open generation's exchanges included."""
    asked = history.exchanges(f"{state.generation + 1:04d}")
    return asdict(total((exchange.reply.usage for exchange in asked), state.models))


def mutations(state: State) -> Data:
    """How often mutations failed at first and were repaired, beside the paper's numbers."""
    made = state.mutations
    return {
        **asdict(made),
        "failure_rate": made.failed / made.made if made.made else None,
        "repair_rate": made.repaired / made.failed if made.failed else None,
        "paper_failure_rate": 0.375,
        "paper_repair_rate": 0.1667,
    }


def metric_of(state: State) -> Metric:
    """What a run measures, as its ledger says."""
    return Metric.of(state.measured.get("metric"))


def log(history: GitHistory, generations: int | None) -> Data:
    """Trials and other events, the newest generation first."""
    state = must_state(history)
    first = 0 if generations is None else max(0, state.generation + 1 - generations)
    rows = [
        event
        for g in range(state.generation, first - 1, -1)
        for event in _events(history, g)
        if event["kind"] not in ("baseline", "generation")
    ]
    return {"schema": schema("log"), "metric": metric_of(state).to_json(), "events": rows}


def _events(history: GitHistory, generation: int) -> Iterator[Data]:
    """A generation's events; older ledgers are read as if written today."""
    ideas: dict[str, str] = {}
    for event in history.events(generation):
        row = {"generation": generation, **event}
        if event["kind"] == "trial":
            ideas[event["variant"]] = event["idea"]
        elif event["kind"] == "adopt" and "idea" not in event:
            row["idea"] = ideas.get(event["variant"]) or event["ideas"][-1]
        elif event["kind"] == "certificate" and "final_values" not in event:
            row["final_values"] = event["final_perplexities"]
        yield row


def find(repository: Repository, history: GitHistory, name: str) -> str:
    """The commit that a variant's name, an agent's name, `champion` or a revision means."""
    candidates = [name]
    if names.is_agent(name):
        candidates.insert(0, names.agent_ref(name))
    if name == "champion":
        candidates.insert(0, names.CHAMPION)
    try:
        found = history.tip(name)
    except ValueError:
        found = None
    for candidate in candidates:
        found = found or repository.commit_of(candidate)
    if found is None:
        raise _uncommitted(history, name) or DarwinError(
            f"{name!r} is no variant, agent or commit here",
            hint="`darwin-git log` names the variants, as in 0003/a2-on-a1",
        )
    return found


def _uncommitted(history: GitHistory, name: str) -> DarwinError | None:
    """Why a variant of a closed generation has no commit, and where its exchanges lie."""
    generation = name.partition("/")[0]
    events = history.events(int(generation)) if generation.isdecimal() else ()
    for event in events:
        if event["kind"] == "trial" and event["variant"] == name:
            asked = [e.number for e in history.exchanges(generation) if e.variant == name]
            where = f"git show {names.EXCHANGE}:{name}/{max(asked, default=1)}.json"
            return DarwinError(
                f"{name} was not committed; {event['verdict']}: {event['reason']}",
                hint=f"what was asked and answered at last: {where}" if asked else "",
            )
    return None


def show(repository: Repository, history: GitHistory, name: str) -> Data:
    """One variant or commit: message, replicates, verdict, how to review it."""
    commit = find(repository, history, name)
    info = repository.commit_info(commit)
    state = history.state()
    measured = commit
    if state is not None:
        tips = {lineage.tip: lineage.measured for lineage in state.agents.values()}
        tips[state.champion.tip] = state.champion.measured
        measured = tips.get(commit, commit)
    records = history.records(measured)
    rows = [replicate_row(record) for record in of_kind(canonical_choice(records), "replicate")]
    return {
        "schema": schema("show"),
        "metric": Metric.of(None if state is None else state.measured.get("metric")).to_json(),
        "name": name,
        "commit": commit,
        "measured": measured,
        "tree": info.tree,
        "parents": list(info.parents),
        "author": str(info.author),
        "subject": info.subject,
        "body": info.body,
        "trailers": info.trailers,
        "replicates": rows,
        "screen": of_kind(records, "screen")[:1],
        "verdicts": of_kind(records, "verdict"),
        "certificates": of_kind(records, "certificate"),
        "review": f"git show --first-parent --notes=darwin/summary {commit[:12]}",
    }


def replicate_row(record: Record) -> Data:
    """A replicate in the units that people read."""
    replicate = replicate_of(record)
    return {
        "commit": record["commit"],
        "generation": record["generation"],
        "seed": replicate.seed,
        "factor": record["factor"],
        "verdict": str(replicate.verdict),
        "reason": replicate.reason,
        **(_judged if replicate.judged else _trained)(replicate),
        "identity": record["identity"],
        "id": record["id"],
    }


def _trained(replicate: Replicate) -> Data:
    """A training's numbers; those of a failed one are None."""
    measured = replicate.verdict is Verdict.OK and replicate.measured
    return {
        "loss": replicate.loss if measured else None,
        "perplexity": perplexity(replicate.scored) if measured else None,
        "bits_per_byte": bits_per_byte(replicate.scored) if measured else None,
        "final_perplexity": perplexity(replicate.final) if replicate.final else None,
        "seconds": replicate.seconds,
        "tokens": replicate.tokens,
        "tokens_per_second": replicate.tokens_per_second,
        "mfu": replicate.mfu,
    }


def _judged(replicate: Replicate) -> Data:
    """What a person's program said."""
    judged = replicate.judged
    assert judged is not None
    measured = replicate.verdict is Verdict.OK
    return {
        "loss": replicate.loss if measured else None,
        "metric": judged.metric.to_json(),
        "value": judged.scored.get(judged.metric.name) if measured else None,
        "final_value": judged.final.get(judged.metric.name),
        "seconds": replicate.seconds,
        "metrics": dict(judged.scored),
        "final_metrics": dict(judged.final),
    }


def lineage(history: GitHistory, agent: str | None) -> Data:
    """How every lineage (or one) and the champion came to be."""
    state = must_state(history)
    if agent is not None and agent not in state.agents:
        raise DarwinError(f"{agent!r} is no agent", hint="agents: " + ", ".join(state.agents))
    steps: dict[str, list[Data]] = {name: [] for name in sorted(state.agents)}
    champion: list[Data] = []
    for generation in range(state.generation + 1):
        for event in _events(history, generation):
            if event["kind"] in ("adopt", "replace", "minimise"):
                steps[event["agent"]].append(event)
            elif event["kind"] in ("certificate", "champion"):
                champion.append(event)
    chosen = steps if agent is None else {agent: steps[agent]}
    return {
        "schema": schema("lineage"),
        "metric": metric_of(state).to_json(),
        "baseline": state.baseline,
        "agents": chosen,
        "champion": champion,
        "review": REVIEW.format(base=state.baseline[:12], tip="darwin/champion"),
        "graph": "git log --graph --oneline darwin/champion "
        + " ".join(f"darwin/agent/{name}" for name in chosen),
    }


def report(repository: Repository, history: GitHistory) -> Data:
    """The story of the run: what was gained, by what, how sure, at what cost."""
    state = must_state(history)
    events = [event for g in range(state.generation + 1) for event in _events(history, g)]
    trials = [event for event in events if event["kind"] == "trial"]
    certificates = [event for event in events if event["kind"] == "certificate"]
    adopted = [event for event in events if event["kind"] == "adopt"]
    best = state.agents[state.best]
    return {
        "schema": schema("report"),
        **{k: v for k, v in status(repository, history).items() if k != "schema"},
        "provisional": {
            "agent": state.best,
            "ideas": list(best.ideas),
            "gain": best.gain,
            "change": metric_of(state).change(best.gain),
        },
        "certified": certified_moves(metric_of(state), state.champion.ideas, events),
        "scale_bound": scale_bound(state.champion.measured, events),
        "certificate_log": certificates,
        "adopted": adopted,
        "trials": trials,
        "history": [list(point) for point in state.history],
        "review": REVIEW.format(base=state.baseline[:12], tip="darwin/champion"),
        "review_best": REVIEW.format(base=state.baseline[:12], tip=f"darwin/agent/{state.best}"),
    }


def export(repository: Repository, history: GitHistory) -> Data:
    """Every replicate and every trial as rows."""
    return {
        "schema": schema("export"),
        "metric": metric_of(must_state(history)).to_json(),
        "replicates": list(_replicates(repository)),
        "trials": [
            event
            for g in range(must_state(history).generation + 1)
            for event in _events(history, g)
            if event["kind"] == "trial"
        ],
    }


def _replicates(repository: Repository) -> Iterator[Data]:
    for _, records in repository.notes.all():
        for record in of_kind(canonical_choice(records), "replicate"):
            if is_intact(record):
                yield replicate_row(record)
