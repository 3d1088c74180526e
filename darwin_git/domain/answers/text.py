"""The text of an answer before it is read: markers, lines, and what was thought aloud."""

import re
from collections.abc import Sequence

from darwin_git.domain.message import one_line

MAX_LENGTH = 2 * 2**20
MAX_LINES = 200_000
MAX_REASON = 1200

HEAD = re.compile(r"([ \t]*)(<{5,9})(?!<)[ \t]*(.*)")
TAIL = re.compile(r"([ \t]*)(>{5,9})(?!>)[ \t]*(.*)")
DIVIDER = re.compile(r"([ \t]*)(={5,9})[ \t]*")
FENCE = re.compile(r"([ \t]*)(`{3,}|~{3,})(.*)")
ENDS = re.compile(r"(?:replace|updated?|new|after)\b", re.IGNORECASE)
_OPEN = re.compile(r"^[ \t]*<(?:think|thinking|thought|reasoning)>", re.IGNORECASE | re.MULTILINE)
_CLOSE = re.compile(r"</(?:think|thinking|thought|reasoning)>", re.IGNORECASE)
_WORK = re.compile(r"^[ \t]*(?:<{5,9}|`{3}|~{3}|\*\*\* |\+\+\+ )", re.MULTILINE)
_OURS = re.compile(r"^[ \t]*<{5,9}", re.MULTILINE)
_DASHES = re.compile(r"^-{5,9} SEARCH>?[ \t]*$", re.MULTILINE)
_PLUSES = re.compile(r"^\+{5,9} REPLACE>?[ \t]*$", re.MULTILINE)
_OLD_TAG = r"(?:search|find|old|original|old_str|old_string|old_code)"
_NEW_TAG = r"(?:replace|replacement|new|updated|new_str|new_string|new_code)"
_TAG_OLD = re.compile(rf"^[ \t]*<{_OLD_TAG}>[ \t]*$", re.MULTILINE)
_TAG_MIDDLE = re.compile(rf"^[ \t]*</{_OLD_TAG}>\s*<{_NEW_TAG}>[ \t]*$", re.MULTILINE)
_TAG_END = re.compile(rf"^[ \t]*</{_NEW_TAG}>[ \t]*$", re.MULTILINE)

CUT = (
    "your answer was cut off: it ends in the middle of {what}. "
    "Answer again in full, with smaller blocks if it was too long."
)


class AnswerRefused(Exception):
    """An answer that holds no edits that can be taken without guessing.

    Attributes:
        reason: what is wrong and what to do, for the model that wrote it.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason if len(reason) <= MAX_REASON else reason[:MAX_REASON] + "…"


def lines_of(text: str, *, blocks: bool = False) -> list[str]:
    """The answer's lines without what a model thought aloud; raises AnswerRefused if too long.

    Args:
        blocks: SEARCH/REPLACE blocks are looked for, by whichever tool's markers.
    """
    if len(text) > MAX_LENGTH or text.count("\n") > MAX_LINES:
        raise AnswerRefused("your answer is far too long: send small SEARCH/REPLACE blocks only.")
    plain = text.removeprefix("\ufeff").replace("\r\n", "\n")
    said = without_thinking(plain)
    return (_with_our_markers(said) if blocks else said).split("\n")


def _with_our_markers(text: str) -> str:
    """Blocks with other tools' markers as blocks with ours, where an answer has none of ours."""
    if _OURS.search(text):
        return text
    if _DASHES.search(text):
        return _PLUSES.sub(">>>>>>> REPLACE", _DASHES.sub("<<<<<<< SEARCH", text))
    # Nine characters: the lines between the tags may be like markers.
    opened = _TAG_OLD.sub("<<<<<<<<< SEARCH", text)
    return _TAG_END.sub(">>>>>>>>> REPLACE", _TAG_MIDDLE.sub("=========", opened))


def without_thinking(text: str) -> str:
    """The text without <think>…</think>; of one that is never closed only the tag goes."""
    kept, at = [], 0
    work = _WORK.search(text)
    while opened := _OPEN.search(text, at):
        if work is not None and work.start() < opened.start():
            break
        kept.append(text[at : opened.start()])
        at = opened.end()
        closed = _CLOSE.search(text, at)
        if closed is None:
            break
        at = closed.end()
        if work is not None and work.start() < at:
            work = _WORK.search(text, at)
    rest = "".join(kept) + text[at:]
    lone = _CLOSE.search(rest)
    # Some servers swallow the opening tag: everything before the closing one was thought.
    if lone is not None and (_WORK.search(rest, lone.end()) or not _WORK.search(rest)):
        rest = rest[lone.end() :]
    return rest


def dedented(lines: Sequence[str], indent: str) -> tuple[str, ...]:
    """Lines of a block that is indented as a whole, as in a list, moved to the left margin."""
    if indent and all(line.startswith(indent) or not line.strip() for line in lines):
        return tuple(line[len(indent) :] for line in lines)
    return tuple(lines)


def quoted(line: str) -> str:
    """A line of the answer as our own sentences may quote it."""
    return f'"{one_line(line[:400], 100)}"'
