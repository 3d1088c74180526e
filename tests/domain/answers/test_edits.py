"""Edits: exactly, all together, or refused in words that say what to do."""

import json
import time
from collections.abc import Callable

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from benchmarks import hostile_answers
from darwin_git.domain.answers.edits import Edit, EditsRefused, apply, check
from darwin_git.domain.answers.parse import parse
from darwin_git.domain.scope import Scope

SCOPE = Scope(("**",), ("configurator.py", "data/*"))
MODEL = """\
class Block:
    def __init__(self):
        self.rate = 0.1
        self.bias = True

    def forward(self, x):
        # ... as in the paper
        return x
"""


def change(search: str, text: str, old: str = MODEL, path: str = "model.py") -> str | None:
    return apply({path: old}, [Edit(path, "replace", search, text)], SCOPE)[path]


def problem(*edits: Edit, files: dict[str, str] | None = None, scope: Scope = SCOPE) -> str:
    with pytest.raises(EditsRefused) as caught:
        apply({"model.py": MODEL} if files is None else files, edits, scope)
    return "\n".join(caught.value.problems)


def test_an_exact_anchor() -> None:
    assert change("        self.rate = 0.1\n", "        self.rate = 0.2\n") == MODEL.replace(
        "0.1", "0.2"
    )


def test_trailing_white_space_and_carriage_returns_do_not_matter() -> None:
    assert change("        self.rate = 0.1  \r\n", "        self.rate = 0.2\r\n") == MODEL.replace(
        "0.1", "0.2"
    )
    assert change("a = 1\n", "a = 2\n", "a = 1 \nb = 1\n") == "a = 2\nb = 1\n"


def test_one_difference_in_indentation_is_carried_over() -> None:
    found = change("self.rate = 0.1\nself.bias = True\n", "if x:\n    self.rate = 1\n\n")
    assert found == MODEL.replace(
        "        self.rate = 0.1\n        self.bias = True\n",
        "        if x:\n            self.rate = 1\n\n",
    )
    deep = "            self.rate = 0.1\n"
    assert change(deep, deep.replace("0.1", "0.2")) == MODEL.replace("0.1", "0.2")
    assert "indented further" in problem(Edit("model.py", "replace", deep, "self.rate = 2\n"))
    uneven = Edit("model.py", "replace", "self.rate = 0.1\n  self.bias = True\n", "pass\n")
    assert "does not occur" in problem(uneven)


def test_lines_are_whole_lines() -> None:
    assert "does not occur" in problem(Edit("model.py", "replace", "rate = 0.1\n", "rate = 1\n"))


@pytest.mark.parametrize(
    ("search", "text"),
    [
        ("\n    b = 2\n\n", "\n    b = 3\n\n"),
        ("\n    b = 2\n\n", "    b = 3\n"),
        ("```python\n    b = 2\n```\n", "```python\n    b = 3\n```\n"),
        ("\n```\n    b = 2\n```\n", "\n```\n    b = 3\n```\n"),
    ],
)
def test_fences_and_empty_lines_around_an_anchor_do_not_matter(search: str, text: str) -> None:
    files = {"model.py": "def f():\n    a = 1\n    b = 2\n    return a + b\n"}
    changed = apply(files, [Edit("model.py", "replace", search, text)], SCOPE)
    assert changed == {"model.py": files["model.py"].replace("b = 2", "b = 3")}
    # Where the file has them itself, they are its own.
    notes = {"notes.md": "```\nx\n```\n"}
    edit = Edit("notes.md", "replace", "```\nx\n```\n", "```\ny\n```\n")
    assert apply(notes, [edit], SCOPE) == {"notes.md": "```\ny\n```\n"}


def test_a_search_in_a_thousand_fences_is_no_crash() -> None:
    deep = "```\n" * 5000
    edit = Edit("model.py", "replace", f"{deep}a = 1\n{deep}", f"{deep}a = 2\n{deep}")
    with pytest.raises(EditsRefused, match="does not occur"):
        apply({"model.py": "a = 1\n"}, [edit], SCOPE)


