"""Texts to start with: the documentation that every Python brings, and Shakespeare."""

import ast
import hashlib
import importlib
import sysconfig
import unicodedata
import urllib.error
import urllib.request
from pathlib import Path

from darwin_git.domain.syntax import parse
from darwin_git.errors import DarwinError

MINIMUM = 400_000

SHAKESPEARE_URL = (
    "https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare/input.txt"
)
SHAKESPEARE_SHA256 = "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed"
_SHAKESPEARE_BYTES = 1_115_394


def default_corpus() -> bytes:
    """Python's own documentation as ASCII, the same for each Python version; about 450 KB.

    pydoc's topics; where a distribution left them out, the docstrings of the standard library.
    """
    text = _ascii(_topics())
    if len(text) < MINIMUM:
        text = _ascii(_docstrings())
    if len(text) < MINIMUM:
        raise DarwinError(
            "this Python brings neither pydoc's topics nor the standard library's sources",
            hint="give a text: darwin-git init --data FILE",
        )
    return text


def shakespeare(timeout: float = 30.0) -> bytes:
    """Download tiny Shakespeare (1.1 MB) and check that it is the known text."""
    cure = "check the connection, or download it elsewhere and give the file: init --data FILE"
    try:
        with urllib.request.urlopen(SHAKESPEARE_URL, timeout=timeout) as answer:
            data: bytes = answer.read(2 * _SHAKESPEARE_BYTES)
    except (urllib.error.URLError, TimeoutError, ConnectionError) as error:
        reason = getattr(error, "reason", error)
        raise DarwinError(f"{SHAKESPEARE_URL} cannot be read: {reason}", hint=cure) from error
    found = hashlib.sha256(data).hexdigest()
    if found != SHAKESPEARE_SHA256:
        raise DarwinError(
            f"{SHAKESPEARE_URL} has the checksum {found[:12]}, not {SHAKESPEARE_SHA256[:12]}: "
            "it is not the known text",
            hint=cure,
        )
    return data


def _topics() -> str:
    try:
        topics: dict[str, str] = importlib.import_module("pydoc_data.topics").topics
    except (ImportError, AttributeError):
        return ""
    return "\n\n".join(topics[name].strip() for name in sorted(topics))


def _docstrings() -> str:
    """Read, not imported: importing the standard library has effects (antigravity, this)."""
    found: list[str] = []
    for path in sorted(Path(sysconfig.get_path("stdlib")).glob("*.py")):
        try:
            tree = parse(path.read_bytes())
        except (SyntaxError, ValueError, OSError):
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
                found.append(ast.get_docstring(node) or "")
    return "\n\n".join(filter(None, found))


def _ascii(text: str) -> bytes:
    """Printable ASCII and newlines: a small vocabulary for a small model."""
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    kept = (c if c == "\n" or " " <= c <= "~" else " " for c in plain)
    return "".join(kept).encode()
