"""Foreign Python, parsed: by one thread at a time, and never compiled.

CPython 3.11 counts the depth of the trees that it builds in one place for all threads, so two
that parse at once raise SystemError; catch_warnings is global state, too. compile() takes
exponential time for finally clauses within each other: seconds at twenty, hours at thirty.
"""

import ast
import threading
import warnings
from typing import Any

_ONE_AT_A_TIME = threading.Lock()


def parse(source: str | bytes, path: str = "<genome>") -> ast.Module:
    """The syntax tree.

    Raises:
        SyntaxError: it is no Python.
        ValueError: NUL bytes, or a byte that the declared encoding does not know.
        RecursionError, MemoryError: it is nested too deeply.
    """
    with _ONE_AT_A_TIME, warnings.catch_warnings():
        # An invalid escape warns: the genome's own matter, and no error where warnings are errors.
        warnings.simplefilter("ignore")
        return ast.parse(source, path)


def literal(text: str) -> Any:
    """The value of a Python literal; raises as `parse` does, and TypeError for odd keys."""
    with _ONE_AT_A_TIME, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return ast.literal_eval(text)