def test_a_part_under_the_name_of_the_whole_is_refused() -> None:
    """Or else one setting, shown alone, would throw all others away and train with defaults."""
    config = "".join(f"{name} = 1\n" for name in ("width", "depth", "rate", "decay", "steps"))
    with pytest.raises(EditsRefused, match=r"lose 4 of its 5 top-level names \(decay, depth, rate"):
        apply({"model.py": config}, [Edit("model.py", "write", text="width = 2\n")], SCOPE)
    whole = config.replace("width = 1", "width = 2").replace("steps = 1\n", "")
    assert apply({"model.py": config}, [Edit("model.py", "write", text=whole)], SCOPE)
    # What is really to go is taken out line by line.
    cut = Edit("model.py", "replace", config.partition("\n")[2], "")
    assert apply({"model.py": config}, [cut], SCOPE) == {"model.py": "width = 1\n"}


def test_a_missing_anchor_shows_the_nearest_lines_with_their_numbers() -> None:
    found = problem(
        Edit("model.py", "replace", "        self.rate = 0.5\n        self.bias = True\n", "x\n")
    )
    assert "does not occur" in found
    assert "3:         self.rate = 0.1" in found
    near = problem(Edit("model.py", "replace", "        self.rat = 0.1\n", "x\n"))
    assert "3:         self.rate = 0.1" in near


def test_an_ambiguous_anchor_names_its_places() -> None:
    files = {"a.txt": "x\ny\nx\ny\nx\n"}
    found = problem(Edit("a.txt", "replace", "x\n", "z\n"), files=files)
    assert "occurs 3 times, at lines 1, 3, 5" in found
    many = problem(Edit("a.txt", "replace", "x\n", "z\n"), files={"a.txt": "x\n" * 99})
    assert "more than 10 times" in many


def test_edits_apply_in_order_each_to_the_last_result() -> None:
    edits = [Edit("a.txt", "replace", "a\n", "b\nc\n"), Edit("a.txt", "replace", "c\n", "d\n")]
    assert apply({"a.txt": "a\n"}, edits, SCOPE) == {"a.txt": "b\nd\n"}


def test_all_or_nothing_and_every_problem_is_told() -> None:
    found = problem(
        Edit("model.py", "replace", "        self.rate = 0.1\n", "        self.rate = 1\n"),
        Edit("model.py", "replace", "absent\n", "x\n"),
        Edit("../x.py", "write", text="x\n"),
        Edit("models.py", "replace", "x\n", "y\n"),
    )
    assert "edit 2 of model.py" in found
    assert "../x.py is refused" in found
    assert "no file models.py; did you mean model.py?" in found


def test_line_endings_and_the_last_newline_stay() -> None:
    assert change("b\n", "c\nd\n", "a\r\nb\r\n", "x") == "a\r\nc\r\nd\r\n"
    assert change("b\n", "c\n", "a\nb", "x") == "a\nc"
    assert change("b\n", "c\n", "a\r\nb", "x") == "a\r\nc"
    assert change("b\n", "", "a\r\nb", "x") == "a"
    assert change("a\nb\n", "", "a\nb\n", "x") == ""
    assert change("a\n", "c\n", "a\nb", "x") == "c\nb"
    write = [Edit("x", "write", text="c\nd\n")]
    assert apply({"x": "a\r\nb\r\n"}, write, SCOPE) == {"x": "c\r\nd\r\n"}
    assert apply({"x": "a\nb"}, write, SCOPE) == {"x": "c\nd"}
    assert apply({}, write, SCOPE) == {"x": "c\nd\n"}


def test_new_files_and_deletions() -> None:
    edits = [Edit("rope.py", "replace", "", "x = 1\n"), Edit("model.py", "delete")]
    assert apply({"model.py": MODEL}, edits, SCOPE) == {"rope.py": "x = 1\n", "model.py": None}
    assert "exists already" in problem(Edit("model.py", "replace", "", "x = 1\n"))
    assert "no such file" in problem(Edit("none.py", "delete"))


