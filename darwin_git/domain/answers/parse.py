"""What a language model answered, as exact edits, or a refusal that it can act on.

Models are asked for SEARCH/REPLACE blocks and answer in many forms. What is clear is taken, what
could mean two things is refused: nothing here guesses, since an edit in the wrong place trains for
an hour before anybody notices.
"""

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from darwin_git.domain.answers import header as answer_header
from darwin_git.domain.answers import json_form as answer_json
from darwin_git.domain.answers import patch as answer_patch
from darwin_git.domain.answers.edits import Edit
from darwin_git.domain.answers.pairs import is_old, pairs
from darwin_git.domain.answers.paths import before, commented, labelled, named, spoken_of
from darwin_git.domain.answers.pieces import Block, Fence, Patch, Piece
from darwin_git.domain.answers.scan import DEEPEST, Scanner
from darwin_git.domain.answers.text import CUT, AnswerRefused, lines_of, quoted

__all__ = ["EXAMPLE", "FORMAT", "Answer", "AnswerRefused", "parse"]

EXAMPLE = """\
```json
{"idea": "no-dropout", "title": "Train without dropout", "why": "one epoch cannot overfit \
(Touvron et al. 2023)", "expected": "lower loss from the first evaluation on"}
```

model.py
<<<<<<< SEARCH
        self.dropout = config.dropout
=======
        self.dropout = 0.0
>>>>>>> REPLACE
"""

FORMAT = f"""\
Answer in exactly this form: first a fenced json block with "idea" (a short name), "title" \
(imperative, at most 72 characters), "why" (the hypothesis with its source) and "expected" (the \
effect you expect); then one or more SEARCH/REPLACE blocks, each with the path of its file on the \
line before it. For example:

{EXAMPLE}
- SEARCH holds whole lines, copied from the file with their indentation, comments and empty lines. \
They must occur exactly once in it: add lines around them until they do.
- Write out everything: no "..." and no "rest unchanged", neither in SEARCH nor in REPLACE.
- Several blocks may change one file; they apply in order, each to the result of the one before.
- A new file: an empty SEARCH part. A file rewritten from top to bottom: a fence whose info \
string names the path, as in ```python model.py, with the whole file in it.
- To delete a file: a line of its own that says *** Delete File: old.py
- Where a line of the file looks like a marker, write all three markers of that block with 9 \
characters instead of 7.
- One idea, one set of edits: no alternatives to choose from.
"""

_SHELL = frozenset(
    ("bash", "sh", "shell", "zsh", "console", "terminal", "text", "txt", "output", "log", "cmd")
)
_PROSE_FENCES = frozenset({"", "markdown", "md", "text", "txt", "plaintext", "xml"})
_CHOICE = re.compile(
    r"[ \t]*(?:#{1,6}[ \t]*|\*{1,2})?(?:the )?(?:"
    r"(?:option|alternative|variant|approach|version|idea|solution|candidate|choice)[ \t]+"
    r"([A-F]|[1-9])|(first|second|third|other) (?:option|alternative|approach|idea|choice))\b",
    re.IGNORECASE,
)
_OTHERWISE = re.compile(
    r"[ \t]*(?:#{1,6}[ \t]*|[*_]{1,2})?(?:(?:or,? )?alternatively\b|or[*_ \t]*[,:]?[*_ \t]*$|"
    r"or instead\b|another (?:option|alternative)\b|optional(?:ly)?\b|"
    r"if (?:this|that|it) (?:fails|(?:does not|doesn't) (?:work|help)))",
    re.IGNORECASE,
)
_TORN = re.compile(r"<{1,9}")


@dataclass(frozen=True)
class Answer:
    """A mutation as a model wrote it; nothing in it was applied yet.

    Attributes:
        idea: short name of lower case words with dashes, at most 40 characters.
        title: one clean line of at most 72 characters.
        why, expected: one clean line each, bounded; may be empty.
    """

    idea: str
    title: str
    why: str
    expected: str
    edits: tuple[Edit, ...]


