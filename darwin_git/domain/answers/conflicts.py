"""Conflicts of a crossover, hunk by hunk: what a mutator is shown, and what it answers.

The text has git's own markers (diff3 style). Where lines of the file could be taken for markers,
it is refused: such a file is for a person.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from darwin_git.domain.answers.rules import MAX_FILE, elision, size, text_problem
from darwin_git.domain.answers.text import FENCE, AnswerRefused, dedented, lines_of, quoted

CONTEXT = 4
MAX_HUNKS = 64

FORMAT = """\
Answer with one fenced block for every conflict, each with the word CONFLICT and its number on the \
line before it. For example:

CONFLICT 1
```
        self.dropout = 0.0
        self.rotary = True
```

- The block holds the lines that are to stand in the place of the conflict, with their \
indentation, and not the lines before and after it. An empty block leaves nothing there.
- Keep what both sides mean to change; where they exclude each other, choose one and say why in \
a sentence before the block.
- No conflict markers, and no "..." for lines that you leave out.
"""

_MARKER = re.compile(r"(<{7}|\|{7}|={7}|>{7})(?: .*)?\r?")
_NEXT = {"": "<", "<": "|", "|": "=", "=": ">"}
_NUMBER = re.compile(
    r"[ \t]*(?:[-*>]+[ \t]*|#{1,6}[ \t]*)?[*_`]{0,3}(?:conflict|hunk|resolution)[ \t]*(?:no\.?|#)?"
    r"[ \t]*(\d{1,6})\b",
    re.IGNORECASE,
)


class ConflictsRefused(Exception):
    """Conflicts that cannot be told apart, or an answer that does not resolve them.

    Attributes:
        reason: for the model, bounded.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True)
class Hunk:
    """One conflict of a file; every text ends with a newline or is empty.

    Attributes:
        number: from 1, in the order of the file.
        before, after: a few lines around it that are not in conflict.
    """

    number: int
    ours: str
    base: str
    theirs: str
    before: str
    after: str


Part = list[str]
"""The lines of one side, or of the file between two conflicts."""


def hunks(marked: str) -> list[Hunk]:
    """The conflicts of a file with git's diff3 markers.

    Raises:
        ConflictsRefused: where markers are not in order, or lines of the file look like some.
    """
    plain, conflicts = _parts(marked)
    return [
        Hunk(
            number,
            "".join(ours),
            "".join(base),
            "".join(theirs),
            before="".join(plain[number - 1][-CONTEXT:]),
            after="".join(plain[number][:CONTEXT]),
        )
        for number, (ours, base, theirs) in enumerate(conflicts, 1)
    ]


def _parts(marked: str) -> tuple[list[Part], list[tuple[Part, Part, Part]]]:
    """What is not in conflict, one part more than there are conflicts; (ours, base, theirs)."""
    plain: list[Part] = [[]]
    conflicts: list[tuple[Part, Part, Part]] = []
    state = ""
    for number, line in enumerate(_lines(marked), 1):
        found = _MARKER.fullmatch(line.removesuffix("\n"))
        if found is None:
            (plain[-1] if not state else conflicts[-1]["<|=".index(state)]).append(line)
            continue
        sign = found[1][0]
        if sign != _NEXT[state] or (sign == "=" and found[0].rstrip("\r") != "=" * 7):
            raise ConflictsRefused(
                f"line {number} looks like a conflict marker where none can be: the conflicts "
                "of this file cannot be told apart."
            )
        state = "" if sign == ">" else sign
        if sign == "<":
            conflicts.append(([], [], []))
        elif sign == ">":
            plain.append([])
    if state:
        raise ConflictsRefused("the last conflict of this file has no end.")
    if len(conflicts) > MAX_HUNKS:
        raise ConflictsRefused(f"{len(conflicts)} conflicts are too many: at most {MAX_HUNKS}.")
    return plain, conflicts


def _lines(text: str) -> list[str]:
    """Lines with their newlines; nothing but a newline ends a line."""
    lines = [line + "\n" for line in text.split("\n")]
    lines[-1] = lines[-1].removesuffix("\n")
    return lines if lines[-1] else lines[:-1]