def test_nothing_to_do_is_refused() -> None:
    row = "        self.rate = 0.1\n"
    assert "changes nothing" in problem(Edit("model.py", "replace", row, row))
    assert "change nothing" in problem(Edit("model.py", "write", text=MODEL))
    back = row.replace("0.1", "0.2")
    there = Edit("model.py", "replace", row, back)
    assert "change nothing" in problem(there, Edit("model.py", "replace", back, row))
    assert "nothing to change" in problem()


@pytest.mark.parametrize("path", hostile_answers.PATHS)
def test_hostile_paths(path: str) -> None:
    files = dict(hostile_answers.FILES)
    for edit in (Edit(path, "write", text="x = 1\n"), Edit(path, "replace", "", "x = 1\n")):
        if path in ("-rf.py", "~/x.py"):
            continue  # odd, and harmless where the scope allows them
        found = problem(edit, files=files, scope=Scope(("**",), ("configurator.py", "data/*")))
        assert found.replace("\n", "").isprintable()
        assert len(found) < 400


def test_paths_outside_the_scope_say_what_is_inside() -> None:
    found = problem(Edit("x.md", "write", text="x"), scope=Scope(("*.py",), ("bench.py",)))
    assert "what may be changed is *.py, but not bench.py" in found


@pytest.mark.parametrize("part", [".git.", ".GIT", "git~1", "GIT~2", ".git ", ".gitattributes"])
def test_git_by_any_name(part: str) -> None:
    assert "refused" in problem(Edit(f"a/{part}/x.py", "write", text="x = 1\n"))


def test_files_and_folders_do_not_collide() -> None:
    assert "is a file" in problem(Edit("model.py/x.py", "write", text="x = 1\n"))
    files = {"config/tiny.py": "x = 1\n"}
    assert "it is a folder" in problem(Edit("config", "write", text="x"), files=files)
    edits = [Edit("config/tiny.py", "delete"), Edit("config", "write", text="x\n")]
    assert apply(files, edits, SCOPE) == {"config/tiny.py": None, "config": "x\n"}


@pytest.mark.parametrize(
    "bad", ["\x00", "\x1b[2J", "\r", "\x7f", "\x9b", "\u202e", "\u2066", "\ud800"]
)
def test_characters_that_lie(bad: str) -> None:
    found = problem(Edit("a.txt", "write", text=f"x{bad}y\n"))
    assert "the new text" in found
    assert found.isprintable()


def test_form_feeds_and_tabs_are_text() -> None:
    text = "a\n\x0c\n\tb = 'ü\u2028'\n"
    assert apply({}, [Edit("a.txt", "write", text=text)], SCOPE) == {"a.txt": text}


def test_sizes() -> None:
    assert "larger than 256 KiB" in problem(Edit("a.txt", "write", text="x" * 270_000))
    big = [Edit(f"a{n}.txt", "write", text="x" * 250_000) for n in range(5)]
    assert "too large" in problem(*big)
    assert "too many" in problem(*[Edit(f"a{n}.txt", "write", text="x") for n in range(65)])


@pytest.mark.parametrize(
    "bad",
    [
        "x = (",
        "def f():\nx",
        "(" * 300,
        "-" * 90_000 + "1",
        "x" + ".a" * 50_000,
        "[" * 90 + "\n",
        "'\\N{nothing}'",
    ],
)
def test_python_must_parse(bad: str) -> None:
    found = problem(Edit("model.py", "write", text=bad + "\n"))
    assert "model.py would not parse" in found
    assert found.replace("\n", "").isprintable()


def test_code_that_takes_a_compiler_exponential_time_is_only_read() -> None:
    pads = [" " * depth for depth in range(19)]
    code = "".join(f"{pad}try:\n{pad} f()\n{pad}finally:\n" for pad in pads) + " " * 19 + "f()\n"
    started = time.thread_time()
    assert check("a.py", code) is None
    assert time.thread_time() - started < 0.5