def parse(text: str, paths: Collection[str]) -> Answer:
    """The edits of an answer.

    Args:
        text: the answer, whatever it is.
        paths: the known files: they tell how paths are written.

    Raises:
        AnswerRefused: with a reason for the model that wrote it.
    """
    lines = lines_of(text, blocks=True)
    reader = _Reader(frozenset(paths))
    prose = reader.read(lines)
    edits = tuple(dict.fromkeys(reader.edits or reader.listed(prose) or reader.weak()))
    if not edits:
        raise AnswerRefused(reader.nothing(lines))
    last = next((line.strip() for line in reversed(lines) if line.strip()), "")
    if _TORN.fullmatch(last):
        raise AnswerRefused(CUT.format(what="a SEARCH/REPLACE block"))
    said = answer_header.headers([*reader.objects, *answer_header.bare_objects(prose)])
    ideas = {answer_header.short_name(fields["idea"]) for fields in said if fields.get("idea")}
    if len(ideas) > 1 or len(reader.choices) > 1:
        raise AnswerRefused(_ALTERNATIVES)
    _check_alternatives(edits)
    fields = answer_header.spoken(prose) | dict(said[0] if said else {})
    head = answer_header.header(fields, prose, [edit.path for edit in edits])
    return Answer(head.idea, head.title, head.why, head.expected, edits)


_ALTERNATIVES = (
    "your answer holds alternatives to choose from. Choose yourself: send one idea with one set "
    "of edits."
)


def _check_alternatives(edits: Sequence[Edit]) -> None:
    """The same place changed in two ways, or a file both rewritten and edited."""
    kinds: dict[str, list[Edit]] = {}
    for edit in edits:
        kinds.setdefault(edit.path, []).append(edit)
    for path, mine in kinds.items():
        whole = [edit for edit in mine if edit.kind != "replace" or not edit.search.strip()]
        searches = {edit.search for edit in mine}
        if len(whole) > 1 or (not whole and len(searches) < len(mine)):
            raise AnswerRefused(f"{_ALTERNATIVES} (It changes {quoted(path)} in two ways.)")
        if whole and len(mine) > 1:
            raise AnswerRefused(
                f"{quoted(path)} is given as a whole and also edited in part: send only one."
            )


