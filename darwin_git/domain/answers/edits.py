"""Edits of a mutation: applied exactly and all together, or refused in words a model can act on.

An anchor is found by whole lines: as they are, then without trailing white space, then with
one difference in indentation for all of them. Nothing fuzzier: an edit in the wrong place is worse
than one that is asked for again.
"""

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from darwin_git.domain.answers.anchor import Found, find, nearest
from darwin_git.domain.answers.rules import (
    MAX_FILE,
    check,
    clash,
    elision,
    gutted,
    one_of_ours,
    parses,
    path_problem,
    size,
    text_problem,
)
from darwin_git.domain.scope import Scope

__all__ = ["Edit", "EditsRefused", "apply", "check"]

MAX_EDITS = 64
MAX_TOTAL = 2**20
MAX_PROBLEMS = 8
MAX_QUOTING = 4
"""So many missing anchors get the nearest lines; a model mends no more than that at once."""


@dataclass(frozen=True)
class Edit:
    """One change of one file.

    Attributes:
        kind: ``replace``: the lines of `search` by those of `text`, where an empty `search` makes
            a new file; ``write``: the whole file; ``delete``.
    """

    path: str
    kind: Literal["replace", "write", "delete"]
    search: str = ""
    text: str = ""


class EditsRefused(Exception):
    """Edits that were not applied, none of them.

    Attributes:
        problems: sentences for the model that wrote them, bounded and without control characters.
    """

    def __init__(self, problems: Sequence[str]) -> None:
        rest = len(problems) - MAX_PROBLEMS
        more = (f"… and {rest} more problems.",) if rest > 0 else ()
        self.problems = (*problems[:MAX_PROBLEMS], *more)
        super().__init__("\n".join(self.problems))


def apply(files: Mapping[str, str], edits: Sequence[Edit], scope: Scope) -> dict[str, str | None]:
    """Whole new contents of the files that change; None deletes.

    Raises:
        EditsRefused: with everything that is wrong; then nothing is applied.
    """
    if not edits:
        raise EditsRefused(["there is nothing to change in your answer: send at least one edit."])
    if len(edits) > MAX_EDITS:
        raise EditsRefused([f"{len(edits)} edits are too many: at most {MAX_EDITS} in an answer."])
    if sum(size(edit.search) + size(edit.text) for edit in edits) > MAX_TOTAL:
        raise EditsRefused([f"the edits are too large: at most {MAX_TOTAL // 1024} KiB together."])
    work = _Work(files, scope)
    for number, edit in enumerate(edits, 1):
        work.take(number, edit)
    return work.result()


