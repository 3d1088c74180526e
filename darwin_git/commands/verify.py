"""`verify`: references, trees, records and certificates, checked against each other."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from darwin_git.commands.read import find, metric_of, must_state
from darwin_git.config import Selection
from darwin_git.domain import names
from darwin_git.domain.claim import ScaleCheck
from darwin_git.domain.evidence import replicate_of
from darwin_git.domain.metric import Metric
from darwin_git.domain.population import State, fold, to_json
from darwin_git.domain.records import Record, canonical_choice, is_intact, of_kind
from darwin_git.domain.statistics import CertificateStatus, certify
from darwin_git.domain.trial import Verdict
from darwin_git.steps.world import certificate_rule
from darwin_git.store.history import GitHistory
from darwin_git.store.repository import Repository

TOLERANCE = 1e-9


def verify(
    repository: Repository, history: GitHistory, selection: Selection, name: str | None
) -> dict[str, Any]:
    """Everything, or one commit's certificate and tree; faults in words, none of them fatal."""
    state = must_state(history)
    checked: dict[str, int] = {}
    faults: list[str] = []
    if name is not None:
        commit = find(repository, history, name)
        faults += _merges(repository, history, selection, commit, state, checked, only=True)
    else:
        faults += _records(repository, checked)
        faults += _events(history, state, checked)
        faults += _lessons(repository, checked)
        faults += _exchanges(repository, checked)
        for agent in sorted(state.agents):
            tip = history.resolve(names.agent_ref(agent))
            if tip != state.agents[agent].tip:
                faults.append(f"agent {agent} points at {tip}, the ledger says otherwise")
            elif tip is not None:
                faults += _merges(repository, history, selection, tip, state, checked)
        champion = history.resolve(names.CHAMPION)
        if champion != state.champion.tip:
            faults.append(f"the champion points at {champion}, the ledger says otherwise")
        elif champion is not None:
            faults += _merges(repository, history, selection, champion, state, checked)
    return {"schema": "darwin-git/verify/1", "checked": checked, "faults": faults}


def _records(repository: Repository, checked: dict[str, int]) -> Iterator[str]:
    """Every record's id is its content's."""
    for commit, records in repository.notes.all():
        for record in records:
            checked["records"] = checked.get("records", 0) + 1
            if not is_intact(record):
                yield f"record {record.get('id')} on {commit[:12]} was altered"


def _events(history: GitHistory, state: State, checked: dict[str, int]) -> Iterator[str]:
    """The summary is what the events fold to."""
    events = [e for g in range(state.generation + 1) for e in history.events(g)]
    checked["events"] = len(events)
    rebuilt = fold(events)
    if rebuilt is None or _plain(rebuilt) != _plain(state):
        yield "summary.json is not what the population's events come to"


def _lessons(repository: Repository, checked: dict[str, int]) -> Iterator[str]:
    """The lessons are what memory's events fold to."""
    events = repository.memory.scan().records
    if events:
        checked["memory events"] = len(events)
    if repository.memory.altered():
        yield "lessons.json is not what its events fold to"


def _exchanges(repository: Repository, checked: dict[str, int]) -> Iterator[str]:
    """Every file of the exchanges is one, and its digest is its question's."""
    found, corrupt = repository.exchanges.scan()
    if found or corrupt:
        checked["exchanges"] = len(found) + len(corrupt)
    for path in corrupt:
        yield f"{path} of {names.EXCHANGE} is no exchange, or was altered"


def _plain(state: State) -> Any:
    return json.loads(json.dumps(to_json(state)))


