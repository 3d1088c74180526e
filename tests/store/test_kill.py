"""SIGKILL at random instants: after the next session everything is old or new, nothing is lost."""

import contextlib
import multiprocessing
import os
import random
import signal
import subprocess
import time
from pathlib import Path

import pytest

from darwin_git.domain import names, records
from darwin_git.store import stale
from darwin_git.store.repository import Repository
from darwin_git.store.updateref import RefUpdate

KILLS = 25
AGENTS = [names.agent_ref(f"a{n}") for n in range(8)]


def _variants(step: int) -> list[names.VariantName]:
    return [names.VariantName(step, f"a2-on-a1.{n}") for n in range(2, 10)]


def _work(folder: str, acknowledged: str) -> None:
    """Step after step: notes, then all agents move on, old variants archived, new ones born."""
    handle = os.open(acknowledged, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    with Repository.open(folder, thorough=False) as repository, repository.session(wait_s=20):
        while True:
            step = int(repository.ledger.read("summary.json") or b"0")
            refs = repository.refs(names.HEADS)
            root = repository.resolve("main")
            tree = repository.commit_info(root).tree
            new = repository.commit(tree, [refs.get(AGENTS[0], root)], f"step {step + 1}")
            for kind in ("replicate", "verdict"):
                record = records.make_record(kind, "isle", step, step, new, tree, "ident")
                os.write(handle, f"{repository.notes.append(record)}\n".encode())
            repository.notes.fold(lambda found: f"{len(found)} records")
            updates = [RefUpdate(ref, refs.get(ref), new) for ref in AGENTS]
            updates += [RefUpdate(v.ref, None, new) for v in _variants(step + 1)]
            for v in _variants(step) if step else []:
                updates += [RefUpdate(v.ref, refs[v.ref], None)]
                updates += [RefUpdate(v.archive_ref, None, refs[v.ref])]
            files: dict[str, bytes | None] = {"summary.json": str(step + 1).encode()}
            repository.transition(updates, files, f"step {step + 1}")


def _children(pid: int) -> list[int]:
    with contextlib.suppress(FileNotFoundError):
        return [int(c) for c in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return []


def _kill(pid: int, dice: random.Random) -> None:
    """The process alone (its children see end of input), or the children first, as OOM would."""
    victims = [pid] if dice.random() < 0.3 else [*_children(pid), pid]
    for victim in victims:
        with contextlib.suppress(ProcessLookupError):
            os.kill(victim, signal.SIGKILL)


def _check(repository: Repository) -> int:
    """Everything stands where one step left it; which step."""
    step = int(repository.ledger.read("summary.json") or b"0")
    refs = repository.refs(names.HEADS)
    assert repository.ledger.list() == (["summary.json"] if step else [])
    assert {ref for ref in refs if ref.startswith(names.VARIANTS)} == {
        v.ref for v in (_variants(step) if step else [])
    }
    assert len({refs.get(ref) for ref in AGENTS}) == 1
    if step:
        assert repository.commit_info(refs[AGENTS[0]]).subject == f"step {step}"
    assert len(repository.refs(names.ARCHIVE)) == max(step - 1, 0) * 8
    return step


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="finds children in /proc")
def test_kills_at_random_instants_break_nothing(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stale, "PACKED_GRACE", 0.05)
    dice = random.Random(20261122)
    acknowledged = tmp_path / "acknowledged"
    context = multiprocessing.get_context("fork")
    interrupted = unlocked = 0
    for kill in range(KILLS):
        worker = context.Process(target=_work, args=(str(folder), str(acknowledged)))
        worker.start()
        assert worker.pid is not None
        time.sleep(0.15 + 0.25 * dice.random())
        assert worker.is_alive()
        _kill(worker.pid, dice)
        worker.join()
        with Repository.open(folder, thorough=False) as repository:
            locks = len(list((folder / ".git" / "refs").rglob("*.lock")))
            with repository.session(wait_s=10):
                interrupted += repository.redone is not None
                unlocked += locks > 0
                _check(repository)
                found = {r["id"] for _, kept in repository.notes.all() for r in kept}
                assert set(acknowledged.read_text().split()) <= found
        assert not list((folder / ".git").rglob("*.lock"))
        if kill % 8 == 0:
            subprocess.run(["git", "pack-refs", "--all"], cwd=folder, check=True)
    subprocess.run(["git", "fsck", "--strict"], cwd=folder, check=True, capture_output=True)
    with Repository.open(folder) as repository:
        assert _check(repository) > KILLS
    # The campaign is worth its time only if it hits.
    assert interrupted >= 3, interrupted
    assert unlocked >= 3, unlocked
