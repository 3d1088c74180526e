"""Conflicts: shown hunk by hunk, resolved by number, put together without a marker left."""

import subprocess
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from darwin_git.domain.answers.conflicts import FORMAT, ConflictsRefused, assemble, hunks, parse

MARKED = """\
import math

rate = 1
<<<<<<< ours
depth = 3
||||||| base
depth = 2
=======
depth = 4
>>>>>>> theirs

middle = 0
<<<<<<< ours
width = 3
||||||| base
width = 2
=======
>>>>>>> theirs
end = 1
"""


def merged_by_git(folder: Path, ours: str, base: str, theirs: str) -> str:
    for name, text in (("ours", ours), ("base", base), ("theirs", theirs)):
        (folder / name).write_text(text, newline="")
    command = ["git", "merge-file", "-p", "--diff3", "ours", "base", "theirs"]
    return subprocess.run(command, cwd=folder, stdout=subprocess.PIPE, check=False).stdout.decode()


def why(text: str, count: int) -> str:
    with pytest.raises(ConflictsRefused) as caught:
        parse(text, count)
    return caught.value.reason


def unassembled(marked: str, resolutions: dict[int, str]) -> str:
    with pytest.raises(ConflictsRefused) as caught:
        assemble(marked, resolutions)
    assert len(caught.value.reason) < 600
    return caught.value.reason


def test_hunks_have_three_sides_and_their_surroundings() -> None:
    first, second = hunks(MARKED)
    assert (first.number, first.ours, first.base, first.theirs) == (
        1,
        "depth = 3\n",
        "depth = 2\n",
        "depth = 4\n",
    )
    assert first.before == "import math\n\nrate = 1\n"
    assert first.after == "\nmiddle = 0\n"
    assert (second.number, second.theirs, second.after) == (2, "", "end = 1\n")


@pytest.mark.parametrize("ending", ["\n", "\r\n"])
def test_a_merge_of_git_is_resolved(tmp_path: Path, ending: str) -> None:
    base = [f"x{n} = {n}" for n in range(20)]
    ours, theirs = base.copy(), base.copy()
    ours[3], theirs[3], ours[15], theirs[15] = "a = 1", "b = 1", "c = 1", "d = 1"
    sides = [ending.join([*side, ""]) for side in (ours, base, theirs)]
    marked = merged_by_git(tmp_path, *sides)
    assert [hunk.number for hunk in hunks(marked)] == [1, 2]
    answer = "CONFLICT 1\n```\na = 1\nb = 1\n```\nBoth.\n\nCONFLICT 2\n```python\nd = 1\n```\n"
    wanted = ending.join([*base[:3], "a = 1", "b = 1", *base[4:15], "d = 1", *base[16:], ""])
    assert assemble(marked, parse(answer, 2)) == wanted


MISLEADING = {
    "outside": "=======\n" + MARKED,
    "inside": MARKED.replace("depth = 4\n", "=======\ndepth = 4\n"),
    "no base": MARKED.replace("||||||| base\n", ""),
    "no end": MARKED.replace(">>>>>>> theirs\nend", "end"),
    "end alone": "a\n>>>>>>> x\n",
    "twice": MARKED.replace("depth = 3\n", "<<<<<<< x\n"),
}


@pytest.mark.parametrize("marked", MISLEADING.values(), ids=MISLEADING.keys())
def test_what_looks_like_a_marker_is_for_a_person(marked: str) -> None:
    with pytest.raises(ConflictsRefused):
        hunks(marked)
    unassembled(marked, {1: "", 2: ""})


def test_longer_rows_of_signs_are_text() -> None:
    marked = MARKED.replace("import math\n", "Title\n==========\n")
    assert len(hunks(marked)) == 2
    assert assemble(marked, {1: "A\n========\n", 2: ""}).startswith("Title\n==========\n")


WILD = {
    "format": "CONFLICT 1\n```\na\n```\nCONFLICT 2\n```\n    b\n```",
    "headings": "### Conflict 1\n\nSo.\n\n```python\na\n```\n\n### Conflict 2:\n```\n    b\n```",
    "bold": "**Hunk 1:**\n~~~\na\n~~~\n**Hunk 2:**\n~~~\n    b\n~~~",
    "info": "```conflict 1\na\n```\n```python conflict 2\n    b\n```",
    "one fence around all": "````\nCONFLICT 1\n```\na\n```\nCONFLICT 2\n```\n    b\n```\n````",
    "list": "- Conflict 1\n  ```\n  a\n  ```\n- Conflict 2\n  ```\n      b\n  ```",
    "other order": "Conflict 2\n```\n    b\n```\nConflict 1\n```\na\n```",
    "thinking": "<think>Conflict 1\n```\nz\n```\n</think>\nConflict 1\n```\na\n```\nConflict 2\n"
    "```\n    b\n```",
    "CRLF": "CONFLICT 1\r\n```\r\na\r\n```\r\nCONFLICT 2\r\n```\r\n    b\r\n```\r\n",
}


