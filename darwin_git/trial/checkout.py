"""A variant's files, and the rules that are checked before any of them runs."""

import ast
from collections.abc import Callable, Mapping
from pathlib import PurePosixPath

from darwin_git.domain.measurement import Measurement
from darwin_git.domain.syntax import parse
from darwin_git.ports import File

Read = Callable[[str], Mapping[str, File]]
"""All files of a commit by path; the store gives it."""

SETTINGS_FILE = "darwin.toml"
MAX_FILES = 2000
MAX_FILE_BYTES = 2 << 20
MAX_BYTES = 32 << 20
MAX_PATH_BYTES = 1024
MAX_FOLDERS = 10_000
"""Else a container cannot take the tree in, which would look like a fault of its engine."""


class Broken(Exception):
    """A rule that the checkout breaks; `failure` is a class as in Screened."""

    def __init__(self, failure: str, reason: str) -> None:
        super().__init__(reason)
        self.failure = failure
        self.reason = reason


def measured(files: Mapping[str, File]) -> dict[str, File]:
    """The measured tree: without darwin.toml, which belongs to the person's work tree."""
    return {path: file for path, file in files.items() if path != SETTINGS_FILE}


def check(files: Mapping[str, File], measurement: Measurement) -> None:
    """Size, syntax and contract, in this order; raises Broken."""
    check_size(files)
    trees = {path: _parse(path, f.content) for path, f in files.items() if path.endswith(".py")}
    for path in (*measurement.train, measurement.model):
        if path.endswith(".py") and path not in trees:
            raise Broken("rule", f"{path} is missing: the contract needs it")
    _check_script(measurement.train[0], trees, files)
    _check_model(measurement.model, trees[measurement.model])


def check_size(files: Mapping[str, File]) -> None:
    """Raise Broken where the tree has too many or too large files, or paths that are too long."""
    if len(files) > MAX_FILES:
        raise Broken("rule", f"{len(files)} files, more than {MAX_FILES}")
    for path, file in files.items():
        if len(file.content) > MAX_FILE_BYTES:
            raise Broken("rule", f"{path} has more than {MAX_FILE_BYTES >> 20} MiB")
        if len(path.encode()) > MAX_PATH_BYTES:
            raise Broken("rule", f"a path is longer than {MAX_PATH_BYTES} bytes")
    if sum(len(file.content) for file in files.values()) > MAX_BYTES:
        raise Broken("rule", f"the tree has more than {MAX_BYTES >> 20} MiB")
    if len({folder for path in files for folder in PurePosixPath(path).parents}) > MAX_FOLDERS:
        raise Broken("rule", f"the tree has more than {MAX_FOLDERS} folders")


def _parse(path: str, content: bytes) -> ast.Module:
    try:
        return parse(content, path)
    except SyntaxError as error:
        line = (error.text or "").strip()[:200]
        raise Broken("syntax", f"{path}:{error.lineno}: {error.msg}: {line}") from None
    except (ValueError, RecursionError, MemoryError) as error:
        raise Broken("syntax", f"{path}: {type(error).__name__} while parsing") from None


def _check_script(script: str, trees: Mapping[str, ast.Module], files: Mapping[str, File]) -> None:
    source = files[script].content.decode("utf-8", "replace")
    if "configurator" in source:
        if "configurator.py" not in trees:
            raise Broken("rule", f"configurator.py is missing: {script} uses it")
    elif "argv" not in source:
        raise Broken("rule", f"{script} reads no settings: it must execute configurator.py")


def _check_model(path: str, tree: ast.Module) -> None:
    """GPT and GPTConfig exist, and forward takes (idx, targets)."""
    names = {name for node in tree.body for name in _bound(node)}
    for wanted in ("GPT", "GPTConfig"):
        if wanted not in names:
            raise Broken("rule", f"{path} has no {wanted}: the contract needs it")
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and node.name == "GPT":
            _check_forward(path, node)


def _check_forward(path: str, gpt: ast.ClassDef) -> None:
    for node in gpt.body:
        if isinstance(node, ast.FunctionDef) and node.name == "forward":
            taken = [argument.arg for argument in (*node.args.args, *node.args.kwonlyargs)]
            if "targets" not in taken and node.args.kwarg is None:
                raise Broken("rule", f"{path}: GPT.forward must be (self, idx, targets=None)")


def _bound(node: ast.stmt) -> list[str]:
    if isinstance(node, ast.ClassDef | ast.FunctionDef):
        return [node.name]
    if isinstance(node, ast.Import | ast.ImportFrom):
        return [(alias.asname or alias.name) for alias in node.names]
    if isinstance(node, ast.Assign):
        return [t.id for t in node.targets if isinstance(t, ast.Name)]
    if isinstance(node, ast.If | ast.Try):
        return [name for child in node.body for name in _bound(child)]
    return []
