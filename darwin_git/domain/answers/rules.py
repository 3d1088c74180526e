"""What an edit may not do, whoever wrote it: paths, characters, sizes, syntax, gaps."""

import ast
import re
from collections.abc import Collection, Mapping

from darwin_git.domain.message import one_line
from darwin_git.domain.scope import OURS, Scope
from darwin_git.domain.syntax import parse

MAX_PATH = 200
MAX_FILE = 256 * 1024

_CONTROL = re.compile(r"[\x00-\x08\x0b\x0d-\x1f\x7f-\x9f]")
_BIDI = re.compile(r"[\u202a-\u202e\u2066-\u2069]")
_SURROGATE = re.compile(r"[\ud800-\udfff]")
_COMMENT = re.compile(r"\s*(?:#|//|/\*|<!--|--)\s*(.*?)\s*(?:\*/|-->)?\s*")
_DOTS = ("...", "…")
_GAP = frozenset({"unchanged", "existing", "omitted", "rest", "remains", "remain", "brevity"})
_SMALL_WORDS = """
    a above all and are as before below class code content contents continue continues elided file
    following for from function functions goes here imports in is it keep kept lines method methods
    module not of omit original other part previous remaining same script section shown stays still
    the this to untouched with your
"""
_FILLER = frozenset(_SMALL_WORDS.split())
_PLACE = (
    r"(?:files?|code|class|model|function|methods?|module|script|__init__|forward|config|settings)"
)
_PHRASE = re.compile(
    r"no changes?(?: (?:here|needed|required|below|above))?|unchanged|snip|existing implementation|"
    r"(?:same|identical|as) (?:as |in )?(?:the )?(?:before|original|existing)(?: (?:code|file))?|"
    rf"(?:the )?rest of (?:the |this )?{_PLACE}(?: .{{0,30}}(?:unchanged|same|before|is))?|"
    r"(?:everything|all) else (?:is|stays|remains) (?:the same|unchanged|as is|as before)|"
    r"(?:other|remaining|all other|the other) [\w ]{1,30}(?:unchanged|the same|as before|as is)|"
    r"(?:\u5176\u4f59|\u5269\u4f59|\u5176\u4ed6|\u4fdd\u6301|\u539f\u6709)"
    r".{0,12}(?:\u4e0d\u53d8|\u4ee3\u7801)|"
    r"rest\w*\b.{0,20}(?:unver\u00e4ndert|inchang\u00e9|sin cambios)",
    re.IGNORECASE,
)
"""What comments say in the place of code, in so many words."""
LONGEST_GAP = 100
MOST_LOST = 3
"""A whole file that loses so many top-level names, and most of them, is taken for a part of one."""


def size(text: str) -> int:
    """Bytes as UTF-8; a lone surrogate counts, too."""
    return len(text.encode(errors="surrogatepass"))


def one_of_ours(path: str) -> str:
    """A path as our own sentences may name it."""
    return one_line(path[:400], 80) or "(a path without a name)"


def path_problem(path: str, scope: Scope) -> str | None:
    """Why agents may not change a path, as a sentence; None where they may."""
    reason = _odd(path)
    if reason is None and not scope.allows(path):
        patterns = ", ".join(scope.mutable[:8])
        reason = f"it may not be changed; what may be changed is {patterns}"
        if scope.protected:
            reason += f", but not {', '.join(scope.protected[:8])}"
    return None if reason is None else f"the path {one_of_ours(path)} is refused: {reason}."


def _odd(path: str) -> str | None:
    parts = path.split("/")
    if not path.strip() or path != path.strip():
        return "it is empty, or begins or ends with white space"
    if size(path) > MAX_PATH:
        return f"it is longer than {MAX_PATH} bytes"
    if not path.isprintable():  # nor private, unassigned, invisible and surrogate characters
        return "it holds control characters or characters that cannot be seen"
    if "\\" in path or ":" in path:
        return "it holds a backslash or a colon; write folders with /"
    if path.startswith("/") or "" in parts or "." in parts or ".." in parts:
        return "paths are relative to the repository, without empty, . and .. parts"
    if any(_git_like(part) for part in parts):
        return "nothing of git's own may be changed"
    if path.lower() == OURS:
        return f"{OURS} is not the agents' to change"
    return None


def _git_like(part: str) -> bool:
    """Whether some file system takes a name for .git: case, trailing dots, Windows' short names."""
    bare = part.lower().rstrip(". ")
    return bare.startswith(".git") or re.match(r"g?i?t?~[0-9]|git~", bare) is not None


