"""Where an edit belongs: whole lines, exactly once; and what is nearest where they are not."""

import difflib
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from darwin_git.domain.message import one_line

MOST_SHOWN = 10
MOST_TRIED = 100
QUOTED_LINES = 12
QUOTED_WIDTH = 200
_FENCE = re.compile(r"[ \t]*(?:`{3}|~{3})\w*[ \t]*$")


@dataclass(frozen=True)
class Found:
    """What became of a search.

    Attributes:
        text: the file after the edit; None where there was not exactly one place.
        lines: where the text occurs, from 1, at most ten of them.
        more: it occurs more often than that.
        problem: why the one place that was found cannot be taken, as a sentence.
    """

    text: str | None = None
    lines: tuple[int, ...] = ()
    more: bool = False
    problem: str = ""


def find(text: str, search: str, replace: str, bare_it: int = 2) -> Found:
    """The file with the lines of `search` replaced; they must occur exactly once.

    Where they do not occur, fences and empty lines around them are taken for the answer's, and
    left out, at most `bare_it` times.
    """
    rows = text.removesuffix("\n").split("\n")
    wanted, new = _rows(search), _rows(replace)
    for bare, shift in ((_same, False), (str.rstrip, False), (str.strip, True)):
        mine, theirs = [bare(row) for row in rows], [bare(row) for row in wanted]
        places = []
        for place in _places(mine, theirs):
            indent = _shift(rows[place : place + len(wanted)], wanted) if shift else ("", "")
            if indent is not None:
                places.append((place, indent))
            if len(places) > MOST_SHOWN:
                break
        if len(places) == 1:
            return _replaced(text, rows, places[0], len(wanted), new)
        if places:
            lines = tuple(place + 1 for place, _ in places[:MOST_SHOWN])
            return Found(lines=lines, more=len(places) > MOST_SHOWN)
    bared = (_unfenced(wanted, new) or _trimmed(wanted, new)) if bare_it else None
    if bared is None:
        return Found()
    search, replace = ("".join(row + "\n" for row in part) for part in bared)
    return find(text, search, replace, bare_it - 1)


def _unfenced(wanted: list[str], new: list[str]) -> tuple[list[str], list[str]] | None:
    """Both parts without the fences that each of them stands in; None where they do not."""
    for part in (wanted, new):
        wrapped = len(part) > 2 and _FENCE.match(part[0]) and part[-1].strip() in ("```", "~~~")
        if not wrapped and (part is wanted or any(row.strip() for row in part)):
            return None
    return wanted[1:-1], new[1:-1]


def _trimmed(wanted: list[str], new: list[str]) -> tuple[list[str], list[str]] | None:
    """The search without the empty lines around it, which the new lines lose as well."""
    first, last = _empty(wanted), _empty(wanted[::-1])
    if first == len(wanted) or not first + last:
        return None
    more, less = min(first, _empty(new)), min(last, _empty(new[::-1]))
    return wanted[first : len(wanted) - last], new[more : max(more, len(new) - less)]


def _empty(rows: Sequence[str]) -> int:
    return next((at for at, row in enumerate(rows) if row.strip()), len(rows))


def _same(row: str) -> str:
    return row.removesuffix("\r")


def _rows(text: str) -> list[str]:
    """Lines of a text whose last newline ends the last line."""
    rows = text.replace("\r\n", "\n").split("\n")
    return rows[:-1] if rows[-1] == "" else rows


def _places(rows: Sequence[str], wanted: Sequence[str]) -> Iterator[int]:
    """Line numbers from 0 where the wanted lines stand, at most so many as are worth trying."""
    text, needle = "\n".join(("", *rows, "")), "\n".join(("", *wanted, ""))
    at, line, counted = -1, 0, 0
    for _ in range(MOST_TRIED):
        at = text.find(needle, at + 1)
        if at < 0:
            return
        line += text.count("\n", counted, at)
        counted = at
        yield line


