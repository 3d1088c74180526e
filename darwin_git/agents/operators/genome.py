"""The genome as the operators see it: its files, and the settings in effect."""

import posixpath
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache

import libcst as cst

from .source import Edit, NotApplicable, Source, dotted, walk

Files = Mapping[str, str]
Number = int | float


@dataclass(frozen=True)
class GenomeView:
    """Text files by path, and what the training is started with.

    `arguments` are the train command's, from the script on: ("train.py", "config/tiny_cpu.py").
    `frozen` names settings that the harness overrides: an edit of them would change nothing.
    """

    files: Files
    arguments: tuple[str, ...] = ("train.py",)
    frozen: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Setting:
    """A literal `name = value` in effect. The value may be written as a product: 5 * 8."""

    name: str
    value: bool | int | float
    path: str
    start: int
    end: int


class Genome:
    """A view with its files parsed on demand, once."""

    def __init__(self, view: GenomeView) -> None:
        self.view = view

    def source(self, path: str) -> Source:
        if path not in self.view.files:
            raise NotApplicable(f"no file {path}")
        return _parse(path, self.view.files[path])

    @property
    def model(self) -> Source:
        return self.source("model.py")

    @property
    def train(self) -> Source:
        return self.source(self._command[0])

    @cached_property
    def _command(self) -> list[str]:
        """The script and what follows it (an interpreter may stand before)."""
        arguments = list(self.view.arguments)
        scripts = [i for i, word in enumerate(arguments) if word.endswith(".py")]
        if not scripts:
            raise NotApplicable("the train command names no script")
        script, *rest = arguments[scripts[0] :]
        return [posixpath.normpath(script), *rest]

    @cached_property
    def settings(self) -> dict[str, Setting]:
        """Every setting whose value in effect is a plain literal that may be edited.

        nanoGPT's rule: train.py's globals, then the configuration files and --name=value arguments
        from left to right, when the configurator is executed.
        """
        found: dict[str, Setting | None] = {}
        body = list(self.train.module.body)
        names = _configurators(self.train)
        configured = [i for i, n in enumerate(body) if _calls_any(self.train, n, names)]
        if not configured:
            return {}
        for node in body[: configured[0]]:
            _collect(self.train, node, found)
        for argument in self._command[1:]:
            if argument.startswith("--"):
                found[argument[2:].split("=")[0]] = None
                continue
            source = self.source(posixpath.normpath(argument))
            for node in source.module.body:
                _collect(source, node, found)
        for node in body[configured[0] + 1 :]:
            if isinstance(node, cst.SimpleStatementLine):
                found.update(dict.fromkeys(_assigned(node)))
        return {
            name: setting
            for name, setting in found.items()
            if setting is not None and name not in self.view.frozen
        }

    def setting(self, name: str) -> Setting:
        if name not in self.settings:
            raise NotApplicable(f"{name} is frozen, shadowed, or no plain literal")
        return self.settings[name]

    def number(self, name: str) -> Number:
        value = self.setting(name).value
        if isinstance(value, bool):
            raise NotApplicable(f"{name} is no number")
        return value

    def whole(self, name: str) -> int:
        value = self.number(name)
        if not isinstance(value, int):
            raise NotApplicable(f"{name} is no whole number")
        return value

    def set(self, name: str, value: bool | int | float) -> Edit:
        """Write another value where the one in effect stands; the literal's type stays."""
        setting = self.setting(name)
        if isinstance(setting.value, bool) != isinstance(value, bool):
            raise NotApplicable(f"{name} has another type")
        if isinstance(setting.value, float):
            value = float(value)
        if type(value) is not type(setting.value) or value == setting.value:
            raise NotApplicable(f"{name} already is {value}")
        return Edit(setting.path, setting.start, setting.end, literal(value))


@lru_cache(maxsize=32)
def _parse(path: str, text: str) -> Source:
    """Parsing takes longer than all else, and one genome is asked about many operators."""
    return Source(path, text)


def literal(value: bool | int | float) -> str:
    """The value as Python source, floats with at most 4 significant digits."""
    if not isinstance(value, float):
        return repr(value)
    return repr(float(f"{value:.4g}"))


def _configurators(source: Source) -> list[str]:
    """What runs the configurator: `exec` of its text, or a function imported from it."""
    names = ["exec"]
    for n in walk(source.module):
        if not isinstance(n, cst.ImportFrom) or n.module is None:
            continue
        if dotted(n.module) == "configurator" and not isinstance(n.names, cst.ImportStar):
            names += [alias.evaluated_alias or alias.evaluated_name for alias in n.names]
    return names


def _calls_any(source: Source, node: cst.CSTNode, names: list[str]) -> bool:
    if isinstance(node, cst.FunctionDef | cst.ClassDef):
        return False
    return any(source.calls(node, name) for name in names)


def _collect(source: Source, node: cst.CSTNode, found: dict[str, Setting | None]) -> None:
    """Note what a top-level statement assigns; None where that is not one plain literal."""
    if isinstance(node, cst.FunctionDef | cst.ClassDef):
        return
    found.update(dict.fromkeys(_assigned(node)))
    if not isinstance(node, cst.SimpleStatementLine):
        return
    for statement in node.body:
        if not isinstance(statement, cst.Assign | cst.AnnAssign) or statement.value is None:
            continue
        targets = (
            [target.target for target in statement.targets]
            if isinstance(statement, cst.Assign)
            else [statement.target]
        )
        value = constant(statement.value)
        if len(targets) == 1 and isinstance(targets[0], cst.Name) and value is not None:
            start, end = source.span(statement.value)
            name = targets[0].value
            found[name] = Setting(name, value, source.path, start, end)


def _assigned(node: cst.CSTNode) -> list[str]:
    """Every name that the statement may bind by an assignment."""
    names = []
    for child in walk(node):
        if isinstance(child, cst.AssignTarget | cst.AnnAssign | cst.AugAssign):
            targets = child.target
            names += [n.value for n in walk(targets) if isinstance(n, cst.Name)]
    return names


def constant(node: cst.CSTNode) -> bool | int | float | None:
    """The value of a literal, or of a sum, difference, product or quotient of literals."""
    if isinstance(node, cst.Name) and node.value in ("True", "False"):
        return node.value == "True"
    if isinstance(node, cst.Integer | cst.Float):
        return node.evaluated_value
    if isinstance(node, cst.UnaryOperation) and isinstance(node.operator, cst.Minus):
        value = constant(node.expression)
        return None if value is None else -value
    if isinstance(node, cst.BinaryOperation):
        left, right = constant(node.left), constant(node.right)
        if left is None or right is None:
            return None
        if isinstance(node.operator, cst.Multiply):
            return left * right
        if isinstance(node.operator, cst.Add):
            return left + right
        if isinstance(node.operator, cst.Subtract):
            return left - right
        if isinstance(node.operator, cst.Divide) and right:
            return left / right
    return None
