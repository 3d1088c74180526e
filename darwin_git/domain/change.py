"""What a mutation changes, as an id: the same edit on another parent has the same one.

As `git patch-id --stable`: lines taken out and put in, white space left aside, without line
numbers; here also without context, so that an edit is known again on a relative whose
neighbouring lines differ.
"""

import difflib
import hashlib
from collections.abc import Mapping

LENGTH = 20


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
    matcher = difflib.SequenceMatcher(None, mine, theirs, autojunk=False)
    rows: list[str] = []
    for tag, i, j, m, n in matcher.get_opcodes():
        if tag != "equal":
            rows += [f"-{line}" for line in mine[i:j]] + [f"+{line}" for line in theirs[m:n]]
    return rows


def _lines(text: str) -> list[str]:
    """Lines without white space; empty ones do not count."""
    bare = ("".join(line.split()) for line in text.splitlines())
    return [line for line in bare if line]