def parse(text: str, count: int) -> dict[int, str]:
    """The resolution of every conflict by its number.

    Raises:
        ConflictsRefused: where one is missing, there twice, or cut off.
    """
    try:
        lines = lines_of(text)
    except AnswerRefused as error:
        raise ConflictsRefused(error.reason) from None
    found: dict[int, str] = {}
    for number, body in _blocks(lines, count):
        if number in found and found[number] != body:
            raise ConflictsRefused(
                f"conflict {number} is resolved twice: send one block for each conflict."
            )
        if not 1 <= number <= count:
            raise ConflictsRefused(f"there is no conflict {number}: they go from 1 to {count}.")
        found[number] = body
    missing = [str(number) for number in range(1, count + 1) if number not in found]
    if missing:
        raise ConflictsRefused(
            f"no resolution for conflict {', '.join(missing[:20])}: write CONFLICT and its number "
            "on the line before each fenced block."
        )
    return found


def _blocks(lines: Sequence[str], count: int) -> list[tuple[int, str]]:
    """(number, text) of every fence that a number stands before, or that holds one."""
    result: list[tuple[int, str]] = []
    unnumbered: list[str] = []
    number, at = 0, 0
    last = max((n for n, line in enumerate(lines) if _NUMBER.match(line[:200])), default=-1)
    while at < len(lines):
        said = _NUMBER.match(lines[at][:200])
        fence = FENCE.fullmatch(lines[at])
        if said:
            number = int(said[1])
        if fence is None or (fence[2][0] == "`" and "`" in fence[3]):
            at += 1
            continue
        named = _NUMBER.search(fence[3][:200])
        end = _close(lines, at + 1, fence)
        if end is None and at >= last and (number or any(map(str.strip, lines[at + 1 :]))):
            raise ConflictsRefused(
                "your answer was cut off: it ends in the middle of a block. Answer again in full."
            )
        if end is None:  # one fence around everything: go on inside of it
            at += 1
            continue
        body = "".join(line + "\n" for line in dedented(lines[at + 1 : end], fence[1]))
        number = int(named[1]) if named else number
        if number:
            result.append((number, body))
        else:
            unnumbered.append(body)
        number, at = 0, end + 1
    if not result and count == 1 and len(unnumbered) == 1:
        return [(1, unnumbered[0])]
    return result


def _close(lines: Sequence[str], start: int, fence: re.Match[str]) -> int | None:
    """The line that ends a fence; None where there is none before the next number."""
    for at in range(start, len(lines)):
        found = FENCE.fullmatch(lines[at])
        if (
            found
            and found[2][0] == fence[2][0]
            and len(found[2]) >= len(fence[2])
            and len(found[1]) <= len(fence[1])
        ):
            return None if found[3].strip() else at
        if found is None and _NUMBER.match(lines[at][:200]):
            return None
    return None


def assemble(marked: str, resolutions: Mapping[int, str]) -> str:
    """The file with every conflict resolved, without a marker left.

    Line endings are the file's. Whether it parses, and its size: `edits.check`.

    Raises:
        ConflictsRefused: for a missing resolution, one with markers, gaps or control characters.
    """
    plain, conflicts = _parts(marked)
    ending = "\r\n" if 2 * marked.count("\r\n") > marked.count("\n") else "\n"
    original = "".join("".join(part) for sides in conflicts for part in sides)
    if set(resolutions) != set(range(1, len(conflicts) + 1)):
        raise ConflictsRefused(f"there are {len(conflicts)} conflicts, each needs one resolution.")
    whole = ["".join(plain[0])]
    for number, rest in enumerate(plain[1:], 1):
        text = resolutions[number].replace("\r\n", "\n")
        _check_resolution(number, text, original)
        if text and not text.endswith("\n"):
            text += "\n"
        whole += [text.replace("\n", ending), "".join(rest)]
    return "".join(whole)


def _check_resolution(number: int, text: str, original: str) -> None:
    where = f"the resolution of conflict {number}"
    if size(text) > MAX_FILE:
        raise ConflictsRefused(f"{where} is larger than {MAX_FILE // 1024} KiB.")
    for line in text.split("\n"):
        if _MARKER.fullmatch(line) or line.startswith(("<" * 7, "|" * 7, ">" * 7)):
            raise ConflictsRefused(
                f"{where} holds a conflict marker, {quoted(line)}: write only the lines that are "
                "to stay."
            )
    gap = elision(text, original)
    if gap is not None:
        raise ConflictsRefused(f"{where} leaves lines out at {gap}: write them in full.")
    problem = text_problem(text)
    if problem is not None:
        raise ConflictsRefused(f"{where}: {problem}")