def test_a_syntax_error_says_the_line() -> None:
    found = problem(Edit("model.py", "replace", "        return x\n", "        return (x\n"))
    assert "line 8" in found
    assert "was never closed" in found
    assert check("a.txt", "x = (") is None


def test_a_file_that_did_not_parse_before_need_not_parse_now() -> None:
    assert change("x = (\n", "y = (\n", "x = (\n") == "y = (\n"


def test_warnings_of_a_models_code_stay_inside() -> None:
    assert apply({}, [Edit("a.py", "write", text="x = '\\d' is 1\nassert (1, 2)\n")], SCOPE)


ELISIONS = [
    "# ... rest unchanged",
    "# existing code",
    "# ... existing code ...",
    "// ...",
    "...",
    "# (rest of the file remains the same)",
    "# rest of the code unchanged",
    "# …",
    "        # ... (unchanged)",
    "# Keep the rest of the class as is ...",
    "# (no changes)",
    "# same as before",
    "# [...]",
    "# rest of __init__",
    "# The rest of the model is unchanged",
    "# Everything else stays the same.",
    "# Other settings unchanged",
    "# \u5176\u4f59\u4ee3\u7801\u4fdd\u6301\u4e0d\u53d8",
]


@pytest.mark.parametrize("line", ELISIONS)
def test_gaps_are_refused(line: str) -> None:
    for edit in (
        Edit("model.py", "write", text=f"x = 1\n{line}\n"),
        Edit("model.py", "replace", "        return x\n", f"        return 1\n{line}\n"),
        Edit("model.py", "replace", f"class Block:\n{line}\n        return x\n", "pass\n"),
    ):
        assert "exact text" in problem(edit)


def test_what_only_looks_like_a_gap_is_taken() -> None:
    row = "        # ... as in the paper\n"
    assert change(f"{row}        return x\n", f"{row}        return 2 * x\n")
    for line in (
        "    ...",
        "# The rest is attention.",
        "# Existing weights are scaled.",
        "# Everything else is data.",
        "# Dropout of zero leaves x unchanged.",
        "# Same as above, for the keys.",
        "# The rest of the batch is padding.",
        "# All other heads are masked.",
        "# Shapes.",
    ):
        assert apply({}, [Edit("a.py", "write", text=f"def f():\n    pass\n{line}\n")], SCOPE)


def test_a_missing_anchor_in_a_long_file_is_quick() -> None:
    text = "".join(
        f"    value_{n} = compute(alpha, beta_{n}, gamma={n % 7})\n" for n in range(2000)
    )
    search = "".join(f"    value_{n} = compute(alpha, beta {n}, gamma=9)\n" for n in range(40))
    edit = Edit("a.txt", "replace", search, "x\n")
    best = 1.0
    for _ in range(5):
        started = time.thread_time()
        found = problem(edit, files={"a.txt": text})
        best = min(best, time.thread_time() - started)
    assert best < 0.05
    assert all(len(line) < 220 for line in found.split("\n")[1:])
    assert len(found.split("\n")) <= 13


ROWS = st.sampled_from(
    [
        "x = 1",
        "x = 2",
        "    y = x",
        "\ty",
        "",
        "    ",
        "z  ",
        "```",
        "```python",
        "# model.py",
        "=======",
        "<<<<<<< SEARCH",
        ">>>>>>> REPLACE",
        "@@ -1 +1 @@",
        "*** x",
        "model.py",
        "{",
        '"""',
        "<think>",
        "ü\x0c",
        "    =======",
        "~~~",
        "\\ No newline",
    ]
) | st.integers(0, 99).map("value = {}".format)
TEXTS = st.lists(ROWS, min_size=1, max_size=14)


