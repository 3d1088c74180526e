"""What an operator is, and how one is applied: pure functions from text to text."""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from darwin_git.domain.families import Family
from darwin_git.domain.syntax import parse

from .genome import Genome, GenomeView
from .source import Edit, NotApplicable, splice

Transform = Callable[[Genome], Sequence[Edit]]

NAME = re.compile(r"[a-z0-9]+(?:[._-][a-z0-9]+)*")


@dataclass(frozen=True)
class Operator:
    """A named mutation with the hypothesis behind it.

    `prior_mean` and `prior_sd` are the expected change of the validation loss in nats per token
    (negative is better), from what is published; `why` names the source.
    """

    name: str
    family: Family
    title: str
    why: str
    expected: str
    prior_mean: float
    prior_sd: float
    risk: Literal["low", "medium", "high"]
    transform: Transform = field(repr=False, compare=False)
    kind: Literal["named", "numeric"] = "named"
    # Scales a setting: applies to its own result again, within the setting's bounds.
    repeatable: bool = False


def apply(operator: Operator, view: GenomeView) -> dict[str, str] | None:
    """The changed files only, or None where the operator does not apply."""
    return _apply(operator, Genome(view))


def applicable(
    operators: Iterable[Operator], view: GenomeView, frozen_keys: Iterable[str] = ()
) -> list[Operator]:
    """The operators that would change something. Frozen settings are never edited."""
    genome = Genome(replace(view, frozen=view.frozen | frozenset(frozen_keys)))
    return [operator for operator in operators if _apply(operator, genome) is not None]


def _apply(operator: Operator, genome: Genome) -> dict[str, str] | None:
    try:
        edits = list(operator.transform(genome))
        files = {edit.path: genome.view.files[edit.path] for edit in edits}
        changed = {
            path: splice(text, [edit for edit in edits if edit.path == path])
            for path, text in files.items()
            if not _already_there(text, edits, path)
        }
    except NotApplicable:
        return None
    changed = {path: text for path, text in changed.items() if text != files[path]}
    # All of it or nothing: half an operator is a broken genome.
    if (
        not changed
        or changed.keys() != files.keys()
        or not all(map(_compiles, changed, changed.values()))
    ):
        return None
    return changed


def _already_there(text: str, edits: Sequence[Edit], path: str) -> bool:
    """Whether lines to be inserted stand in the file: the operator was applied before."""
    return any(
        edit.path == path and edit.start == edit.end and edit.text.strip() in text for edit in edits
    )


def _compiles(path: str, text: str) -> bool:
    if not path.endswith(".py"):
        return True
    try:
        parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return True
