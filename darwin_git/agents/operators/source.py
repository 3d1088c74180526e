"""A parsed source text: code is found by its structure, changes are splices of the text.

Everything outside a splice stays byte-identical, comments and formatting included. What is missing
or ambiguous raises NotApplicable: a drifted genome is skipped, never mangled.
"""

import re
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

import libcst as cst
from libcst.metadata import MetadataWrapper, ParentNodeProvider, PositionProvider

T = TypeVar("T")


class NotApplicable(Exception):
    """An anchor that a transform needs is missing, ambiguous, or already changed."""


@dataclass(frozen=True)
class Edit:
    """Replace text[start:end] of the file `path` by `text`; an insertion where start == end."""

    path: str
    start: int
    end: int
    text: str


def splice(text: str, edits: Sequence[Edit]) -> str:
    """The text with all edits made; raises NotApplicable where two of them overlap."""
    pieces: list[str] = []
    done = 0
    for edit in sorted(edits, key=lambda edit: (edit.start, edit.end)):
        if edit.start < done:
            raise NotApplicable("two edits overlap")
        pieces += [text[done : edit.start], edit.text]
        done = edit.end
    return "".join([*pieces, text[done:]])


def walk(root: cst.CSTNode) -> Iterator[cst.CSTNode]:
    """The node and everything below it, in the order of the text."""
    yield root
    for child in root.children:
        yield from walk(child)


def dotted(node: cst.CSTNode) -> str:
    """`a.b.c` for a chain of names, "" for anything else."""
    if isinstance(node, cst.Name):
        return node.value
    if isinstance(node, cst.Attribute):
        base = dotted(node.value)
        return f"{base}.{node.attr.value}" if base else ""
    return ""


def named(node: cst.CSTNode, name: str) -> bool:
    """Whether the chain is `name` or ends in it: `nn.GELU` is named `GELU`."""
    chain = dotted(node)
    return chain == name or chain.endswith(f".{name}")


def only(found: Sequence[T], what: str) -> T:
    """The one thing that was found."""
    if len(found) != 1:
        raise NotApplicable(f"{len(found)} places where one was expected: {what}")
    return found[0]


def _elements(target: cst.CSTNode) -> list[cst.CSTNode]:
    """What a target binds: itself, or the parts of a tuple."""
    if isinstance(target, cst.Tuple | cst.List):
        return [part for element in target.elements for part in _elements(element.value)]
    return [target]


