"""Operators for any code: constants in four languages, choices and bounds, nothing mangled."""

import ast
import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from darwin_git.agents.catalogue import CatalogueAgent
from darwin_git.agents.operators import GenomeView, apply, comparable, constants
from darwin_git.ports import Assignment, Outcome, Proposal
from darwin_git.steps.exchange import unasked


def changed(path: str, text: str) -> dict[str, str]:
    """Every operator's result by its name."""
    files = {path: text}
    found = {}
    for operator in constants(files, files):
        result = apply(operator, GenomeView(files))
        assert result is not None and result.keys() == {path}, operator.name
        assert operator.family == "constants"
        found[operator.name] = result[path]
    return found


def values(path: str, text: str) -> dict[str, str]:
    """What each operator writes in the one line that it changes."""
    lines = {}
    for name, result in changed(path, text).items():
        old, new = text.splitlines(), result.splitlines()
        assert len(old) == len(new)
        (lines[name],) = [b for a, b in zip(old, new, strict=True) if a != b]
    return lines


@pytest.mark.parametrize(
    ("path", "line", "wanted"),
    [
        ("a.py", "SIZE = 8", {"size-x2": "SIZE = 16", "size-minus1": "SIZE = 7"}),
        ("a.py", "_RATE: float = 0.5  # why", {"rate-x1.25": "_RATE: float = 0.625  # why"}),
        ("a.py", "LAZY = False", {"lazy-on": "LAZY = True"}),
        ("a.py", "BYTES = 32 * 1024", {"bytes-x0.5": "BYTES = 16384"}),
        ("a.py", "WINDOW = 1 << 15", {"window-x2": "WINDOW = 1 << 16"}),
        ("a.py", "GAIN = -4", {"gain-x2": "GAIN = -8", "gain-x0.5": "GAIN = -2"}),
        ("b.c", "#define SIZE 8", {"size-plus1": "#define SIZE 9"}),
        ("b.h", "#  define SIZE 0x10u /* x */", {"size-x2": "#  define SIZE 0x20u /* x */"}),
        ("b.cpp", "static const int kSize = 8;", {"ksize-x2": "static const int kSize = 16;"}),
        ("b.cc", "constexpr double a = 0.5f;", {"a-x2": "constexpr double a = 1.0f;"}),
        ("b.c", "const unsigned long N = 1ul << 4;", {"n-x2": "const unsigned long N = 1ul << 5;"}),
        ("c.rs", "pub const N: usize = 8;", {"n-x0.5": "pub const N: usize = 4;"}),
        ("c.rs", "const F: f64 = 1.5;", {"f-x0.8": "const F: f64 = 1.2;"}),
        ("c.rs", "static ON: bool = true; // x", {"on-off": "static ON: bool = false; // x"}),
        ("d.toml", "block = 64", {"block-x2": "block = 128"}),
    ],
)
def test_a_constant_is_scaled_where_it_stands(path: str, line: str, wanted: dict[str, str]) -> None:
    text = f"\n{line}\n\n"
    found = values(path, text)
    assert wanted.items() <= found.items()


def test_what_a_comment_lists_is_all_that_it_may_become() -> None:
    line = 'MODE = "lazy"  # one of: greedy, lazy, optimal'
    assert values("a.py", line) == {
        "mode-greedy": line.replace('"lazy"', '"greedy"'),
        "mode-optimal": line.replace('"lazy"', '"optimal"'),
    }
    assert values("b.c", "#define MODE 2 // one of: 0, 1, 2").keys() == {"mode-0", "mode-1"}
    assert values("a.py", "N = 3  # from 2 to 4") == {
        "n-x0.5": "N = 2  # from 2 to 4",
        "n-x1.25": "N = 4  # from 2 to 4",
    }


@pytest.mark.parametrize(
    "text",
    [
        "size = 8",
        "def f():\n    SIZE = 8",
        '"""\nSIZE = 8\n"""',
        "VERSION = 3",
        "SEED = 7",
        "NAMES = [1, 2]",
        'NAME = "text"',
        "SIZE = 8 +",
        "BIG = " + "9" * 5000,
    ],
)
def test_what_is_no_tunable_constant_is_left_alone(text: str) -> None:
    assert changed("a.py", text) == {}


def test_tests_and_project_files_are_left_alone() -> None:
    files = dict.fromkeys(("tests/a.py", "test_a.py", "vendor/b.py", "docs/conf.py"), "SIZE = 8\n")
    files |= {"pyproject.toml": "line-length = 100\n", "Cargo.toml": "edition = 2021\n"}
    assert constants(files, files) == []
    assert constants({"a.py": "SIZE = 8\n"}, ()) == []


def test_two_constants_of_one_name_are_told_apart() -> None:
    files = {"one.py": "SIZE = 8\n", "two.py": "SIZE = 8\n"}
    names = {operator.name for operator in constants(files, files)}
    assert {"one.size-x2", "two.size-x2"} <= names
    assert all(re.fullmatch(r"[a-z0-9]+(?:[._-][a-z0-9]+)*", name) for name in names)


@given(st.text(max_size=60), st.floats(allow_nan=False, allow_infinity=False), st.text(max_size=60))
def test_whatever_stands_around_is_kept_byte_for_byte(
    before: str, value: float, after: str
) -> None:
    comment = "".join(c for c in before if c.isprintable())
    text = f"# {comment}\nX = {value!r}\n# {''.join(c for c in after if c.isprintable())}\n"
    for result in changed("a.py", text).values():
        assert result.startswith(f"# {comment}\nX = ")
        assert result.splitlines()[2:] == text.splitlines()[2:]
        ast.parse(result)


def test_hostile_text_costs_no_time() -> None:
    for text in (
        "const " + "a " * 50_000 + "= 3",
        "#define A " + "1" * 100_000,
        "static const " * 20_000,
        "A = " + "(" * 5_000 + "1" + ")" * 5_000,
    ):
        for path in ("a.c", "a.rs", "a.py", "a.toml"):
            changed(path, text)


def test_the_catalogue_draws_constants_for_any_code_and_nothing_else() -> None:
    files = {"sort.py": "CUT = 16\nFAST = True\n", "model.py": "class GPT:\n    pass\n"}
    task = Assignment(
        variant="0001/a1-on-a2",
        mutator="a1",
        target="a2",
        files=files,
        mutable=frozenset(files),
        train=("train.py",),
        frozen=frozenset(),
        seed=1,
        contract="command",
    )
    seen = set()
    for seed in range(60):
        task = replace(task, seed=seed, tried=frozenset(seen))
        answer = unasked(CatalogueAgent().propose(task))
        if not isinstance(answer, Proposal):
            break
        seen.add(answer.idea)
    assert seen >= {"cut-x2", "cut-plus1", "fast-off"}
    assert all(name.startswith(("cut-", "fast-")) for name in seen)


def test_outcomes_in_foreign_units_become_comparable() -> None:
    seen = [
        Outcome("a-x2", 500.0, 50.0),
        Outcome("b-x2", -1000.0, 50.0),
        Outcome("c-x2", None, 0.0),
    ]
    scaled = comparable(seen)
    assert [one.change for one in scaled] == pytest.approx([0.01, -0.02, None])
    assert comparable([Outcome("a", None, 0.0)]) == [Outcome("a", None, 0.0)]
