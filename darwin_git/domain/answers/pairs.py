"""Old and new code in two fences, one after the other: "Before:" and "After:", "SEARCH" and so on.

To a reader this is a clear edit. What is labelled as old is never a file's new content, whatever
path stands above it.
"""

import itertools
import re
from collections.abc import Callable, Collection, Sequence

from darwin_git.domain.answers.edits import Edit
from darwin_git.domain.answers.paths import before, known, spoken_of
from darwin_git.domain.answers.pieces import Fence, Piece
from darwin_git.domain.answers.text import FENCE

_NOUN = (
    r"(?:\s+(?:this|these|the|code|text|lines?|block|version|part|snippet|file|contents?|it|by|with|"
    r"for))*"
)
_EDGE = r"[\s*_#>`\-]*(?:\d{1,2}[.)]\s+)?[*_`]*"
_OLD = re.compile(
    rf"{_EDGE}(?:before|old|original|current|existing|search|find|(?:change\s+|replace\s+)?from|replace)"
    rf"{_NOUN}[*_`]*(?:\s+in\s+`?([^\s`]+?)`?)?\s*:?[\s*_`]*",
    re.IGNORECASE,
)
_VERB = re.compile(r"\b(?:change|replace|turn|rewrite|substitute)\b", re.IGNORECASE)
_INTO = re.compile(rf"{_EDGE}(?:to|into|with|by){_NOUN}[*_`]*\s*:?[\s*_`]*", re.IGNORECASE)
_NEW = re.compile(
    rf"{_EDGE}(?:after|new|updated|modified|changed|replacement|replace|with|by|to|becomes)"
    rf"{_NOUN}[*_`]*\s*:?[\s*_`]*",
    re.IGNORECASE,
)


def is_old(fence: Fence) -> bool:
    """Whether the line before a fence says that it holds what is there now."""
    return _label(fence, _OLD) is not None


def pairs(pieces: Sequence[Piece], paths: Collection[str]) -> list[Edit]:
    """The edits that pairs of fences say; only those whose file is known."""
    found: list[Edit] = []
    path = ""
    for old, new in itertools.pairwise(pieces):
        if not isinstance(old, Fence) or not isinstance(new, Fence):
            continue
        label = _label(old, _OLD)
        said = (label and _label(new, _NEW)) or (_last(_VERB.search, old) and _label(new, _INTO))
        if not said or not (old.closed and new.closed):
            continue
        about = spoken_of(old.context, paths)
        path = (
            known((label and label[1]) or "", paths)
            or before(old.context, paths)
            or (about.pop() if len(about) == 1 else "" if about else path)
        )
        if path in paths:
            search, text = ("".join(line + "\n" for line in one.lines) for one in (old, new))
            found.append(Edit(path, "replace", search, text))
    return found


def _label(fence: Fence, form: re.Pattern[str]) -> re.Match[str] | None:
    return _last(form.fullmatch, fence)


def _last(test: Callable[[str], re.Match[str] | None], fence: Fence) -> re.Match[str] | None:
    """What a test says of the line before a fence."""
    near = [line for line in fence.context if not FENCE.fullmatch(line)][-1:]
    return test(near[0][:200]) if near else None