class _Reader:
    """Collects edits from the pieces of an answer, in order."""

    def __init__(self, paths: frozenset[str]) -> None:
        self.edits: list[Edit] = []
        self.objects: list[Any] = []
        self.choices: set[str] = set()
        self._paths = paths
        self._sticky = ""
        self._loose: list[tuple[Fence, set[str]]] = []
        self._pieces: list[Piece] = []

    def read(self, lines: Sequence[str], first: int = 1, depth: int = 0) -> list[str]:
        """Take all pieces; the prose around them."""
        scanner = Scanner(lines, first, depth).run()
        prose = scanner.prose
        for piece in scanner.pieces:
            count = len(self.edits)
            if isinstance(piece, Block):
                self._block(piece)
            elif isinstance(piece, Patch):
                self._patch(piece)
            elif piece.nested and depth < DEEPEST and self._is_wrapper(piece):
                prose = prose + self.read(piece.lines, piece.line + 1, depth + 1)
            else:
                self._fence(piece)
            if len(self.edits) > count:
                self._choice(piece, first=not count)
        self._pieces += scanner.pieces
        return prose

    def listed(self, prose: Sequence[str]) -> list[Edit]:
        """Edits in JSON; beside blocks such lists only describe what the blocks do."""
        values = [*self.objects, *answer_header.bare_objects(prose)]
        found = (entry for value in values for entry in answer_json.entries(value))
        listed = [answer_json.edit_of(entry, self._paths) for entry in found]
        if not listed:
            for text in answer_json.blocks(values):
                self.read(lines_of(text), depth=1)
        return listed or self.edits

    def _choice(self, piece: Piece, first: bool) -> None:
        for line in piece.context:
            if found := _CHOICE.match(line):
                self.choices.add((found[1] or found[2]).upper())
            elif not first and _OTHERWISE.match(line):
                self.choices |= {"this", "that"}

    def _is_wrapper(self, fence: Fence) -> bool:
        word = (fence.info.split() or [""])[0].lower()
        return word in _PROSE_FENCES and not before(fence.context, self._paths, near=1)

    def _block(self, block: Block) -> None:
        search, replace = list(block.search), list(block.replace)
        path = labelled(block.label, self._paths) or before(block.context, self._paths)
        if not path and (path := commented(search, self._paths)):
            if replace[:1] == search[:1]:
                replace = replace[1:]
            search = search[1:]
        if not path:
            about = spoken_of(block.context, self._paths)
            near = self._sticky if not about or self._sticky in about else ""
            path = about.pop() if len(about) == 1 else near
        if not path:
            raise AnswerRefused(
                f"the block at line {block.line} of your answer does not say which file it "
                "changes: write the path on the line before its <<<<<<< SEARCH marker."
            )
        self._sticky = path
        self.edits.append(Edit(path, "replace", _joined(search), _joined(replace)))

    def _patch(self, patch: Patch) -> None:
        if not patch.closed and not answer_patch.is_whole(patch.lines):
            raise AnswerRefused(CUT.format(what="a patch"))
        path = before(patch.context, self._paths)
        self.edits += answer_patch.edits_of(patch.lines, path, self._paths)

    def _fence(self, fence: Fence) -> None:
        path = named(fence.info, self._paths) or before(fence.context, self._paths, near=2)
        if answer_patch.is_patch(fence.info, fence.lines):
            if not fence.closed and not answer_patch.is_whole(fence.lines):
                raise AnswerRefused(CUT.format(what="a patch"))
            path = path or self._spoken(fence)
            self.edits += answer_patch.edits_of(fence.lines, path, self._paths)
            return
        header = fence.info.strip().lower() == "json" and not path.endswith(".json")
        if (not path or header) and self._is_object(fence):
            return
        if is_old(fence):
            return
        lines = fence.lines
        if not path and (path := commented(lines, self._paths)):
            lines = lines[2:] if lines[1:2] == ("",) else lines[1:]
        if path:
            if not fence.closed:
                raise AnswerRefused(CUT.format(what=f"the file {quoted(path)}"))
            self.edits.append(Edit(path, "write", text=_joined(lines)))
        elif (fence.info.split() or [""])[0].lower() not in _SHELL:
            self._loose.append((fence, spoken_of(fence.context, self._paths)))

    def _spoken(self, fence: Fence) -> str:
        about = spoken_of(fence.context, self._paths)
        return about.pop() if len(about) == 1 else ""

    def _is_object(self, fence: Fence) -> bool:
        """A JSON fence: header, edits, or both."""
        language = (fence.info.split() or [""])[0].lower()
        text = "\n".join(fence.lines)
        if language not in ("", "json", "json5", "jsonc", "javascript") or text.lstrip()[
            :1
        ] not in (
            "{",
            "[",
        ):
            return False
        value = answer_json.loads(text)
        if value is None:
            if not fence.closed:
                raise AnswerRefused(CUT.format(what="a json block"))
            if any(f'"{word}"' in text for word in answer_json.LISTS):
                raise AnswerRefused(
                    "your json block with edits is not valid JSON. Send SEARCH/REPLACE blocks: "
                    "nothing in them needs to be escaped."
                )
            self.objects.append(answer_header.spoken(fence.lines))
            return language != ""
        self.objects.append(value)
        return True

    def weak(self) -> list[Edit]:
        """Old and new code in fences; else a whole file without a path, where it can be but one."""
        if found := pairs(self._pieces, self._paths):
            return found
        if len(self._loose) != 1:
            return []
        fence, about = self._loose[0]
        about = about or (set(self._paths) if len(self._paths) == 1 else set())
        if len(about) != 1:
            return []
        if not fence.closed:
            raise AnswerRefused(CUT.format(what="a file"))
        return [Edit(about.pop(), "write", text=_joined(fence.lines))]

    def nothing(self, lines: Sequence[str]) -> str:
        """Why there are no edits."""
        last = next((line.strip() for line in reversed(lines) if line.strip()), "")
        if not last:
            return "your answer is empty. Send SEARCH/REPLACE blocks."
        torn = last.startswith(("{", "[")) and answer_json.loads(last) is None
        if _TORN.fullmatch(last) or torn:
            return CUT.format(what="an edit")
        if self._loose:
            return (
                "your answer holds code in a fence, but does not say which file it is. Send "
                "SEARCH/REPLACE blocks, each with the path on the line before it."
            )
        return (
            "there are no edits in your answer. Send SEARCH/REPLACE blocks, each with the path "
            "of the file on the line before it."
        )


def _joined(lines: Sequence[str]) -> str:
    return "".join(line + "\n" for line in lines)
