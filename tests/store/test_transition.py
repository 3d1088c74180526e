"""A transition moves everything or nothing: against refusals, against kills, against onlookers."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from darwin_git.domain import names
from darwin_git.errors import DarwinError
from darwin_git.store import stale
from darwin_git.store.ledger import INTENT
from darwin_git.store.repository import Repository
from darwin_git.store.transition import Transitions
from darwin_git.store.updateref import HalfDone, RefConflict, RefUpdate

PlainGit = Callable[..., str]

V1, V2 = names.VariantName(1, "a2-on-a1"), names.VariantName(1, "a1-on-a2")


@pytest.fixture(autouse=True)
def _short_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stale, "PACKED_GRACE", 0.05)


@pytest.fixture
def tip(repository: Repository, start: str) -> str:
    """A commit after the first."""
    return repository.commit(repository.commit_info(start).tree, [start], "Next")


@pytest.fixture
def moves(repository: Repository, start: str, tip: str) -> list[RefUpdate]:
    """An agent moves on, one variant is archived; both stand at their old values."""
    agent = names.agent_ref("a1")
    repository.publish([RefUpdate(agent, None, start), RefUpdate(V1.ref, None, tip)])
    return [
        RefUpdate(agent, start, tip),
        RefUpdate(V1.ref, tip, None),
        RefUpdate(V1.archive_ref, None, tip),
    ]


def stop_after(monkeypatch: pytest.MonkeyPatch, part: str) -> None:
    """The next transition is interrupted before that part of it."""

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Transitions, part, interrupted)


def test_references_and_ledger_move_together(
    repository: Repository, git: PlainGit, moves: list[RefUpdate], tip: str
) -> None:
    with repository.session():
        closed = repository.transition(moves, {"plans/0001.json": b"{}\n"}, "apply 1")
    assert repository.refs("refs/heads/darwin/agent/", names.ARCHIVE) == {
        names.agent_ref("a1"): tip,
        V1.archive_ref: tip,
    }
    assert repository.ledger.read("plans/0001.json") == b"{}\n"
    assert repository.ledger.list() == ["plans/0001.json"]
    assert git("rev-parse", names.LEDGER) == closed
    assert git("log", "--format=%s", names.LEDGER) == "apply 1\nopen: apply 1"
    assert not repository.refs(names.VARIANTS)


def test_it_needs_the_session(repository: Repository, moves: list[RefUpdate]) -> None:
    with pytest.raises(RuntimeError, match="session"):
        repository.transition(moves, {}, "x")


def test_a_refusal_moves_nothing_and_names_the_reference(
    repository: Repository, moves: list[RefUpdate], start: str, tip: str
) -> None:
    with repository.session():
        repository.ledger.write({"summary.json": b"1"}, "before")
        before = repository.refs()
        bad = [*moves, RefUpdate(V2.ref, start, tip)]  # there is no such variant
        with pytest.raises(RefConflict) as caught:
            repository.transition(bad, {"summary.json": b"2"}, "apply")
        assert caught.value.ref == V2.ref and caught.value.hint
        after = repository.refs()
        assert {**after, names.LEDGER: ""} == {**before, names.LEDGER: ""}
        assert repository.ledger.list() == ["summary.json"]
        assert repository.ledger.read("summary.json") == b"1"
        repository.transition(moves, {"summary.json": b"2"}, "apply")  # the store works on
        assert repository.ledger.read("summary.json") == b"2"


@pytest.mark.parametrize("part", ["_move", "_close"])
def test_the_next_session_finishes_what_was_interrupted(
    repository: Repository, folder: Path, moves: list[RefUpdate], tip: str, part: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    with monkeypatch.context() as patch:
        stop_after(patch, part)
        with pytest.raises(KeyboardInterrupt), repository.session():
            repository.transition(
                moves, {"plans/0001.json": b"\xff\0", "lessons.json": None}, "apply"
            )
    assert repository.ledger.read(INTENT) is not None
    with Repository.open(folder) as other, other.session():
        assert other.redone is not None and other.redone.message == "apply"
        assert other.refs(names.AGENTS, names.VARIANTS, names.ARCHIVE) == {
            names.agent_ref("a1"): tip,
            V1.archive_ref: tip,
        }
        assert other.ledger.list() == ["plans/0001.json"]
        assert other.ledger.read("plans/0001.json") == b"\xff\0"
    with repository.session():
        assert repository.redone is None


def test_half_of_it_done_is_finished(
    repository: Repository, git: PlainGit, moves: list[RefUpdate], tip: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    with monkeypatch.context() as patch:
        stop_after(patch, "_move")
        with pytest.raises(KeyboardInterrupt), repository.session():
            repository.transition(moves, {}, "apply")
    git("update-ref", names.agent_ref("a1"), tip)
    with repository.session():
        assert repository.refs(names.ARCHIVE) == {V1.archive_ref: tip}


def test_a_reference_that_somebody_moved_meanwhile_is_a_named_conflict(
    repository: Repository, git: PlainGit, moves: list[RefUpdate], start: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    with monkeypatch.context() as patch:
        stop_after(patch, "_move")
        with pytest.raises(KeyboardInterrupt), repository.session():
            repository.transition(moves, {"summary.json": b"2"}, "apply")
    git("update-ref", V1.ref, start)
    before = repository.refs()
    with pytest.raises(DarwinError) as caught, repository.session():
        pass
    assert V1.ref in caught.value.message and start in caught.value.message
    assert repository.refs() == before
    cure = caught.value.hint.rpartition("git ")[2]
    git(*cure.split())  # drop the transition, as the hint says
    with repository.session():
        assert repository.redone is None and repository.ledger.list() == []


def test_a_branch_that_somebody_looks_at_is_not_moved(
    repository: Repository, git: PlainGit, folder: Path, moves: list[RefUpdate], tmp_path: Path
) -> None:
    git("worktree", "add", "-q", str(tmp_path / "review"), "darwin/agent/a1")
    assert repository.checked_out() == {
        "refs/heads/main": folder,
        names.agent_ref("a1"): tmp_path / "review",
    }
    before = repository.refs()
    with repository.session(), pytest.raises(DarwinError) as caught:
        repository.transition(moves, {}, "apply")
    assert repository.refs() == before
    assert "darwin/agent/a1" in caught.value.message and str(tmp_path) in caught.value.message
    git(*caught.value.hint.split()[1:])
    assert names.agent_ref("a1") not in repository.checked_out()
    with repository.session():
        repository.transition(moves, {}, "apply")


def test_a_branch_in_a_rebase_or_bisect_counts_as_looked_at(
    repository: Repository, git: PlainGit, folder: Path, moves: list[RefUpdate]
) -> None:
    git("switch", "-q", "darwin/agent/a1")
    (folder / ".git" / "rebase-merge").mkdir()
    (folder / ".git" / "rebase-merge" / "head-name").write_text("refs/heads/darwin/agent/a1\n")
    git("checkout", "-q", "--detach")
    (folder / ".git" / "BISECT_START").write_text("main\n")
    assert repository.checked_out() == {names.agent_ref("a1"): folder, "refs/heads/main": folder}


def test_the_users_work_tree_index_and_head_stay_as_they_are(
    repository: Repository, git: PlainGit, folder: Path, moves: list[RefUpdate]
) -> None:
    (folder / "train.py").write_text("half an idea\n")
    (folder / "new.py").write_text("staged\n")
    git("add", "new.py")

    def state() -> dict[str, bytes]:
        kept = [folder / ".git" / name for name in ("index", "HEAD", "logs/HEAD", "config")]
        files = [*kept, *(p for p in folder.rglob("*") if p.is_file() and ".git" not in p.parts)]
        return {str(path): path.read_bytes() + bytes(str(path.stat().st_mtime_ns), "ascii")
                for path in files}  # fmt: skip

    before, status = state(), git("status", "--porcelain")
    assert ".git" in next(iter(before))
    before = state()
    with repository.session():
        repository.transition(moves, {"summary.json": b"1"}, "apply")
    assert state() == before
    assert git("status", "--porcelain") == status


def test_no_hook_of_the_user_runs_and_no_reflog_grows(
    repository: Repository, folder: Path, moves: list[RefUpdate]
) -> None:
    hook = folder / ".git" / "hooks" / "reference-transaction"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("#!/bin/sh\ntouch ran\nexit 1\n")
    hook.chmod(0o755)
    with repository.session():
        repository.transition(moves, {}, "apply")
    assert not list(folder.rglob("ran"))
    assert not (folder / ".git" / "logs" / "refs" / "heads" / "darwin").exists()


def test_foreign_references_and_bad_ids_never_reach_git(repository: Repository, start: str) -> None:
    for update in (
        RefUpdate("refs/heads/main", start, None),
        RefUpdate("refs/heads/darwin/x\ndelete refs/heads/main", None, start),
        RefUpdate(names.CHAMPION, None, "0" * 40),
        RefUpdate(names.CHAMPION, None, "HEAD"),
    ):
        with repository.session(), pytest.raises(ValueError, match="not a"):
            repository.transition([update], {}, "x")
    assert repository.refs() == {}


def test_a_symbolic_reference_is_not_followed(
    repository: Repository, git: PlainGit, start: str, tip: str
) -> None:
    git("symbolic-ref", names.CHAMPION, "refs/heads/main")
    repository.publish([RefUpdate(names.CHAMPION, start, tip)])
    assert git("rev-parse", "main") == start
    assert git("rev-parse", names.CHAMPION) == tip


def test_the_locks_of_a_dead_child_are_removed_and_no_others(
    repository: Repository, folder: Path, start: str
) -> None:
    dead = {
        "child": {"pid": 2**22 + 1, "started": "1", "realm": "another boot"},
        "refs": [names.CHAMPION, "refs/heads/main"],
        "deletes": True,
    }
    children = folder / ".git" / "darwin" / "children"
    children.mkdir(parents=True)
    (children / "4194305-1").write_text("+" + json.dumps(dead) + "\n")
    (children / "garbage").write_bytes(b"\xff")
    locks = [folder / ".git" / f"{ref}.lock" for ref in (names.CHAMPION, "refs/heads/main", V1.ref)]
    packed = folder / ".git" / "packed-refs.lock"
    for lock in [*locks, packed]:
        lock.parent.mkdir(parents=True, exist_ok=True)
        lock.touch()
    with repository.session():
        repository.publish([RefUpdate(names.CHAMPION, None, start)])
    assert [lock.exists() for lock in [*locks, packed]] == [False, True, True, False]
    with repository.session(), pytest.raises(RefConflict) as caught:
        repository.publish([RefUpdate(V1.ref, None, start)])
    assert "File exists" in caught.value.detail


def test_the_packed_references_lock_of_a_gc_is_left_alone(
    repository: Repository, folder: Path, moves: list[RefUpdate]
) -> None:
    packed = folder / ".git" / "packed-refs.lock"
    packed.touch()
    with repository.session(), pytest.raises(RefConflict) as caught:
        repository.transition(moves, {}, "apply")
    assert caught.value.ref == "packed-refs"
    assert packed.exists()
    packed.unlink()
    with repository.session():
        repository.transition(moves, {}, "apply")


def test_a_child_killed_while_it_commits_is_told_apart(
    repository: Repository, start: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    update_ref = repository._update_ref
    monkeypatch.setattr(update_ref, "_talk", lambda *_: [b"start: ok", b"prepare: ok"])
    with pytest.raises(HalfDone):
        repository.publish([RefUpdate(names.CHAMPION, None, start)])


def test_a_full_disk_is_no_conflict(
    repository: Repository, start: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    update = RefUpdate(names.CHAMPION, None, start)
    full = f"fatal: prepare: Unable to create '{names.CHAMPION}.lock': No space left on device"
    with pytest.raises(DarwinError, match="cannot write") as caught:
        repository._update_ref._raise([b"start: ok"], full, [update])
    assert not isinstance(caught.value, RefConflict)


def test_a_damaged_intent_names_the_cure(repository: Repository, git: PlainGit, start: str) -> None:
    repository.ledger.write({"summary.json": b"1"}, "one")
    for damage in (b"{", b"{}", b'{"schema":"other"}', b"[]"):
        repository.ledger.write({INTENT: damage}, "damage")
        with pytest.raises(DarwinError) as caught, repository.session():
            pass
        git(*caught.value.hint.rpartition("git ")[2].split())
        with repository.session():
            assert repository.ledger.list() == ["summary.json"]


def test_the_ledger_keeps_what_two_writers_write(folder: Path, repository: Repository) -> None:
    with Repository.open(folder) as other:
        for one, line in ((repository, "1"), (other, b"2\n")):
            one.ledger.write({"x.jsonl": one.ledger.appended("x.jsonl", [line])}, "append")
        repository.ledger.write({"plans/0001.json": b"a", "x/y": b"z"}, "files")
        other.ledger.write({"x/y": None, "no/such": None}, "delete")
    assert repository.ledger.read("x.jsonl") == b"1\n2\n"
    assert repository.ledger.list() == ["plans/0001.json", "x.jsonl"]
    assert repository.ledger.list("plans/") == ["plans/0001.json"]
    tip = repository.ledger.tip
    assert repository.ledger.write({"plans/0001.json": b"a"}, "no change") == tip
    with pytest.raises(DarwinError):
        repository.ledger.read("../config")