def clash(files: Collection[str], changed: Mapping[str, str | None]) -> str | None:
    """A file where a folder is, or the other way round, as a sentence."""
    paths = {path for path in files if changed.get(path, "") is not None}
    paths |= {path for path, text in changed.items() if text is not None}
    folders = {parent for path in paths for parent in _parents(path)}
    for path in sorted(path for path, text in changed.items() if text is not None):
        if path in folders:
            return f"{one_of_ours(path)} cannot be a file: it is a folder."
        for parent in _parents(path):
            if parent in paths:
                return (
                    f"{one_of_ours(path)} cannot be made: {one_of_ours(parent)} is a file, "
                    "not a folder."
                )
    return None


def _parents(path: str) -> list[str]:
    parts = path.split("/")
    return ["/".join(parts[:n]) for n in range(1, len(parts))]


def text_problem(text: str) -> str | None:
    """Why a text may not enter a file, as the end of a sentence; None where it may."""
    plain = text.replace("\r\n", "\n")
    if _SURROGATE.search(plain):
        return "the new text is not valid Unicode."
    if found := _CONTROL.search(plain):
        return (
            f"the new text holds the control character U+{ord(found[0]):04X}. "
            r'Write it as an escape ("\x1b") where it is needed.'
        )
    if found := _BIDI.search(plain):
        return (
            f"the new text holds U+{ord(found[0]):04X}, which changes the direction of writing "
            "and makes code look like what it is not. Leave it out."
        )
    return None


def elision(text: str, original: str) -> str | None:
    """The first line that stands for text left out ("# ... rest unchanged"), quoted.

    A line that the original file has itself is no elision.
    """
    own: set[str] | None = None
    for line in text.split("\n"):
        bare = line.strip()
        if len(bare) > LONGEST_GAP or not _is_gap(line, bare):
            continue
        if own is None:
            own = {row.strip() for row in original.split("\n")}
        if bare not in own:
            return f'"{one_line(bare, 80)}"'
    return None


def _is_gap(line: str, bare: str) -> bool:
    if bare in _DOTS or bare in ("[...]", "(...)"):
        return line.rstrip() == bare or bare != "..."  # an indented ... is Python for "no body"
    if not bare.startswith(("#", "//", "/*", "<!--", "--")):
        return False
    found = _COMMENT.fullmatch(bare)
    if found is None:
        return False
    said = found[1]
    if said.startswith(_DOTS) and not said.startswith("...)"):
        return True
    core = said.strip("[]()<>-. \u2026")
    if _PHRASE.fullmatch(core) or said in ("[...]", "(...)", "<...>"):
        return True
    words = re.findall(r"[a-z]+", said.lower())
    dotted = said.rstrip(")]").endswith(_DOTS)
    gaps = sum(word in _GAP for word in words)
    return (
        gaps > 0 and all(word in _GAP or word in _FILLER for word in words) and len(words) > 1
    ) or (dotted and (gaps > 0 or "same" in words) and len(words) < 8)


def gutted(path: str, old: str, text: str) -> str | None:
    """Why a whole file looks like a part of one, as a sentence: most of its names are gone.

    An answer that shows only what it changes under the file's name would throw the rest away.
    """
    if not path.endswith(".py"):
        return None
    try:
        before, after = _names_of(old), _names_of(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None  # `check` says so of the new text
    lost = sorted(before - after)
    if len(lost) < MOST_LOST or 2 * len(lost) <= len(before):
        return None
    shown = one_line(", ".join(lost[:6]), 100) + (", …" if len(lost) > 6 else "")
    return (
        f"{one_of_ours(path)} would lose {len(lost)} of its {len(before)} top-level names ({shown})"
        ": your text looks like a part of the file. Change a part with SEARCH/REPLACE blocks, and "
        "take out with them what is really to go."
    )


def _names_of(text: str) -> set[str]:
    """What a file defines and sets at its top level."""
    found: set[str] = set()
    for node in parse(text).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found.add(node.name)
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        found |= {target.id for target in targets if isinstance(target, ast.Name)}
    return found


def check(path: str, text: str) -> str | None:
    """What is wrong with the whole new content of a file, as a sentence; None if nothing.

    Size, and for Python files whether they parse: line and message.
    """
    if size(text) > MAX_FILE:
        return f"{one_of_ours(path)} would be larger than {MAX_FILE // 1024} KiB."
    return parses(path, text)


def parses(path: str, text: str) -> str | None:
    """Why a Python file does not parse, as a sentence; None where it does, or is none."""
    if not path.endswith(".py"):
        return None
    name = one_of_ours(path)
    try:
        parse(text)
    except SyntaxError as error:
        line = (error.text or "").strip()
        shown = f": {one_line(line[:400], 100)}" if line else ""
        return (
            f"{name} would not parse: line {error.lineno}, {one_line(str(error.msg), 100)}{shown}"
        )
    except (ValueError, RecursionError, MemoryError) as error:
        return f"{name} would not parse: {one_line(str(error), 100) or 'it is nested too deeply'}."
    return None