class _Work:
    """Edits applied so far: `now` holds the files that were touched."""

    def __init__(self, files: Mapping[str, str], scope: Scope) -> None:
        self.files = files
        self.scope = scope
        self.now: dict[str, str | None] = {}
        self.problems: list[str] = []
        self.quoted = 0
        self.refused: set[str] = set()

    def take(self, number: int, edit: Edit) -> None:
        """Apply one edit, or note why not."""
        problem = path_problem(edit.path, self.scope)
        name = one_of_ours(edit.path)
        if problem is not None:
            if edit.path not in self.refused:
                self.problems.append(problem)
            self.refused.add(edit.path)
            return
        problem = text_problem(edit.text) or self._elided(edit)
        if problem is not None:
            self.problems.append(f"edit {number} of {name}: {problem}")
            return
        if edit.kind == "delete":
            self._delete(name, edit.path)
        elif edit.kind == "write":
            self._write(edit)
        else:
            self._replace(number, edit)

    def _current(self, path: str) -> str | None:
        return self.now[path] if path in self.now else self.files.get(path)

    def _elided(self, edit: Edit) -> str | None:
        original = self.files.get(edit.path, "")
        found = elision(edit.text, original) or elision(edit.search, original)
        if found is None:
            return None
        return (
            f"the line {found} stands for text that you left out. Give the exact text in full, "
            "or a smaller SEARCH/REPLACE block that holds only the lines around the change."
        )

    def _delete(self, name: str, path: str) -> None:
        if self._current(path) is None:
            self.problems.append(f"{name} cannot be deleted: there is no such file.")
        else:
            self.now[path] = None

    def _write(self, edit: Edit) -> None:
        old = self._current(edit.path)
        text = edit.text.replace("\r\n", "\n")
        if old:
            if not old.endswith("\n"):
                text = text.removesuffix("\n")
            elif text and not text.endswith("\n"):
                text += "\n"
            text = text.replace("\n", _ending(old))
            if problem := gutted(edit.path, old, text):
                self.problems.append(problem)
        elif text and not text.endswith("\n"):
            text += "\n"
        self.now[edit.path] = text

    def _replace(self, number: int, edit: Edit) -> None:
        name, old = one_of_ours(edit.path), self._current(edit.path)
        if not edit.search.strip():
            if old:
                self.problems.append(
                    f"edit {number}: {name} exists already, and an empty SEARCH makes a new file. "
                    "Name the lines to be replaced, or send the whole file in a fence."
                )
            else:
                self._write(edit)
            return
        if old is None:
            self.problems.append(f"edit {number}: there is no file {name}{self._similar(edit)}.")
            return
        if size(old) > 4 * MAX_FILE:
            self.problems.append(f"edit {number}: {name} is too large to be edited.")
            return
        found = find(old, edit.search, edit.text)
        if found.text is None:
            self.problems.append(self._missed(number, edit, old, found))
        elif found.text == old:
            self.problems.append(
                f"edit {number} of {name} changes nothing: the new lines are the old ones."
            )
        else:
            self.now[edit.path] = found.text

    def _missed(self, number: int, edit: Edit, old: str, found: Found) -> str:
        where = f"edit {number} of {one_of_ours(edit.path)}: "
        if found.problem:
            return where + found.problem
        if found.lines:
            places = ", ".join(map(str, found.lines))
            times = f"more than {len(found.lines)}" if found.more else str(len(found.lines))
            return (
                f"{where}the SEARCH text occurs {times} times, at lines {places}. Add lines "
                "before or after it, so that it occurs exactly once."
            )
        problem = f"{where}the SEARCH text does not occur in the file as it is now."
        if self.quoted < MAX_QUOTING:
            self.quoted += 1
            lines = nearest(old, edit.search)
            if lines:
                problem += " The nearest lines, with their numbers:\n" + "\n".join(lines)
        return problem

    def _similar(self, edit: Edit) -> str:
        paths = [path for path in self.files if self.scope.allows(path)][:300]
        close = difflib.get_close_matches(edit.path[:200], paths, 1)
        return f"; did you mean {close[0]}?" if close else ""

    def result(self) -> dict[str, str | None]:
        """What changes; raises EditsRefused for what was noted, or what is wrong as a whole."""
        changed = {path: text for path, text in self.now.items() if text != self.files.get(path)}
        if not self.problems:
            self._judge(changed)
        if self.problems:
            raise EditsRefused(self.problems)
        return changed

    def _judge(self, changed: Mapping[str, str | None]) -> None:
        if not changed:
            self.problems.append("your edits change nothing: the files would stay as they are.")
        same = [path for path in self.now if path not in changed and path in self.files]
        self.problems += [
            f"your edits leave {one_of_ours(path)} as it is." for path in same if changed
        ]
        collision = clash(self.files, changed)
        if collision is not None:
            self.problems.append(collision)
        for path, text in changed.items():
            if text is None:
                continue
            problem = check(path, text)
            if problem is not None and (size(text) > MAX_FILE or _was_good(self.files, path)):
                self.problems.append(problem)


def _was_good(files: Mapping[str, str], path: str) -> bool:
    """A file that did not parse before need not parse afterwards."""
    return path not in files or parses(path, files[path]) is None


def _ending(text: str) -> str:
    """The line ending that most lines of a file have."""
    windows = text.count("\r\n")
    return "\r\n" if 2 * windows > text.count("\n") else "\n"
