"""lessons.json: read back it is the fold of the events, damaged it is nothing."""

import gc
import json
import random
import re
import time
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from darwin_git.domain.learning.file import Outcomes, folded, from_json, to_json
from darwin_git.domain.learning.fold import fold
from darwin_git.domain.learning.lesson import (
    KINDS,
    Evidence,
    MemoryEvent,
    lesson_event,
    new_lesson,
    retire_event,
    words_in,
)
from darwin_git.domain.learning.retrieval import Shelf, retrieve

TREE = "e" * 40
POOL = [
    new_lesson(KINDS[n], f"Lesson {n} “won” café.", (f"idea{n}", "x y", "model.py"), "rule", n)
    for n in range(4)
]
VARIANTS = ("0001/a1-on-a2", "a name with  spaces ", "-", "", "é ü", "1 2 3 4 5")
GAINS = (None, 0.0, -0.0, 0.1, -1e299, 5e-324, 1 / 3)


def some_event(draw: random.Random) -> MemoryEvent:
    one = draw.choice(POOL)
    kind = draw.random()
    if kind < 0.5:
        commit = draw.choice(("c" * 40, "d" * 64, "", "no commit"))
        gains = (draw.choice(GAINS) for _ in range(3))
        found = draw.choice((None, Evidence(draw.choice(VARIANTS), commit, *gains)))
        source = draw.choice(("rule", "model", "person"))
        return lesson_event(replace(one, source=source), draw.randrange(9), found)
    if kind < 0.75:
        ids = [other.id for other in draw.sample(POOL, 2)] + ["0" * 12]
        return {"kind": "shown", "ids": ids, "helped": draw.choice(([], ids, [one.id]))}
    key = draw.choice((one.id, "1" * 12))
    return draw.choice((retire_event(key, "so\x1b", "rule", 1), {"kind": "revive", "id": key}))


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 1 << 32), st.integers(0, 60), st.integers(0, 60))
def test_lessons_are_the_same_from_the_file_and_from_the_events(
    seed: int, count: int, cut: int
) -> None:
    draw = random.Random(seed)
    events = [some_event(draw) for _ in range(count)]
    whole = fold(events)
    data = to_json(whole, TREE)
    read = from_json(data, TREE)
    assert read is not None
    assert (list(read.items()), read.loose) == (list(whole.items()), whole.loose)
    assert list(whole.items()) == list(read.items()), "whoever is asked first"
    assert to_json(read, TREE) == data
    assert folded(data) == TREE
    words = frozenset({"lesson", "idea", "won"})
    assert retrieve(read, words) == retrieve(whole, words)

    begun = from_json(to_json(fold(events[:cut]), TREE), TREE)
    assert begun is not None
    onwards = fold(events[cut:], begun)
    assert (list(onwards.items()), onwards.loose) == (list(whole.items()), whole.loose)
    assert to_json(onwards, TREE) == data


def test_what_is_said_of_a_lesson_before_it_is_written_counts_when_it_is() -> None:
    one = POOL[0]
    early: list[MemoryEvent] = [
        {"kind": "shown", "ids": [one.id], "helped": [one.id]},
        retire_event(one.id, "no use", "person", 1),
    ]
    begun = from_json(to_json(fold(early), TREE), TREE)
    assert begun == {}
    late = fold([lesson_event(one, 2, None)], begun)
    assert (late[one.id].shown, late[one.id].helped, late[one.id].retired) == (1, 1, "no use")
    assert late.loose == {}


def test_a_file_of_other_events_or_of_a_later_version_is_not_read() -> None:
    data = to_json(fold([lesson_event(POOL[0], 1, None)]), TREE)
    assert from_json(data, "f" * 40) is None
    assert from_json(None, TREE) is None
    assert from_json(data.replace(b"lessons/1", b"lessons/2"), TREE) is None
    assert from_json(data.replace(b'"shown"', b'"seen"'), TREE) is None


ODD: list[object] = [None, True, -1.5, 10**400, "", "x", "\x1b[2J", "x" * 601, [], [[]], {}, [7]]


@pytest.mark.parametrize("place", range(10))
def test_a_row_that_is_no_lesson_is_not_read_and_never_raises(place: int) -> None:
    value = json.loads(to_json(fold([lesson_event(POOL[0], 1, None)]), TREE))
    for odd in ODD:
        [row] = value["lessons"]
        changed = [*row[:place], odd, *row[place + 1 :]]
        read = from_json(json.dumps(value | {"lessons": [changed]}).encode(), TREE)
        for one in (read or {}).values():
            assert one.text.isprintable() and one.confidence > 0.0
            assert retrieve(read or {}, words_in(one.text)) or one.retired


def test_ten_thousand_broken_files_never_raise() -> None:
    draw = random.Random(5)
    data = to_json(fold([some_event(draw) for _ in range(40)]), TREE).decode()
    for _ in range(10_000):
        letters = list(data)
        for _ in range(draw.randrange(1, 4)):
            letters[draw.randrange(len(letters))] = draw.choice('{}[]",:0\x00\\e\n-N')
        broken = "".join(letters).encode()
        folded(broken)
        read = from_json(broken, TREE)
        for one in (read or {}).values():
            assert one.text.isprintable()
            assert all(row.variant.isprintable() for row in one.evidence)


def test_evidence_that_cannot_be_read_says_nothing() -> None:
    assert Outcomes(["- 0.5 - - a\x1b[2J"]) == (Evidence("", ""),)
    lines = ["", "abc", "- 0.5 nan", "- 1e999 x - 0001/a1-on-a2", "- 0.25 - - a  b "]
    assert Outcomes(lines) == (
        Evidence("", ""),
        Evidence("", "abc"),
        Evidence("", "", 0.5),
        Evidence("0001/a1-on-a2", ""),
        Evidence("a  b ", "", 0.25),
    )
    assert Outcomes(lines)[-2:] == tuple(Outcomes(lines))[3:]
    assert hash(Outcomes(lines)) == hash(tuple(Outcomes(lines)))
    assert Outcomes(lines) != ()


@given(st.text() | st.text(st.characters(max_codepoint=127)))
def test_words_are_found_alike_in_any_alphabet(text: str) -> None:
    letters = re.compile(r"[^\W\d_]{2,}")
    for one in (text, f"“{text}” won"):
        assert words_in(one) == frozenset(letters.findall(one.lower()))


def test_a_thousand_lessons_are_ready_at_a_fraction_of_what_the_fold_costs() -> None:
    draw = random.Random(1)
    words = ["".join(draw.choices("abcdefghijklmnopqrstuvwxyz", k=6)) for _ in range(400)]
    events: list[MemoryEvent] = []
    for number in range(1000):
        scope = draw.sample(words, 4)
        one = new_lesson(
            draw.choice(KINDS), " ".join(draw.choices(words, k=40)), scope, "rule", number
        )
        events += [
            lesson_event(one, number, Evidence(f"{at:04}/a2-on-a1", "c" * 40, draw.random()))
            for at in range(5)
        ]
    events += [
        {"kind": "shown", "ids": draw.sample([event["id"] for event in events], 6), "helped": []}
        for _ in range(4000)
    ]
    data = to_json(fold(events), TREE)
    asked, took = frozenset(draw.sample(words, 30)), []
    for _ in range(5):
        gc.collect()
        began = time.process_time()
        read = from_json(data, TREE)
        assert isinstance(read, Shelf) and retrieve(read, asked)
        took.append(time.process_time() - began)
    assert min(took) < 0.05, "folding the events takes more than a hundred milliseconds"