@pytest.mark.parametrize("text", WILD.values(), ids=WILD.keys())
def test_wild_forms(text: str) -> None:
    assert parse(text, 2) == {1: "a\n", 2: "    b\n"}


def test_the_example_of_the_prompt_and_a_lone_block() -> None:
    assert parse(FORMAT, 1) == {1: "        self.dropout = 0.0\n        self.rotary = True\n"}
    assert parse("Here:\n```\na\n```", 1) == {1: "a\n"}
    assert parse("CONFLICT 1\n```\n```\n", 1) == {1: ""}


def test_missing_double_and_foreign_numbers_are_refused() -> None:
    one = "CONFLICT 1\n```\na\n```\n"
    assert "no resolution for conflict 2" in why(one, 2)
    assert "twice" in why(one + one.replace("a", "b"), 1)
    assert "no conflict 3" in why(one.replace("1", "3"), 1)
    assert "cut off" in why("CONFLICT 1\n```\na\n", 1)
    assert "no resolution" in why("", 1)


def test_a_resolution_holds_no_markers_gaps_or_control_characters() -> None:
    assert "marker" in unassembled(MARKED, {1: "<<<<<<< ours\n", 2: ""})
    assert "marker" in unassembled(MARKED, {1: "a\n=======\nb\n", 2: ""})
    assert "leaves lines out" in unassembled(MARKED, {1: "# ... rest unchanged\n", 2: ""})
    assert "U+001B" in unassembled(MARKED, {1: "\x1b[2J\n", 2: ""})
    assert "larger" in unassembled(MARKED, {1: "a\n" * 200_000, 2: ""})
    assert "2 conflicts" in unassembled(MARKED, {1: "a\n"})


LINE = st.sampled_from(["a", "b", "    c", "", "d\t", "<<<<<<<<< x", "=========", "é", "# x"])
SIDE = st.lists(LINE, max_size=5).map(lambda rows: "".join(f"{row}\n" for row in rows))


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(SIDE, SIDE, SIDE, SIDE, SIDE), max_size=5))
def test_hunks_and_assembly_are_exact(parts: list[tuple[str, str, str, str, str]]) -> None:
    marked, wanted, resolutions = "top\n", "top\n", {}
    for number, (ours, base, theirs, after, resolved) in enumerate(parts, 1):
        marked += f"<<<<<<< o\n{ours}||||||| b\n{base}=======\n{theirs}>>>>>>> t\n{after}"
        resolutions[number] = resolved.replace("<" * 9, "x")
        wanted += resolutions[number] + after
    assert [(h.ours, h.base, h.theirs) for h in hunks(marked)] == [part[:3] for part in parts]
    answer = "".join(f"CONFLICT {n}\n````\n{text}````\n" for n, text in resolutions.items())
    assert assemble(marked, parse(answer, len(parts))) == wanted


@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.sampled_from(
            [
                "CONFLICT 1",
                "```",
                "````",
                "~~~",
                "<<<<<<< x",
                "=======",
                "a",
                "\x00",
                "  ```",
                "hunk 2",
                "||||||| b",
                ">>>>>>> t",
                "\ud800",
            ]
        )
    )
)
def test_hostile_answers_end_in_the_refusal_only(lines: list[str]) -> None:
    text = "\n".join(lines)
    for attempt in (lambda: hunks(text), lambda: assemble(MARKED, parse(text, 2))):
        try:
            attempt()
        except ConflictsRefused as error:
            assert error.reason.isprintable()


@pytest.mark.parametrize(
    "unit", ["```\n", "```a\n", "CONFLICT 1\n", "<<<<<<< a\n", "`", "~~~\n```\n"]
)
def test_a_mebibyte_of_one_thing(unit: str) -> None:

    text = unit * (2**20 // len(unit)) + "CONFLICT 9"
    started = time.process_time()
    for call in (lambda: hunks(text), lambda: parse(text, 2)):
        try:
            call()
        except ConflictsRefused:
            continue
    assert time.process_time() - started < 4
