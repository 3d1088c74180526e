"""Patches as models write them: each hunk becomes an edit that is anchored by its own lines.

Unified diffs, whose line numbers are seldom right and therefore not read, and the form between
*** Begin Patch and *** End Patch.
"""

import re
from collections.abc import Collection, Sequence

from darwin_git.domain.answers.edits import Edit
from darwin_git.domain.answers.paths import known, stated
from darwin_git.domain.answers.text import AnswerRefused, quoted

NOWHERE = "/dev/null"
_COUNTS = re.compile(r"@@ -\d{1,9}(?:,(\d{1,9}))? \+\d{1,9}(?:,(\d{1,9}))? @@")
_HEADER = ("diff --git ", "index ", "new file mode", "deleted file mode", "old mode", "new mode",
           "similarity index", "dissimilarity index", "Binary files")  # fmt: skip
_MOVES = ("rename from", "rename to", "*** Move to:", "copy from", "copy to")


def is_patch(info: str, lines: Sequence[str]) -> bool:
    """Whether a fence holds a patch."""
    if info.split()[:1] and info.split()[0].lower() in ("diff", "patch", "udiff"):
        return True
    for line, following in zip(lines[:40], [*lines[1:41], ""], strict=False):
        if line.startswith(("*** Begin Patch", "*** Update File:", "*** Delete File:")):
            return True
        if line.startswith("*** Add File:") or (
            line.startswith("--- ") and following.startswith("+++ ")
        ):
            return True
    return False


def is_whole(lines: Sequence[str]) -> bool:
    """Whether a patch that nothing closes was not cut off.

    The last hunk is as long as it says, and its last line has an end.
    """
    rows = list(lines)
    while rows and not rows[-1].strip():
        rows.pop()
    if any(line.startswith("*** ") for line in rows):
        return rows[-1].strip() == "*** End Patch"
    starts = [at for at, line in enumerate(rows) if line.startswith("@@")]
    found = _COUNTS.match(rows[starts[-1]]) if starts else None
    if found is None or lines[-1].strip():
        return False
    body = rows[starts[-1] + 1 :]
    old = sum(line[:1] in ("", " ", "-") for line in body)
    new = sum(line[:1] in ("", " ", "+") for line in body)
    return (old, new) == (int(found[1] or 1), int(found[2] or 1))


def edits_of(lines: Sequence[str], path: str, paths: Collection[str]) -> list[Edit]:
    """The edits of a patch; `path` is the file of hunks that name none.

    Raises:
        AnswerRefused: for what cannot be said in edits (renames), or names no file.
    """
    reader = _Reader(path, paths)
    at = 0
    while at < len(lines):
        following = lines[at + 1] if at + 1 < len(lines) else ""
        if lines[at].startswith("--- ") and following.startswith("+++ "):
            reader.header(lines[at][4:], following[4:])
            at += 2
        else:
            reader.read(lines[at])
            at += 1
    reader.flush()
    return reader.edits


class _Reader:
    def __init__(self, path: str, paths: Collection[str]) -> None:
        self.edits: list[Edit] = []
        self._path = path
        self._paths = paths
        self._rows: list[str] = []
        self._gone = False
        self._new = False

    def header(self, old: str, new: str) -> None:
        """`--- a/x` and `+++ b/x`."""
        self.flush()
        before, after = self._side(old), self._side(new)
        if after == NOWHERE and before != NOWHERE:
            self._delete(before)
            return
        self._path, self._gone, self._new = after, False, before == NOWHERE
        stripped = after[2:] if after.startswith("b/") else after
        if known(after, self._paths):
            self._path = known(after, self._paths)
        elif before[:2] == "a/" or before == NOWHERE:
            self._path = stripped

    def _side(self, text: str) -> str:
        return text.split("\t")[0].strip().strip('"')

    def _delete(self, path: str) -> None:
        bare = path[2:] if path.startswith("a/") and path not in self._paths else path
        self.edits.append(Edit(known(path, self._paths) or bare, "delete"))
        self._path, self._gone = "", True

    def read(self, line: str) -> None:
        """Any other line."""
        if line.startswith(_MOVES):
            raise AnswerRefused(
                f"the patch line {quoted(line)} moves a file, which cannot be done here: write "
                "the new file whole and delete the old one."
            )
        if line.startswith("*** "):
            self._directive(line[4:].strip())
        elif line.startswith(("@@", *_HEADER)):
            self.flush()
        elif not self._gone and not line.startswith("\\"):
            self._rows.append(line)

    def _directive(self, text: str) -> None:
        self.flush()
        word, _, rest = text.partition(":")
        path = stated(rest, self._paths) or rest.strip()
        if word == "Delete File":
            self._delete(path)
        elif word in ("Update File", "Add File"):
            self._path, self._gone, self._new = path, False, word == "Add File"

    def flush(self) -> None:
        """The rows so far are a hunk."""
        rows, self._rows = self._rows, []
        while rows and not rows[-1].strip(" \t"):
            rows.pop()
        while rows and not rows[0].strip(" \t"):
            rows.pop(0)
        if not any(row[:1] in ("+", "-") for row in rows):
            return
        if not self._path:
            raise AnswerRefused(
                f"the patch line {quoted(rows[0])} belongs to no file: write --- a/PATH and "
                "+++ b/PATH before the hunks of every file."
            )
        search = "".join(_plain(row) + "\n" for row in rows if row[:1] != "+")
        text = "".join(_plain(row) + "\n" for row in rows if row[:1] != "-")
        if not search and not self._new and self._path in self._paths:
            raise AnswerRefused(
                f"the hunk with {quoted(rows[0])} has no lines of the file around it: line "
                "numbers are not read. Add the lines before and after it."
            )
        if search == text:
            return
        self.edits.append(Edit(self._path, "replace", search, text))


def _plain(row: str) -> str:
    return row[1:] if row[:1] in ("+", "-", " ") else row
