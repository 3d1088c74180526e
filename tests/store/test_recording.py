"""What a recording holds, read back: steps, measurements, answers, people and dates."""

import json
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from darwin_git.domain import names, population
from darwin_git.domain.evidence import replicate_fields, screen_fields
from darwin_git.domain.exchange import Exchange, Reply, request_digest
from darwin_git.domain.measurement import identity
from darwin_git.domain.planning import Plan
from darwin_git.domain.recording import Recording
from darwin_git.domain.records import Record, make_record
from darwin_git.domain.trial import Allowance, Replicate, Screened, Shard, Subject, Verdict
from darwin_git.errors import DarwinError
from darwin_git.ports import Measured, Move, Slot
from darwin_git.store.history import GitHistory
from darwin_git.store.recordedtrials import RecordedTrials
from darwin_git.store.recording import FOLDER, RecordedRun
from darwin_git.store.repository import Repository
from darwin_git.store.stamps import Stamps

PlainGit = Callable[..., str]

SUBJECT = Subject("c" * 40, "t" * 40, "0001/a1-on-a2", trusted=False)
SLOT = Slot(0, (0,))
ALLOWANCE = Allowance(1000, 6000.0, 1e-4, 1.0, 1.0, 1000, 8)

MEMORY = "memory/0001.jsonl"


def measured(kind: str, seq: int, **fields: object) -> Record:
    factor = fields.get("factor", 1.0)
    conditions = "protocol" + (f"x{factor:g}" if factor != 1.0 else "")
    key = identity(conditions, SUBJECT.tree)
    return make_record(kind, "isle", 1, seq, SUBJECT.commit, SUBJECT.tree, key, **fields)


def replicate(seed: int, loss: float, final: bool = False) -> Replicate:
    shard = (Shard(loss * 10, 10, 10),)
    return Replicate(seed, Verdict.OK, scored=shard, final=shard if final else (), seconds=1.0)


# --- answers ---


def exchange(variant: str, number: int, order: int, question: str) -> Exchange:
    request = {"q": question}
    reply = Reply("ok", f"to {question}")
    digest = request_digest(request)
    return Exchange(variant, number, order, "a1", "propose", request, reply, digest)


def test_an_answer_is_found_by_its_question_and_else_by_its_place() -> None:
    first, second = exchange("0001/a1-on-a2", 1, 3, "one"), exchange("0001/a1-on-a2", 2, 1, "two")
    other = exchange("0002/a1-on-a2", 1, 1, "one")
    recording = Recording([second, other, first])
    assert recording.answer("0001/a1-on-a2", second.digest, 1) == second
    assert recording.answer("0001/a1-on-a2", "another", 1) == first
    assert recording.answer("0001/a1-on-a2", "another", 2) == second
    assert recording.answer("0001/a1-on-a2", "another", 3) is None
    assert recording.answer("0001/a2-on-a1", first.digest, 1) is None
    assert recording.orders(1) == [1, 3]
    assert recording.orders(2) == [1]
    assert recording.orders(3) == []


# --- measurements ---


def test_a_measurement_is_repeated_and_what_is_missing_is_named() -> None:
    plain, whole = replicate(1, 2.0), replicate(1, 2.0, final=True)
    broken = Replicate(2, Verdict.CRASHED, reason="shape", failure="shape", seconds=0.5)
    fault = Replicate(3, Verdict.INFRA, reason="no engine", seconds=0.5)
    half = replicate(1, 1.5)
    known = [
        measured("screen", 1, **screen_fields(Screened(Verdict.OK, allowance=ALLOWANCE))),
        measured("replicate", 2, **replicate_fields(plain, 1.0)),
        measured("replicate", 3, **replicate_fields(broken, 1.0)),
        measured("replicate", 4, **replicate_fields(fault, 1.0)),
        measured("replicate", 5, **replicate_fields(whole, 1.0)),
        measured("replicate", 6, **replicate_fields(half, 0.5)),
    ]
    trials = RecordedTrials("protocol", {SUBJECT.commit: known})
    assert trials.screen(SUBJECT, None, SLOT) == Screened(Verdict.OK, allowance=ALLOWANCE)
    assert trials.replicate(SUBJECT, 1, ALLOWANCE, SLOT) == plain
    assert trials.replicate(SUBJECT, 1, ALLOWANCE, SLOT, final=True) == whole
    assert trials.replicate(SUBJECT, 1, ALLOWANCE, SLOT, factor=0.5) == half
    assert trials.replicate(SUBJECT, 2, ALLOWANCE, SLOT, final=True) == broken
    with pytest.raises(DarwinError, match="no replicate under seed 3 of 0001/a1-on-a2"):
        trials.replicate(SUBJECT, 3, ALLOWANCE, SLOT)
    with pytest.raises(DarwinError, match="no screen of"):
        trials.screen(replace(SUBJECT, commit="d" * 40), None, SLOT)
    with pytest.raises(DarwinError, match="no screen of"):
        RecordedTrials("another", {SUBJECT.commit: known}).screen(SUBJECT, None, SLOT)


# --- people and dates ---