def _shift(rows: Sequence[str], wanted: Sequence[str]) -> tuple[str, str] | None:
    """(indentation to add, to take away) that makes `wanted` the file's rows; None if not one."""
    add = drop = None
    for row, want in zip(rows, wanted, strict=True):
        if not want.strip():
            continue
        has, given = _indent(row), _indent(want)
        if add is None or drop is None:
            if has.endswith(given):
                add, drop = has[: len(has) - len(given)], ""
            elif given.endswith(has):
                add, drop = "", given[: len(given) - len(has)]
            else:
                return None
        if add + given != drop + has:
            return None
    return None if add is None or drop is None else (add, drop)


def _indent(row: str) -> str:
    return row[: len(row) - len(row.lstrip())]


def _replaced(
    text: str, rows: list[str], place: tuple[int, tuple[str, str]], length: int, new: list[str]
) -> Found:
    start, (add, drop) = place
    if any(row.strip() and not row.startswith(drop) for row in new):
        return Found(
            problem=f"the SEARCH text is indented further than lines {start + 1} to "
            f"{start + length} of the file, and the new lines are not. Indent them as the file is."
        )
    shifted = [add + row.removeprefix(drop) if row.strip() else row for row in new]
    ending = "\r" if _windows(text, rows, start, length) else ""
    whole = [*rows[:start], *(row + ending for row in shifted), *rows[start + length :]]
    if text.endswith("\n"):
        return Found(text="".join(row + "\n" for row in whole))
    return Found(text="\n".join(whole).removesuffix("\r"))


def _windows(text: str, rows: Sequence[str], start: int, length: int) -> bool:
    """Whether the replaced lines end as Windows' do; the others where they cannot say."""
    whole = text.endswith("\n") or start + length < len(rows)
    around = rows[start : start + length] if whole else rows[:-1]
    return bool(around) and 2 * sum(row.endswith("\r") for row in around) > len(around)


def nearest(text: str, search: str) -> list[str]:
    """The file's lines that are most like a text that does not occur, with their numbers.

    At most 12 lines of 200 characters. Lines are first compared by the words they share, and
    only the best of them by difflib: that stays fast in long files.
    """
    rows = text.split("\n")[:20_000]
    wanted = [(at, row.strip()[:QUOTED_WIDTH]) for at, row in enumerate(_rows(search))]
    telling = [(at, row) for at, row in wanted if len(row) > 2][:40]
    votes: Counter[int] = Counter()
    index: dict[str, list[int]] = {}
    for at, row in enumerate(rows):
        index.setdefault(row.strip()[:QUOTED_WIDTH], []).append(at)
    for at, row in telling:
        for place in index.get(row, ())[:20]:
            votes[place - at] += len(row)
    if not votes:
        votes = _alike(index, sorted(telling, key=lambda pair: -len(pair[1]))[:3])
    if not votes:
        return []
    best = max(votes, key=lambda place: (votes[place], -place))
    first = max(0, min(best, len(rows) - 1))
    many = min(QUOTED_LINES, len(wanted) + 2)
    shown = rows[first : first + many]
    return [f"{first + n}: {_shown(row)}" for n, row in enumerate(shown, 1)]


def _shown(row: str) -> str:
    """A line of a file with its indentation, and nothing that could act on a terminal."""
    cut = row[: QUOTED_WIDTH * 2]
    return (_indent(cut)[:60].replace("\t", "\\t") + one_line(cut, QUOTED_WIDTH))[:QUOTED_WIDTH]


def _alike(index: dict[str, list[int]], telling: Sequence[tuple[int, str]]) -> "Counter[int]":
    votes: Counter[int] = Counter()
    words: Callable[[str], set[str]] = lambda row: set(re.findall(r"\w+", row))  # noqa: E731
    bags = [(row, words(row)) for row in index if row]
    for at, want in telling:
        mine = words(want)
        shared = ((len(mine & bag), row) for row, bag in bags)
        best = sorted((pair for pair in shared if pair[0]), reverse=True)[:20]
        for _, row in best:
            ratio = difflib.SequenceMatcher(None, row, want, autojunk=False).ratio()
            if ratio > 0.4:
                votes[index[row][0] - at] += round(100 * ratio)
    return votes