class Source:
    """One file. Nodes come from `module`; every method that returns an Edit leaves it unchanged."""

    def __init__(self, path: str, text: str) -> None:
        self.path = path
        self.text = text
        try:
            wrapper = MetadataWrapper(cst.parse_module(text), unsafe_skip_copy=True)
            self._positions = wrapper.resolve(PositionProvider)
            self._parents = wrapper.resolve(ParentNodeProvider)
        except (cst.ParserSyntaxError, RecursionError) as error:
            raise NotApplicable(f"{path} does not parse") from error
        self.module = wrapper.module
        # libcst ends lines where Python does, which str.splitlines does not.
        ends = [match.end() for match in re.finditer(r"\r\n|\r|\n", text)]
        self._lines = [0, *ends, len(text)] if ends[-1:] != [len(text)] else [0, *ends]

    # Finding -------------------------------------------------------------------------------------

    def definition(self, name: str, within: cst.ClassDef | None = None) -> cst.FunctionDef:
        """The one function of that name, at the top level or directly in a class."""
        body: Sequence[cst.CSTNode] = within.body.body if within else self.module.body
        return only(
            [n for n in body if isinstance(n, cst.FunctionDef) and n.name.value == name], name
        )

    def class_(self, name: str) -> cst.ClassDef:
        return only(
            [n for n in self.module.body if isinstance(n, cst.ClassDef) and n.name.value == name],
            f"class {name}",
        )

    def calls(self, root: cst.CSTNode, name: str) -> list[cst.Call]:
        return [n for n in walk(root) if isinstance(n, cst.Call) and named(n.func, name)]

    def call(self, root: cst.CSTNode, name: str) -> cst.Call:
        return only(self.calls(root, name), f"call of {name}")

    def names(self, root: cst.CSTNode, name: str) -> list[cst.Name]:
        return [n for n in walk(root) if isinstance(n, cst.Name) and n.value == name]

    def assignments(self, root: cst.CSTNode, target: str) -> list[cst.Assign]:
        """Assignments to exactly this one target (`x`, `self.c_attn`)."""
        return [
            n
            for n in walk(root)
            if isinstance(n, cst.Assign)
            and len(n.targets) == 1
            and dotted(n.targets[0].target) == target
        ]

    def assignment(self, root: cst.CSTNode, target: str) -> cst.Assign:
        return only(self.assignments(root, target), f"assignment of {target}")

    def bindings(self, root: cst.CSTNode, name: str) -> list[cst.Assign]:
        """Assignments that give the name a value, alone or within a tuple."""
        return [
            n
            for n in walk(root)
            if isinstance(n, cst.Assign)
            and any(
                isinstance(child, cst.Name) and child.value == name
                for target in n.targets
                for child in _elements(target.target)
            )
        ]

    def parent(self, node: cst.CSTNode) -> cst.CSTNode:
        """The enclosing node; raises NotApplicable at the module."""
        if node is self.module:
            raise NotApplicable("no enclosing statement")
        parent: cst.CSTNode = self._parents[node]
        return parent

    def line(self, node: cst.CSTNode) -> cst.CSTNode:
        """The statement in a block that holds the node: what whole-line edits work on."""
        while not isinstance(self.parent(node), cst.IndentedBlock | cst.Module):
            node = self.parent(node)
        return node

    def statement(self, node: cst.CSTNode, function: cst.FunctionDef) -> cst.CSTNode:
        """The statement directly in the function's body that holds the node."""
        while self.parent(node) is not function.body:
            node = self.parent(node)
        return node

    def alone(self, node: cst.CSTNode) -> cst.CSTNode:
        """The node's line, if it holds no other statement."""
        line = self.line(node)
        if not isinstance(line, cst.SimpleStatementLine) or len(line.body) != 1:
            raise NotApplicable("several statements on one line")
        return line

    def parameter(self, function: cst.FunctionDef, index: int) -> str:
        """The name of a positional parameter; 0 is self in methods."""
        if len(function.params.params) <= index:
            raise NotApplicable(f"{function.name.value} has too few parameters")
        return function.params.params[index].name.value

    # Text ----------------------------------------------------------------------------------------

    def offset(self, line: int, column: int) -> int:
        return self._lines[line - 1] + column

    def span(self, node: cst.CSTNode) -> tuple[int, int]:
        place = self._positions[node]
        start = self.offset(place.start.line, place.start.column)
        return start, self.offset(place.end.line, place.end.column)

    def code(self, node: cst.CSTNode) -> str:
        start, end = self.span(node)
        return self.text[start:end]

    def comes_before(self, one: cst.CSTNode, other: cst.CSTNode) -> bool:
        return self.span(one)[0] < self.span(other)[0]

    # Edits ---------------------------------------------------------------------------------------

    def replace(self, node: cst.CSTNode, code: str) -> Edit:
        start, end = self.span(node)
        return Edit(self.path, start, end, code)

    def insert_before(self, statement: cst.CSTNode, code: str) -> Edit:
        """New lines above the statement and the comments that belong to it."""
        start, _ = self._lines_of(statement)
        gap = self.module.default_newline if self._blank(start, -1) else ""
        return Edit(self.path, start, start, self._indented(statement, code) + gap)

    def insert_after(self, statement: cst.CSTNode, code: str) -> Edit:
        """New lines below the statement, in a paragraph of their own where it has its own."""
        start, end = self._lines_of(statement)
        lead = "" if self.text[end - 1 : end] in ("\r", "\n") else self.module.default_newline
        if self._blank(start, -1) and self._blank(end, 1):
            lead += self.module.default_newline
        return Edit(self.path, end, end, lead + self._indented(statement, code))

    def replace_line(self, statement: cst.CSTNode, code: str) -> Edit:
        """Other lines in place of the statement's; the comments above it stay."""
        _, end = self._lines_of(statement)
        start = self._lines[self._first_line(statement) - 1]
        return Edit(self.path, start, end, self._indented(statement, code))

    def delete(self, *statements: cst.CSTNode) -> list[Edit]:
        """Take the statements out with their comments, leaving no two gaps in a row."""
        ranges: list[tuple[int, int]] = []
        for start, end in sorted(map(self._lines_of, statements)):
            if ranges and not self.text[ranges[-1][1] : start].strip():
                start = ranges.pop()[0]
            ranges.append((start, end))
        edits = []
        for start, end in ranges:
            if self._blank(start, -1):
                while self._blank(end, 1):
                    end = self._lines[self._lines.index(end) + 1]
            edits.append(Edit(self.path, start, end, ""))
        return edits

    def recomment(self, statement: cst.CSTNode, comment: str) -> list[Edit]:
        """Another comment in place of those above the statement, if there are any."""
        start, _ = self._lines_of(statement)
        end = self._lines[self._first_line(statement) - 1]
        if start == end:
            return []
        return [Edit(self.path, start, end, self._indented(statement, f"# {comment}"))]

    def define_before(self, definition: cst.ClassDef | cst.FunctionDef, code: str) -> Edit:
        """A new top-level definition above another one, with as many blank lines as it has."""
        blank = [line for line in definition.leading_lines if line.comment is None]
        gap = self.module.default_newline * (len(blank) or 2)
        start, _ = self._lines_of(definition)
        return Edit(self.path, start, start, self._indented(definition, code) + gap)

    def _blank(self, offset: int, side: Literal[-1, 1]) -> bool:
        """Whether the line that ends (-1) or begins (1) at the offset is there and empty."""
        index = self._lines.index(offset)
        first, last = (index - 1, index) if side < 0 else (index, index + 1)
        if first < 0 or last >= len(self._lines):
            return False
        return not self.text[self._lines[first] : self._lines[last]].strip()

    def _first_line(self, statement: cst.CSTNode) -> int:
        """The number of the statement's first line, decorators included."""
        first: int = self._positions[statement].start.line
        if isinstance(statement, cst.ClassDef | cst.FunctionDef):
            first = min([first, *(self._positions[d].start.line for d in statement.decorators)])
        return first

    def _lines_of(self, statement: cst.CSTNode) -> tuple[int, int]:
        """From the statement's first comment or decorator to the end of its last line."""
        place = self._positions[statement]
        first = self._first_line(statement)
        leading: Sequence[cst.EmptyLine] = getattr(statement, "leading_lines", ())
        for empty in reversed(leading):
            if empty.comment is None:
                break
            first -= 1
        last = min(place.end.line, len(self._lines) - 1)
        return self._lines[first - 1], self._lines[last]

    def _indented(self, statement: cst.CSTNode, code: str) -> str:
        """The code as whole lines at the statement's depth, in the file's own indentation."""
        place = self._positions[statement]
        start = self._lines[place.start.line - 1]
        indent = self.text[start : start + place.start.column]
        if indent.strip():
            raise NotApplicable("the statement does not begin its line")
        lines = []
        for line in textwrap.dedent(code).strip("\n").splitlines():
            body = line.lstrip(" ")
            depth = (len(line) - len(body)) // 4
            rest = " " * ((len(line) - len(body)) % 4)
            lines.append(indent + self.module.default_indent * depth + rest + body if body else "")
        newline = self.module.default_newline
        return newline.join(lines) + newline