def test_a_commit_is_made_again_with_its_people_and_dates(
    repository: Repository, git: PlainGit, start: str
) -> None:
    tree = repository.commit_info(start).tree
    agent = ("a1 (catalogue)", "a1@darwin-git.invalid")
    made = repository.commit(tree, [start], "Try é\n\nWhy\n", agent, when=1_600_000_000)
    mine = repository.commit(tree, [start], "Mine\n", None, when=1_600_000_007)
    raw = [(oid, repository.cat.read(oid, "commit")) for oid in (start, made, mine)]
    repository.stamps = Stamps(raw)
    git("config", "user.name", "Somebody Else")
    with Repository.open(Path(git("rev-parse", "--show-toplevel"))) as other:
        assert other.commit(tree, [start], "Try é\n\nWhy\n", agent) != made
        other.stamps = repository.stamps
        assert other.commit(tree, [start], "Try é\r\n\nWhy", agent) == made
        assert other.commit(tree, [start], "Mine\n", None) == mine
        unknown = other.commit(tree, [start], "Try é\n\nWhy\n", ("a2", "a2@darwin-git.invalid"))
        assert unknown not in repository.stamps
        assert made in repository.stamps
        assert len(repository.stamps) == 3
        history = GitHistory(other)
        with pytest.raises(DarwinError, match="left the recording at 0001/a1-on-a2"):
            history.grow("0001/a1-on-a2", tree, [start], "New\n", agent, trusted=False)
        assert history.tip("0001/a1-on-a2") is None
        assert (
            history.grow("0001/a1-on-a2", tree, [start], "Try é\n\nWhy\n", agent, trusted=False)
            == made
        )


def test_a_record_keeps_its_place(repository: Repository, start: str) -> None:
    history = GitHistory(repository)
    subject = Subject(start, history.tree(start), "baseline", trusted=True)
    told = Measured("screen", subject, "identity", {"verdict": "ok"}, 1)
    history.record(told)
    [kept] = history.records(start)
    repository.stamps = Stamps([], [{**kept, "seq": 4_000_002}])
    history.record(told)
    assert [one["seq"] for one in history.records(start)] == [kept["seq"], 4_000_002]


# --- what was done ---


@pytest.fixture
def run(folder: Path, start: str) -> Path:
    """A ledger with a baseline, a closed generation, a certificate and a person's word."""
    with Repository.open(folder) as repository, repository.session():
        history = GitHistory(repository)
        history.settings = b"[population]\nseed = 3\n"
        event = {
            "kind": "baseline",
            "island": history.island,
            "commit": start,
            "tree": history.tree(start),
            "protocol": "0" * 32,
            "measured": {},
            "agents": ["a1", "a2"],
            "losses": {"1": 3.0},
            "s0": 0.01,
            "parameters": 1,
            "trainings": 1,
            "seconds": 1.0,
        }
        state = population.start(event)
        refs = [names.CHAMPION, names.agent_ref("a1"), names.agent_ref("a2")]
        history.settle([Move(r, None, start) for r in refs], 0, [event], state, {}, "Baseline")
        history.write_plan(Plan(1, ()))
        closed = {"kind": "generation", "number": 1, "trainings": 0, "seconds": 0.0}
        lesson = {"kind": "lesson", "id": "1" * 12, "text": "é"}
        state = population.apply(state, closed)
        history.settle([], 1, [closed], state, {}, "Close generation 1", [lesson])
        certificate = {"kind": "certificate", "fresh": 2, "trainings": 4, "seconds": 1.0}
        state = population.apply(state, certificate)
        history.settle([], 1, [certificate], state, {}, "Certificate 1: not certified")
        said = repository.ledger.appended(MEMORY, ['{"kind":"retire"}', "no json"])
        repository.ledger.write({MEMORY: said}, f"{MEMORY}: append")
        assert [one["kind"] for one in history.memory()] == ["lesson", "retire"]
        history.settings = b"[population]\nseed = 4\n"
        history.write_plan(Plan(2, ()))
    return folder


def test_the_ledger_tells_the_steps_in_order(run: Path, tmp_path: Path) -> None:
    with Repository.create(tmp_path / "fresh") as fresh:
        recorded = RecordedRun.fetched(fresh, run)
        assert [(d.kind, d.generation, d.subject) for d in recorded.deeds] == [
            ("baseline", 0, "Baseline"),
            ("generation", 1, "Close generation 1"),
            ("certificate", 1, "Certificate 1: not certified"),
            ("other", 1, f"{MEMORY}: append"),
        ]
        baseline, closed, _, said = recorded.deeds
        assert closed.plan == Plan(1, ())
        assert [one["text"] for one in closed.memory] == ["é"]
        assert [one["kind"] for one in said.memory] == ["retire"]
        assert baseline.settings == closed.settings == b"[population]\nseed = 3\n"
        assert set(recorded.tips) == {
            names.CHAMPION,
            names.agent_ref("a1"),
            names.agent_ref("a2"),
        }
        recorded.forget()
        assert fresh.refs(FOLDER) == {}


def test_nothing_is_written_to_the_ledger_where_memory_gains_nothing(run: Path) -> None:
    shown = subprocess.run(
        ["git", "-C", str(run), "log", "--format=%s", names.LEDGER, "--", MEMORY],
        check=True,
        capture_output=True,
        text=True,
    )
    assert shown.stdout.split("\n")[:2] == [f"{MEMORY}: append", "Close generation 1"]


def test_a_ledger_that_was_rewritten_is_no_recording(
    run: Path, git: PlainGit, tmp_path: Path
) -> None:
    with Repository.open(run) as repository:
        tip = repository.resolve(names.LEDGER)
        kept = json.loads(git("show", f"{names.LEDGER}:population/0001.jsonl").splitlines()[0])
        text = json.dumps({**kept, "trainings": 5}).encode()
        tree = repository.splice(repository.commit_info(tip).tree, {"population/0001.jsonl": text})
        git("update-ref", names.LEDGER, repository.commit(tree, [tip], "Nobody will notice"))
    with (
        Repository.create(tmp_path / "fresh") as fresh,
        pytest.raises(DarwinError, match=r"population/0001\.jsonl was rewritten"),
    ):
        assert RecordedRun.fetched(fresh, run).deeds
