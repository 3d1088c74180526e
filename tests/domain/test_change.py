"""The same edit is known again on a relative."""

import time

from hypothesis import given
from hypothesis import strategies as st

from darwin_git.domain.change import change_id

BASE = {"model.py": "a = 1\nb = 2\nc = 3\n", "train.py": "lr = 0.1\n"}
EDIT = {"model.py": "a = 1\nb = 20\nc = 3\n"}


def test_the_same_edit_on_another_parent_is_the_same_change() -> None:
    relative = {"model.py": "# new head\nz = 0\na = 1\nb = 2\nc = 4\n"}
    edited = {"model.py": "# new head\nz = 0\na = 1\nb = 20\nc = 4\n"}
    assert change_id(BASE, EDIT) == change_id(relative, edited)


def test_white_space_does_not_make_it_another() -> None:
    spaced = {"model.py": "a = 1\n\nb  =  20\nc = 3\n"}
    assert change_id(BASE, EDIT) == change_id(BASE, spaced)


def test_other_edits_are_other_changes() -> None:
    others = [
        {"model.py": "a = 1\nb = 21\nc = 3\n"},
        {"train.py": "lr = 0.2\n"},
        {"model.py": "a = 1\nb = 20\nc = 3\n", "train.py": "lr = 0.2\n"},
        {"model.py": None},
        {"new.py": "b = 20\n"},
        {"new.py": ""},
        {},
    ]
    ids = [change_id(BASE, other) for other in others]
    assert len({change_id(BASE, EDIT), *ids}) == len(others) + 1


@given(st.lists(st.text(st.characters(codec="utf-8"), max_size=20), max_size=8))
def test_a_file_that_does_not_change_does_not_count(lines: list[str]) -> None:
    text = "\n".join(lines)
    assert change_id({**BASE, "x": text}, {**EDIT, "x": text}) == change_id(BASE, EDIT)


def test_thousands_of_like_lines_are_told_apart_at_once() -> None:
    """difflib would compare for hours, and a step waits for nobody's table."""
    old = "".join(f"{n % 7}\n" for n in range(60_000))
    news = [
        "".join(f"{n % 5}\n" for n in range(60_000)),
        old + "8\n",
        "8\n" + old.replace("1\n", "2\n", 1),
        "".join(reversed(old.splitlines(True))),
    ]
    began = time.monotonic()
    ids = {change_id({"table.py": old}, {"table.py": new}) for new in (old, *news)}
    assert time.monotonic() - began < 10
    assert len(ids) == 5
