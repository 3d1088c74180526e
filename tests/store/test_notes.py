"""Records in notes: none is lost among processes, plain git reads them, folding is git's union."""

import multiprocessing
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from darwin_git.domain import names, records
from darwin_git.domain.records import Record
from darwin_git.store.notetree import note_map, unite
from darwin_git.store.repository import Repository
from darwin_git.store.trees import EMPTY_TREE
from darwin_git.store.updateref import RefConflict, RefUpdate

MakeRecord = Callable[..., Record]
PlainGit = Callable[..., str]


def refs(git: PlainGit) -> set[str]:
    return set(git("for-each-ref", "--format=%(refname)").split())


def by_id(found: list[Record]) -> set[str]:
    return {record["id"] for record in found}


def test_a_record_is_read_back_before_and_after_the_fold(
    repository: Repository, start: str, record: MakeRecord
) -> None:
    one, two = record(start, 1, seed=1), record(start, 2, "verdict", verdict="ok")
    assert repository.notes.append(one) == one["id"]
    assert repository.notes.of(start) == [one]
    assert repository.notes.pending() == {start: [one]}
    assert repository.notes.fold() == 1
    assert repository.notes.pending_count == 0
    repository.notes.append_many([two, one])  # one again: a union keeps it once
    assert repository.notes.of(start) == [one, two]
    assert dict(repository.notes.all()) == {start: [one, two]}
    repository.notes.fold()
    assert repository.notes.of(start) == [one, two]
    assert repository.notes.fold() == 0


def test_plain_git_reads_our_notes(
    repository: Repository, git: PlainGit, start: str, record: MakeRecord
) -> None:
    one = record(start, seed=1, text="é\u202e")
    repository.notes.append(one)
    repository.notes.fold(lambda found: "\n".join(f"line {n}" for n in range(9)))
    assert git("notes", "--ref=darwin/fitness", "show", start) == records.canonical_json(one)
    log = git("log", "--notes=darwin/summary", start)
    assert "Notes (darwin/summary):" in log
    assert "line 5" in log and "line 6" not in log
    assert git("notes", "--ref=darwin/fitness", "list").split()[1] == start
    git("fsck", "--strict")


def test_reading_creates_no_reference(
    repository: Repository, git: PlainGit, start: str, folder: Path
) -> None:
    before = refs(git)
    assert repository.notes.of(start) == []
    assert list(repository.notes.all()) == []
    assert repository.notes.pending() == {} and repository.notes.fold() == 0
    assert repository.ledger.read("summary.json") is None and repository.ledger.list() == []
    assert refs(git) == before
    assert not (folder / ".git" / "darwin").exists()


def test_a_branch_and_its_first_record_come_together_or_not_at_all(
    repository: Repository, git: PlainGit, start: str, record: MakeRecord
) -> None:
    branch = names.variant_ref(1, "a2-on-a1")
    repository.publish([RefUpdate(branch, None, start)], [record(start, 1)])
    assert git("rev-parse", branch) == start
    with pytest.raises(RefConflict) as caught:
        repository.publish([RefUpdate(branch, None, start)], [record(start, 2)])
    assert caught.value.ref == branch
    assert by_id(repository.notes.of(start)) == {record(start, 1)["id"]}


def test_a_fold_by_somebody_else_does_not_stop_a_writer(
    folder: Path, repository: Repository, start: str, record: MakeRecord
) -> None:
    with Repository.open(folder) as other:
        repository.notes.append(record(start, 1))
        other.notes.fold()
        repository.notes.append(record(start, 2))
        other.notes.append(record(start, 3))
        assert repository.notes.pending_count == 2
        repository.notes.fold()
        assert [r["seq"] for r in other.notes.of(start)] == [1, 2, 3]


def test_packed_references_are_read_too(
    repository: Repository, git: PlainGit, start: str, record: MakeRecord
) -> None:
    repository.notes.append(record(start, 1))
    git("pack-refs", "--all")
    assert repository.notes.pending_count == 1
    repository.notes.append(record(start, 2))
    assert repository.notes.fold() == 1
    assert repository.notes.pending_count == 0
    assert len(repository.notes.of(start)) == 2


def test_gc_loses_nothing(
    repository: Repository, git: PlainGit, start: str, record: MakeRecord
) -> None:
    repository.notes.append(record(start, 1))
    repository.notes.fold()
    repository.notes.append(record(start, 2))
    git("gc", "-q", "--prune=now")
    assert len(repository.notes.of(start)) == 2
    repository.notes.append(record(start, 3))
    repository.notes.fold()
    assert len(repository.notes.of(start)) == 3
    git("fsck")


