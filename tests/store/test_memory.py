"""Memory on the ledger: a file of events a generation, and what they fold to in the same commit."""

from pathlib import Path

import pytest

from darwin_git.domain.learning.fold import fold
from darwin_git.domain.learning.lesson import Evidence, lesson_event, new_lesson, retire_event
from darwin_git.domain.names import LEDGER
from darwin_git.domain.records import canonical_json
from darwin_git.store import memory
from darwin_git.store.ledger import LESSONS, memory_path
from darwin_git.store.repository import Repository

from .conftest import PlainGit

ROTARY = new_lesson("recipe", "rotary won.", ("rotary",), "rule", 1)
SHAPE = new_lesson("safeguard", "Mind the heads.", ("shape",), "rule", 2)
FIRST = lesson_event(ROTARY, 1, Evidence("0001/a2-on-a1", "c" * 40, 0.1))
SECOND = lesson_event(SHAPE, 2, None)
GONE = retire_event(ROTARY.id, "no use", "person", 2)


@pytest.fixture
def no_fold(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever folds all events again fails."""

    def refused(*_: object) -> None:
        raise AssertionError("the events were read")

    monkeypatch.setattr(memory, "scan_lines", refused)


@pytest.fixture
def learned(repository: Repository) -> Repository:
    repository.memory.append(1, [FIRST])
    repository.memory.append(2, [SECOND])
    repository.memory.append(2, [GONE])
    return repository


def test_a_generation_has_its_file_and_the_lessons_are_in_each_commit(
    learned: Repository, git: PlainGit
) -> None:
    assert learned.ledger.list() == [LESSONS, memory_path(1), memory_path(2)]
    assert learned.memory.scan().records == [FIRST, SECOND, GONE]
    shown = git("log", "--format=%s", "--name-only", LEDGER).split("\n\n")
    assert "\n".join(shown).splitlines() == [
        *("memory/0002.jsonl: append", LESSONS, "memory/0002.jsonl"),
        *("memory/0002.jsonl: append", LESSONS, "memory/0002.jsonl"),
        *("memory/0001.jsonl: append", LESSONS, "memory/0001.jsonl"),
    ]


def test_the_next_process_reads_the_lessons_without_the_events(
    learned: Repository, folder: Path, no_fold: None
) -> None:
    with Repository.open(folder) as other:
        lessons = other.memory.lessons()
        assert lessons == fold([FIRST, SECOND, GONE])
        assert other.memory.lessons() is lessons
        other.memory.append(3, [{"kind": "revive", "id": ROTARY.id}])
        assert other.memory.lessons()[ROTARY.id].retired == ""
    assert learned.memory.lessons()[ROTARY.id].retired == "", "another process wrote meanwhile"


@pytest.mark.parametrize("where", [memory_path(2), memory_path(7)])
def test_lines_that_another_tool_adds_are_folded(
    learned: Repository, folder: Path, where: str
) -> None:
    line = canonical_json({"kind": "revive", "id": ROTARY.id})
    learned.ledger.write({where: learned.ledger.appended(where, [line, "torn {"])}, "by hand")
    with Repository.open(folder) as other:
        assert not other.memory.altered(), "it is older than the events, and says so"
        assert other.memory.lessons()[ROTARY.id].retired == ""
        assert other.memory.scan().corrupt == 1
        other.memory.append(8, [GONE])
        assert other.memory.lessons()[ROTARY.id].retired == "no use"
    with Repository.open(folder) as other:
        assert other.memory.lessons() == fold(other.memory.scan().records)
        assert not other.memory.altered()


@pytest.mark.parametrize("damage", [b"", b"{", b"[" * 100_000, b"[]", b"\xff\0"])
def test_a_damaged_file_is_not_read_and_is_known(
    learned: Repository, folder: Path, damage: bytes
) -> None:
    learned.ledger.write({LESSONS: damage}, "damage")
    with Repository.open(folder) as other:
        assert other.memory.lessons() == fold([FIRST, SECOND, GONE])
        assert other.memory.altered()


def test_a_changed_lesson_is_known(learned: Repository) -> None:
    assert not learned.memory.altered()
    data = learned.ledger.read(LESSONS) or b""
    learned.ledger.write({LESSONS: data.replace(b"rotary won", b"rotary is all")}, "forged")
    assert learned.memory.altered()


def test_before_anything_was_learned(repository: Repository) -> None:
    assert repository.memory.lessons() == {}
    assert repository.memory.scan() == ([], 0)
    assert not repository.memory.altered()
    repository.memory.append(1, [])
    assert repository.ledger.tip is None, "nothing to add is no commit"


def test_what_two_writers_add_is_all_kept(learned: Repository, folder: Path) -> None:
    with Repository.open(folder) as other:
        other.memory.append(3, [SECOND])
        learned.memory.append(3, [FIRST])
        other.memory.append(3, [GONE])
    assert learned.memory.scan().records == [FIRST, SECOND, GONE, SECOND, FIRST, GONE]
    assert not learned.memory.altered()
