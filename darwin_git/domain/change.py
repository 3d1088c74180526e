"""What a mutation changes, as an id: the same edit on another parent has the same one.

As `git patch-id --stable`: lines taken out and put in, white space left aside, without line
numbers; here also without context, so that an edit is known again on a relative whose
neighbouring lines differ.
"""

import difflib
import hashlib
from collections import Counter
from collections.abc import Mapping

LENGTH = 20
MOST_PAIRS = 200_000
"""Pairs of equal lines from which difflib, whose time grows faster than they, is not asked."""


def change_id(before: Mapping[str, str], after: Mapping[str, str | None]) -> str:
    """sha256[:20] of all edits.

    Args:
        before: the parent's files.
        after: new contents of the files that change; None deletes.
    """
    digest = hashlib.sha256()
    for path in sorted(after):
        old, new = before.get(path, ""), after[path]
        rows = list(_rows(old, new or ""))
        if rows or (new is None) != (path not in before):
            digest.update(f"{path}\0{new is None}\0".encode(errors="surrogatepass"))
            digest.update("\0".join(rows).encode(errors="surrogatepass") + b"\0\0")
    return digest.hexdigest()[:LENGTH]


def _rows(old: str, new: str) -> list[str]:
    mine, theirs = _lines(old), _lines(new)
    ours, others = Counter(mine), Counter(theirs)
    if sum(count * others[line] for line, count in ours.items()) > MOST_PAIRS:
        # Thousands of like lines: what went and what came is told without its place.
        gone, come = ours - others, others - ours
        moved = [] if gone or come or mine == theirs else theirs
        rows = [f"-{n} {line}" for line, n in gone.items()]
        return rows + [f"+{n} {line}" for line, n in come.items()] + moved
    matcher = difflib.SequenceMatcher(None, mine, theirs, autojunk=False)
    rows = []
    for tag, i, j, m, n in matcher.get_opcodes():
        if tag != "equal":
            rows += [f"-{line}" for line in mine[i:j]] + [f"+{line}" for line in theirs[m:n]]
    return rows


def _lines(text: str) -> list[str]:
    """Lines without white space; empty ones do not count."""
    bare = ("".join(line.split()) for line in text.splitlines())
    return [line for line in bare if line]