@pytest.mark.parametrize("fanout", ["flat", "2/38", "2/2/36"])
def test_notes_in_any_fan_out_are_found_and_kept(
    repository: Repository, git: PlainGit, start: str, record: MakeRecord, fanout: str
) -> None:
    path = {
        "flat": start,
        "2/38": f"{start[:2]}/{start[2:]}",
        "2/2/36": f"{start[:2]}/{start[2:4]}/{start[4:]}",
    }[fanout]
    old, new = record(start, 1), record(start, 2)
    tree = repository.splice(EMPTY_TREE, {path: records.to_line(old), "README": b"kept\n"})
    git("update-ref", names.NOTES_FITNESS, repository.commit(tree, [], "by somebody"))
    assert repository.notes.of(start) == [old]
    repository.notes.append(new)
    repository.notes.fold()
    assert repository.notes.of(start) == [old, new]
    tree = git("rev-parse", f"{names.NOTES_FITNESS}^{{tree}}")
    assert len(note_map(repository.objects, tree)[start]) == 1
    assert git("cat-file", "-p", f"{tree}:README") == "kept"
    assert len(git("notes", "--ref=darwin/fitness", "show", start).splitlines()) == 2


@given(st.lists(st.lists(st.binary(max_size=6)).map(b"\n".join), max_size=4))
def test_uniting_is_sorted_unique_lines(contents: list[bytes]) -> None:
    lines = {line for content in contents for line in content.split(b"\n") if line}
    assert unite(contents) == b"".join(line + b"\n" for line in sorted(lines))
    assert unite([unite(contents), *contents]) == unite(contents)


def test_a_fold_is_gits_cat_sort_uniq(
    folder: Path, repository: Repository, git: PlainGit, record: MakeRecord, start: str
) -> None:
    commits = [start] + [
        repository.commit(repository.commit_info(start).tree, [start], str(n)) for n in range(30)
    ]
    for r in (record(commit, n % 3) for n, commit in enumerate(commits)):
        repository.notes.append(r)
    repository.notes.fold()
    writers = []
    for writer in range(3):  # three writers: our own, renamed twice
        mine = [record(c, 10 + (n + writer) % 4) for n, c in enumerate(commits[writer::2])]
        repository.notes.append_many(mine)
        repository.notes.append_many(mine[:5])
        (ours,) = git("for-each-ref", "--format=%(refname)", names.WRITERS).split() or [""]
        git("update-ref", f"refs/test/{writer}", ours)
        git("update-ref", "-d", ours)
        writers.append(names.writer_notes_ref(f"{writer + 1}-abcdef"))
    canonical = git("rev-parse", names.NOTES_FITNESS)
    git("update-ref", "refs/notes/plain", canonical)
    for writer, ref in enumerate(writers):
        git("update-ref", ref, git("rev-parse", f"refs/test/{writer}"))
        git("notes", "--ref=plain", "merge", "-q", "-s", "cat_sort_uniq", ref)
    assert repository.notes.fold() == len(commits)

    def contents(ref: str) -> dict[str, str]:
        rows = [row.split() for row in git("notes", f"--ref={ref}", "list").splitlines()]
        return {commit: blob for blob, commit in rows}

    assert contents("darwin/fitness") == contents("plain")
    assert not git("for-each-ref", names.WRITERS)
    assert git("merge-base", "--is-ancestor", canonical, names.NOTES_FITNESS) == ""


def _write_25(folder: str, worker: int, commits: list[str]) -> None:
    with Repository.open(folder, thorough=False) as repository:
        for n in range(25):
            commit = commits[n % len(commits)]
            repository.notes.append(
                records.make_record("replicate", "isle", 1, 25 * worker + n, commit, "t", "i")
            )
            if n % 10 == 9:
                with repository.session(wait_s=30):
                    pass  # folds what everybody has written so far


def test_of_8_processes_with_25_notes_each_none_is_lost(folder: Path, start: str) -> None:
    context = multiprocessing.get_context("fork")
    workers = [
        context.Process(target=_write_25, args=(str(folder), worker, [start]))
        for worker in range(8)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0] * 8
    with Repository.open(folder) as repository:
        assert sorted(r["seq"] for r in repository.notes.of(start)) == list(range(200))
        with repository.session():
            assert repository.notes.pending_count == 0
        assert len(repository.notes.of(start)) == 200
    assert not list((folder / ".git").rglob("*.lock"))


def test_a_fork_does_not_share_the_git_processes(
    repository: Repository, start: str, record: MakeRecord
) -> None:
    repository.notes.append(record(start, 1))
    child = os.fork()
    if child == 0:
        repository.notes.append(record(start, 2))
        os._exit(0 if len(repository.notes.of(start)) == 2 else 1)
    assert os.waitpid(child, 0)[1] == 0
    repository.notes.append(record(start, 3))
    assert [r["seq"] for r in repository.notes.of(start)] == [1, 2, 3]


def test_threads_share_one_writer(repository: Repository, start: str, record: MakeRecord) -> None:
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: repository.notes.append(record(start, n)), range(40)))
        counts = list(pool.map(lambda _: len(repository.notes.of(start)), range(8)))
    assert counts == [40] * 8


def test_a_killed_git_child_is_replaced(
    repository: Repository, start: str, record: MakeRecord
) -> None:
    repository.notes.append(record(start, 1))
    for process in (repository.cat._process, repository._update_ref._process):
        assert process is not None
        process.kill()
        process.wait()
    repository.notes.append(record(start, 2))
    assert len(repository.notes.of(start)) == 2
    with repository.session():
        pass
    subprocess.run(["git", "fsck"], cwd=repository.work_tree, check=True, capture_output=True)
