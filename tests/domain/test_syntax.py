"""Foreign Python is parsed by many threads, and can hang nobody."""

import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from darwin_git.domain.syntax import literal, parse

SEED = Path(__file__).parents[2] / "seed_repo"


def test_threads_parse_at_once() -> None:
    """CPython 3.11 raises SystemError where two threads build trees at the same time."""
    texts = [(SEED / name).read_bytes() for name in ("model.py", "train.py")] * 60
    with ThreadPoolExecutor(8) as pool:
        trees = list(pool.map(parse, texts))
    assert len({len(tree.body) for tree in trees}) == 2


def test_what_the_compiler_would_take_hours_for_is_parsed_at_once() -> None:
    text = "pass\n"
    for _ in range(40):
        body = "".join(f" {row}\n" for row in text.splitlines())
        text = f"try:\n{body}finally:\n{body}" if len(text) < 20_000 else text
    began = time.process_time()
    parse(text)
    assert time.process_time() - began < 2.0


def test_odd_escapes_are_the_genomes_own_matter() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        parse(r"x = '\d'")
        assert literal(r"{'a': '\d'}") == {"a": r"\d"}


@pytest.mark.parametrize(
    ("text", "error"),
    [("def", SyntaxError), ("x = 1\0", (SyntaxError, ValueError)), ("(" * 10_000, Exception)],
)
def test_what_is_no_python_raises(text: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        parse(text)
