"""`memory`: a person reads what the run has learned, retires what is wrong, adds what is known."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from darwin_git.commands.memory import summary
from darwin_git.domain.learning.fold import fold
from darwin_git.domain.learning.lesson import (
    Evidence,
    Lesson,
    LessonKind,
    MemoryEvent,
    lesson_event,
    new_lesson,
)
from darwin_git.domain.records import canonical_json
from darwin_git.report import memory as texts
from darwin_git.store.ledger import LESSONS, memory_path
from darwin_git.store.repository import Repository

HOSTILE = "gqa \x1b[2J\x1b]0;mine\x07 failed\u202e backwards"


def darwin(folder: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "darwin_git", "-C", str(folder), *words],
        capture_output=True,
        text=True,
        env=os.environ | {"NO_COLOR": "1", "TERM": "dumb", "COLUMNS": "80"},
    )


def data(folder: Path, *words: str) -> dict[str, Any]:
    done = darwin(folder, "memory", *words, "--json")
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    assert found["schema"] == "darwin-git/memory/1"
    return found


def lesson(kind: LessonKind, text: str, *scope: str, source: str = "rule") -> Lesson:
    return new_lesson(kind, text, scope, source, 2)


RECIPE = lesson("recipe", "rotary won on top of the baseline.", "rotary")
SAFE = lesson("safeguard", "shape failure: mind the heads.", "shape", source="model")
DEAD = lesson("dead_end", "dropout lost on top of the baseline.", "dropout")


def write(folder: Path, *lines: MemoryEvent | str) -> None:
    with Repository.open(folder) as repository:
        texts = [one if isinstance(one, str) else canonical_json(one) for one in lines]
        path = memory_path(0)
        repository.ledger.write({path: repository.ledger.appended(path, texts)}, "by hand")


@pytest.fixture
def learned(measured: Path) -> Path:
    """A run with three lessons, one of them retired, and a line that nobody can read."""
    commit = subprocess.run(
        ["git", "-C", str(measured), "rev-parse", "HEAD"],
        check=True, capture_output=True, text=True,
    ).stdout.strip()  # fmt: skip
    write(
        measured,
        lesson_event(RECIPE, 2, Evidence("0002/a2-on-a1", commit, 0.05, 0.03, 0.07)),
        lesson_event(SAFE, 2, Evidence("0002/a3-on-a1", "")),
        '{"kind": "lesson", "id"',
        lesson_event(DEAD, 2, Evidence("0002/a4-on-a1", commit, -1e200)),
        {"kind": "shown", "generation": 3, "variant": "0003/a2-on-a1", "ids": [RECIPE.id, SAFE.id],
         "helped": [RECIPE.id]},
        {"kind": "retire", "id": DEAD.id, "why": "it\nwon since", "by": "rule", "generation": 3},
        {"kind": "of a later version", "ids": 7},
    )  # fmt: skip
    return measured


def events(folder: Path) -> list[dict[str, Any]]:
    with Repository.open(folder) as repository:
        return repository.memory.scan().records


def test_the_list_has_the_best_first_and_retired_ones_when_asked(learned: Path) -> None:
    found = data(learned, "list")
    assert [one["id"] for one in found["lessons"]] == [RECIPE.id, SAFE.id]
    assert (found["retired"], found["corrupt"]) == (1, 1)
    assert found["lessons"][0]["confidence"] == 0.75
    assert {one["id"] for one in data(learned, "list", "--all")["lessons"]} == {
        RECIPE.id, SAFE.id, DEAD.id,
    }  # fmt: skip
    assert [one["id"] for one in data(learned, "list", "--kind", "safeguard")["lessons"]] == [
        SAFE.id
    ]
    text = darwin(learned, "memory", "list").stdout
    assert "rotary won on top of the baseline." in text
    assert "1 retired" in text
    assert "1 lines" in text


def test_a_lesson_is_shown_with_its_evidence_and_how_to_look_at_it(learned: Path) -> None:
    found = data(learned, "show", RECIPE.id[:5])
    assert found["lesson"]["text"] == RECIPE.text
    [evidence] = found["evidence"]
    command = evidence["command"].split()
    assert command[:2] == ["git", "show"]
    looked = subprocess.run([*command[:1], "-C", str(learned), *command[1:]], capture_output=True)
    assert looked.returncode == 0, looked.stderr
    assert found["mutations"] == [{"variant": "0003/a2-on-a1", "helped": True}]
    text = darwin(learned, "memory", "show", RECIPE.id).stdout
    assert "-4.88 % perplexity (95 %: -6.76 % to -2.96 %)" in text
    assert evidence["command"] in text
    assert "0003/a2-on-a1 (helped)" in text
    dead = darwin(learned, "memory", "show", DEAD.id)
    assert dead.returncode == 0, dead.stderr
    assert "retired by rule, generation 3: it won since" in dead.stdout


def test_a_person_retires_and_revives(learned: Path) -> None:
    found = data(learned, "retire", RECIPE.id, DEAD.id, "--why", "only on\nTuesdays")
    assert found["retired"] == [RECIPE.id]
    assert found["known"] == [DEAD.id]
    event = events(learned)[-1]
    assert event == {
        "kind": "retire", "id": RECIPE.id, "by": "person", "why": "only on Tuesdays",
        "generation": 0,
    }  # fmt: skip
    assert RECIPE.id not in {one["id"] for one in data(learned, "list")["lessons"]}
    assert data(learned, "revive", RECIPE.id)["revived"] == [RECIPE.id]
    assert not fold(events(learned))[RECIPE.id].retired
    before = events(learned)
    assert data(learned, "revive", RECIPE.id)["known"] == [RECIPE.id]
    assert events(learned) == before


def test_a_person_s_own_lesson(learned: Path) -> None:
    words = ["add", "--kind", "dead_end", "--scope", "Dropout, model.py"]
    text = "Dropout costs more\nthan it gives."
    found = data(learned, *words, text)
    assert found["new"] is True
    one = fold(events(learned))[found["lesson"]["id"]]
    assert (one.source, one.kind) == ("person", "dead_end")
    assert one.scope == {"dropout", "model.py"}
    assert one.text == "Dropout costs more than it gives."
    before = events(learned)
    assert data(learned, *words, text)["new"] is False
    assert events(learned) == before, "it is there already"
    darwin(learned, "memory", "retire", one.id, "--why", "no")
    assert data(learned, *words, text)["lesson"]["retired"] == ""


MISUSE = [
    (["show", RECIPE.id[:-1] + "!"], f"did you mean {RECIPE.id}?"),
    (["show", "zzzz"], "`darwin-git memory list --all` names them all"),
    (["show", ""], "is no lesson's id"),
    (["retire", RECIPE.id, "0" * 12, "--why", "x"], "is no lesson's id"),
    (["retire", RECIPE.id, "--why", " \n"], "why?"),
    (["list", "--kind", "prophecy"], "kinds: safeguard, workflow, recipe, dead_end"),
    (["add", "--kind", "prophecy", "x"], "is no kind of lesson"),
    (["add", "--kind", "recipe", "\x1b"], "has no text"),
    (["add", "--kind", "recipe", "x" * 601], "longer than 600 characters"),
]


def test_misuse_is_said_and_writes_nothing(learned: Path) -> None:
    before = events(learned)
    for words, said in MISUSE:
        done = darwin(learned, "memory", *words)
        assert (done.returncode, done.stdout) == (1, ""), words
        assert said in done.stderr
    assert events(learned) == before


def test_a_running_command_keeps_its_lock_but_reading_needs_none(learned: Path) -> None:
    with Repository.open(learned) as repository, repository.session(command="step"):
        done = darwin(learned, "memory", "retire", RECIPE.id, "--why", "x")
        assert done.returncode == 1
        assert "another darwin-git command works in this repository: “step”" in done.stderr
        assert darwin(learned, "memory", "list").returncode == 0
    assert not fold(events(learned))[RECIPE.id].retired


def test_a_ledger_that_somebody_looks_at_is_not_moved(learned: Path, tmp_path: Path) -> None:
    place = tmp_path / "ledger"
    subprocess.run(
        ["git", "-C", str(learned), "worktree", "add", "-q", str(place), "darwin/ledger"],
        check=True,
    )
    done = darwin(learned, "memory", "retire", RECIPE.id, "--why", "x")
    assert done.returncode == 1
    assert "is checked out in" in done.stderr
    assert not fold(events(learned))[RECIPE.id].retired


def test_a_report_tells_the_best_and_the_retired_lessons(learned: Path) -> None:
    text = "\n".join(texts.summary(summary(fold(events(learned)))))
    assert text.startswith("memory: 1 safeguard, 1 recipe; shown 2 times, helped 1")
    assert RECIPE.text in text
    assert f"{DEAD.id} it won since" in text
    assert DEAD.text not in text
    assert texts.summary(summary({})) == ["memory: no lessons; shown 0 times, helped 0"]


def test_hostile_lessons_do_nothing_to_a_terminal(measured: Path) -> None:
    one = lesson("safeguard", HOSTILE, "gqa")
    event = dict(lesson_event(one, 1, Evidence("\x1b[31m0001/a1-on-a2", "$(reboot)", 0.1)))
    shown = {"kind": "shown", "variant": "\x1b]52;c;x\x07v", "ids": [one.id], "helped": "all"}
    gone = {"kind": "retire", "id": one.id, "why": ["a"], "by": "\x9b31m", "generation": {}}
    write(measured, event, shown, gone)
    for words in (["list", "--all"], ["show", one.id], ["list", "--all", "--json"]):
        done = darwin(measured, "memory", *words)
        assert done.returncode == 0, done.stderr
        assert all(letter == "\n" or letter.isprintable() for letter in done.stdout)
    assert "reboot" not in darwin(measured, "memory", "show", one.id).stdout


def test_before_the_baseline_there_is_nothing_to_write_on(genome: Path) -> None:
    assert darwin(genome, "memory", "list").stdout == "no lessons\n"
    done = darwin(genome, "memory", "add", "--kind", "recipe", "x y")
    assert done.returncode == 1
    assert "there is no baseline yet" in done.stderr


def test_a_person_s_words_are_in_the_lessons_at_once_and_verify_compares(learned: Path) -> None:
    before = git(learned, "rev-list", "--count", "darwin/ledger")
    data(learned, "retire", RECIPE.id, "--why", "only on Tuesdays")
    assert int(git(learned, "rev-list", "--count", "darwin/ledger")) == int(before) + 1
    with Repository.open(learned) as repository:
        kept = repository.ledger.read(LESSONS) or b""
        assert b"only on Tuesdays" in kept
        assert repository.memory.lessons() == fold(repository.memory.scan().records)
    said = "lessons.json is not what its events fold to"
    assert said not in darwin(learned, "verify").stdout
    with Repository.open(learned) as repository:
        repository.ledger.write({LESSONS: kept.replace(b"Tuesdays", b"Mondays")}, "by hand")
    done = darwin(learned, "verify")
    assert said in done.stdout + done.stderr


def git(folder: Path, *words: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(folder), *words], check=True, capture_output=True, text=True
    )
    return done.stdout.strip()
