"""What a model is shown of a mutation that failed: its diff, and the lines a traceback names."""

import difflib
import re
from collections.abc import Mapping

from darwin_git.domain import quoting

MAX_LINES = 4_000
"""Longer files are not compared: difflib's time grows with the product of the lengths."""
MAX_PLACES = 6
_AROUND = 3
_NAMED = re.compile(
    r"File \"(?P<path>[^\"\n]{1,400})\", line (?P<line>\d{1,7})"
    r"|^(?P<bare>[\w./-]{1,400}\.\w{1,8}):(?P<at>\d{1,7})\b",
    re.M,
)


def difference(before: Mapping[str, str], after: Mapping[str, str | None], limit: int) -> str:
    """A unified diff of all changes, cut in the middle at `limit` characters."""
    parts: list[str] = []
    for path in sorted(after):
        old, new = before.get(path), after[path]
        if old == new:
            continue
        mine, theirs = (old or "").splitlines(), (new or "").splitlines()
        title = f"--- {path if old is not None else '(new file)'}"
        title += f"\n+++ {path if new is not None else '(deleted)'}"
        if max(len(mine), len(theirs)) > MAX_LINES:
            parts.append(f"{title}\n({len(mine)} lines became {len(theirs)})")
            continue
        rows = difflib.unified_diff(mine, theirs, n=3, lineterm="")
        parts.append("\n".join([title, *list(rows)[2:]]))
    return quoting.cut("\n".join(parts), limit)


def places(log: str, files: Mapping[str, str]) -> str:
    """Numbered lines around every place in `files` that a traceback names, the innermost last."""
    seen: dict[tuple[str, int], None] = {}
    for match in _NAMED.finditer(log):
        path = _known(match["path"] or match["bare"], files)
        if path:
            key = (path, int(match["line"] or match["at"]))
            seen.pop(key, None)
            seen[key] = None
    excerpts = (_excerpt(files[path], path, number) for path, number in list(seen)[-MAX_PLACES:])
    return "\n\n".join(filter(None, excerpts))


def _known(named: str, files: Mapping[str, str]) -> str | None:
    """The file that a path of another machine means: the longest path of ours that it ends with."""
    parts = [part for part in named.replace("\\", "/").split("/") if part not in ("", ".")]
    tails = ("/".join(parts[start:]) for start in range(len(parts)))
    return next((tail for tail in tails if tail in files), None)


def _excerpt(text: str, path: str, number: int) -> str:
    lines = text.splitlines()
    if not 1 <= number <= len(lines):
        return ""
    rows = [f"{path}, line {number}:"]
    for at in range(max(1, number - _AROUND), min(len(lines), number + _AROUND) + 1):
        rows.append(f"{'>' if at == number else ' '} {at:>5}  {lines[at - 1][:300]}")
    return "\n".join(rows)