def _anchor(rows: list[str], start: int, end: int) -> tuple[int, int]:
    """The lines around a change, as many as make them unique and not blank at the edges."""
    text = "\n".join(["", *rows, ""])
    while True:
        piece = rows[start:end]
        needle = "\n".join(["", *piece, ""])
        once = text.count(needle) == 1 and text.find(needle) == text.rfind(needle)
        if piece and piece[0].strip() and piece[-1].strip() and once:
            return start, end
        if start == 0 and end == len(rows):
            return start, end
        start, end = max(0, start - 1), min(len(rows), end + 1)


def _block(old: list[str], new: list[str], marks: int = 9) -> str:
    body = "".join(f"{row}\n" for row in old) + "=" * marks + "\n"
    body += "".join(f"{row}\n" for row in new)
    return f"notes.txt\n{'<' * marks} SEARCH\n{body}{'>' * marks} REPLACE\n"


def _indented(old: list[str], new: list[str]) -> str:
    return "1. Do:\n\n" + "".join(f"   {row}\n" for row in _block(old, new).split("\n")[:-1])


def _rows(old: list[str], new: list[str]) -> str:
    return "".join(f"-{row}\n" for row in old) + "".join(f"+{row}\n" for row in new)


def _diff(old: list[str], new: list[str]) -> str:
    return f"````diff\n--- a/notes.txt\n+++ b/notes.txt\n@@ -7,1 +9,1 @@\n{_rows(old, new)}````\n"


def _patch(old: list[str], new: list[str]) -> str:
    return f"*** Begin Patch\n*** Update File: notes.txt\n@@\n{_rows(old, new)}*** End Patch\n"


def _json(old: list[str], new: list[str]) -> str:
    pair = {"search": "\n".join([*old, ""]), "replace": "\n".join([*new, ""]) if new else ""}
    return json.dumps({"edits": [{"path": "notes.txt", **pair}]}) + "\n"


STYLES: dict[str, Callable[[list[str], list[str]], str]] = {
    "block": _block,
    "fenced": lambda old, new: f"```\n{_block(old, new)}```\n",
    "four": lambda old, new: f"````text\n{_block(old, new)}````\n",
    "windows": lambda old, new: _block(old, new).replace("\n", "\r\n"),
    "indented": _indented,
    "diff": _diff,
    "patch": _patch,
    "json": _json,
}


@settings(max_examples=600, deadline=None)
@given(TEXTS, TEXTS, st.data(), st.sampled_from(sorted(STYLES)), st.booleans())
def test_every_well_formed_answer_applies(
    rows: list[str], new: list[str], data: st.DataObject, style: str, header: bool
) -> None:
    start = data.draw(st.integers(0, len(rows) - 1))
    end = data.draw(st.integers(start, len(rows)))
    first, last = _anchor(rows, start, end)
    old = rows[first:last]
    assume(any(row.strip() for row in old))
    edited = rows[first:start] + new + rows[end:last]
    assume(edited != old)
    text = STYLES[style](old, edited)
    if header:
        text = f'```json\n{{"idea": "an-idea", "title": "Do it"}}\n```\n\n{text}\nThat is all.\n'
    before = "".join(f"{row}\n" for row in rows)
    after = "".join(f"{row}\n" for row in [*rows[:first], *edited, *rows[last:]])
    answer = parse(text, ["notes.txt", "model.py"])
    assert apply({"notes.txt": before, "model.py": ""}, answer.edits, SCOPE) == {"notes.txt": after}


@settings(max_examples=200, deadline=None)
@given(TEXTS)
def test_every_whole_file_applies(rows: list[str]) -> None:
    assume(not any("<<<" in row or ">>>" in row or "``" in row for row in rows))
    text = "".join(f"{row}\n" for row in rows)
    for answer in (f"````text notes.txt\n{text}````\n", f"notes.txt\n````\n{text}````\n"):
        edits = parse(answer, ["notes.txt"]).edits
        assert apply({"notes.txt": "old\n"}, edits, SCOPE) == {"notes.txt": text}


def test_ten_thousand_hostile_answers() -> None:
    outcomes = {hostile_answers.judge(seed=4, number=number)[0] for number in range(10_000)}
    assert outcomes == {"answer refused", "edits refused", "applied"}