def _merges(
    repository: Repository,
    history: GitHistory,
    selection: Selection,
    tip: str,
    state: State,
    checked: dict[str, int],
    *,
    only: bool = False,
) -> Iterator[str]:
    """First-parent history down to the baseline: every merge has its measured commit's tree."""
    commit = tip
    while commit != state.baseline:
        info = repository.commit_info(commit)
        if only and len(info.parents) < 2:
            yield from _measured(history, commit, checked)
            return
        if len(info.parents) != 2:
            yield f"{commit[:12]} is no adopting merge"
            return
        checked["merges"] = checked.get("merges", 0) + 1
        measured = info.parents[1]
        if repository.commit_info(measured).tree != info.tree:
            yield f"{commit[:12]} has another tree than {measured[:12]}, which was measured"
        if "Darwin-Certificate" in info.trailers:
            yield from _certificate(history, selection, metric_of(state), measured, commit, checked)
            yield from _scale(history, measured, commit, info.trailers)
        elif "Darwin-Variant" in info.trailers or "Darwin-Minimised" in info.trailers:
            yield from _measured(history, measured, checked)
        if only:
            return
        commit = info.parents[0]


def _measured(history: GitHistory, commit: str, checked: dict[str, int]) -> Iterator[str]:
    """The commit has a replicate that went well."""
    good = [
        r
        for r in of_kind(history.records(commit), "replicate")
        if r["verdict"] == Verdict.OK and is_intact(r)
    ]
    checked["measured"] = checked.get("measured", 0) + 1
    if not good:
        yield f"{commit[:12]} has no fitness record"


def _certificate(
    history: GitHistory,
    selection: Selection,
    metric: Metric,
    measured: str,
    merge: str,
    checked: dict[str, int],
) -> Iterator[str]:
    """The certificate follows from the replicates of both sides, recomputed from the notes."""
    found = [
        r
        for r in of_kind(history.records(measured), "certificate")
        if r["status"] == "certified" and is_intact(r)
    ]
    if not found:
        yield f"{merge[:12]} claims a certificate that {measured[:12]} does not have"
        return
    certificate = found[-1]
    checked["certificates"] = checked.get("certificates", 0) + 1
    mine = _losses(history.records(measured))
    theirs = _losses(history.records(certificate["champion"]))
    seeds = certificate["seeds"]
    missing = [s for s in seeds if s not in mine or s not in theirs]
    if missing:
        yield f"certificate of {measured[:12]}: no replicate under seed {missing[0]}"
        return
    effects = [theirs[s] - mine[s] for s in seeds]
    wrong = [
        x for x, y in zip(effects, certificate["effects"], strict=True) if abs(x - y) > TOLERANCE
    ]
    if wrong:
        yield f"certificate of {measured[:12]}: its effects are not the replicates'"
        return
    rule = certificate_rule(selection)
    again = certify(
        effects,
        certificate["s0"],
        rule,
        certificate["number"],
        max(certificate["margin"], rule.margin),
        metric,
    )
    if again.status is not CertificateStatus.CERTIFIED:
        yield f"certificate of {measured[:12]}: recomputed it says {again.sentence}"


def _scale(
    history: GitHistory, measured: str, merge: str, trailers: Mapping[str, list[str]]
) -> Iterator[str]:
    """The check at a larger budget follows from its replicates; without a gain a person agreed."""
    found = [r for r in of_kind(history.records(measured), "certificate") if is_intact(r)]
    certificate = next((r for r in reversed(found) if r["status"] == "certified"), None)
    check = None if certificate is None else ScaleCheck.of(certificate.get("scale"))
    if certificate is None or check is None:
        return
    mine = _losses(history.records(measured), check.factor)
    theirs = _losses(history.records(certificate["champion"]), check.factor)
    again = [theirs[s] - mine[s] for s in check.seeds if s in mine and s in theirs]
    pairs = zip(again, check.effects, strict=False)
    if len(again) != len(check.effects) or any(abs(x - y) > TOLERANCE for x, y in pairs):
        yield f"certificate of {measured[:12]}: its check at a larger budget is not the replicates'"
    if check.bound and "Darwin-Scale" not in trailers:
        yield f"{merge[:12]} moves the champion to a scale-bound tip, and no person accepted it"


def _losses(records: list[Record], factor: float = 1.0) -> dict[int, float]:
    whole = [r for r in canonical_choice(records) if r.get("factor") == factor]
    rows = [replicate_of(r) for r in of_kind(whole, "replicate")]
    return {r.seed: r.loss for r in rows if r.verdict is Verdict.OK}
