"""Operators for any code: named constants scaled, switched, or set to another listed choice.

Found are module-level ``NAME = 8`` in Python, ``#define NAME 8``, ``static const`` and
``constexpr`` in C and C++, ``const NAME: usize = 8;`` in Rust, ``name = 8`` in TOML. A comment
behind the value says more: ``one of: a, b, c`` lists all choices, ``from 1 to 9`` bounds a number.
"""

import ast
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath

from darwin_git.domain.syntax import parse

from .genome import Genome
from .operator import Operator
from .source import Edit, NotApplicable

FACTORS = (2.0, 0.5, 1.25, 0.8)
MOST_BYTES = 400_000
"""Of a file: larger ones are data, or nobody's own."""
MOST_LINE = 300
"""Characters: longer lines are data, and patterns take their time over them."""
MOST_OPERATORS = 4000
MOST_COUNTED = 64
"""Of larger numbers one more is no other number."""
LARGEST = 1e18
PRIOR_SD = 0.02
"""Nothing is known about anybody's constants."""

_NOT_TUNED = re.compile(r"version|copyright|licen[cs]e|magic|debug|verbose|^port$|seed", re.I)
_FOREIGN = frozenset({"test", "tests", "testing", "docs", "doc", "vendor", "third_party", "build"})
_PROJECT_FILES = frozenset({"pyproject.toml", "Cargo.toml", "rust-toolchain.toml"})

_NUMBER = (
    r"[-+]?(?:0[xX][0-9a-fA-F]{1,16}|"
    r"(?:\d[\d_]{0,40}\.?\d{0,40}|\.\d{1,40})(?:[eE][-+]?\d{1,4})?)"
)
_SUFFIX = r"(?:[uUlLfFzZ]{1,3}|_?(?:[iu](?:8|16|32|64|128|size)|f32|f64))?"
_VALUE = rf'(?:{_NUMBER}{_SUFFIX}(?:[ \t]*<<[ \t]*\d+)?|true|false|"[^"\\\n]*")'
_REST = rf"(?P<value>{_VALUE})(?P<end>[ \t]*;?)(?P<comment>[ \t]*(?:#|//|/\*).*)?[ \t]*\r?$"
_C = (
    re.compile(rf"^[ \t]*#[ \t]*define[ \t]+(?P<name>[A-Za-z_]\w*)[ \t]+{_REST}", re.M),
    re.compile(
        r"^[ \t]*(?:(?:static|inline|unsigned|long)[ \t]+){0,4}(?:constexpr|const)[ \t]+"
        r"(?:[\w:]+[ \t]+){0,5}?"
        rf"(?P<name>[A-Za-z_]\w*)[ \t]*=[ \t]*{_REST}",
        re.M,
    ),
)
_RUST = (
    re.compile(
        r"^[ \t]*(?:pub(?:\([^)]*\))?[ \t]+)?(?:const|static)[ \t]+(?P<name>[A-Z_][A-Z0-9_]*)"
        rf"[ \t]*:[ \t]*[&'\w ]+=[ \t]*{_REST}",
        re.M,
    ),
)
_TOML = (re.compile(rf"^(?P<name>[A-Za-z_][\w-]*)[ \t]*=[ \t]*{_REST}", re.M),)
_PATTERNS: Mapping[str, tuple[re.Pattern[str], ...]] = {
    **dict.fromkeys((".c", ".h", ".cc", ".cpp", ".cxx", ".hpp", ".hh", ".cu", ".cuh"), _C),
    ".rs": _RUST,
    ".toml": _TOML,
}
_CHOICES = re.compile(r"one of:?[ \t]*(?P<all>[^\n]+)", re.I)
_BOUNDS = re.compile(rf"\bfrom[ \t]+(?P<low>{_NUMBER})[ \t]+to[ \t]+(?P<high>{_NUMBER})", re.I)
_SHIFT = re.compile(r"(?P<one>1[uUlL]*)(?P<shift>[ \t]*<<[ \t]*)(?P<bits>\d+)")

Value = bool | int | float | str


@dataclass(frozen=True)
class Constant:
    """A named literal: where it stands, and what it may become."""

    name: str
    path: str
    start: int
    text: str
    value: Value
    suffix: str = ""
    choices: tuple[str, ...] = ()
    low: float | None = None
    high: float | None = None


def constants(files: Mapping[str, str], mutable: Collection[str]) -> list[Operator]:
    """An operator for each named constant of the files that agents may change, and each step."""
    found = [
        constant
        for path in sorted(mutable)
        if path in files and _is_theirs(path, files[path])
        for constant in _constants(path, files[path])
        if not _NOT_TUNED.search(constant.name) and _is_small(constant.value)
    ]
    operators: dict[str, Operator] = {}
    for constant, base in zip(found, _names(found), strict=True):
        for suffix, text in _steps(constant):
            name = f"{base}-{suffix}"
            if name not in operators and len(operators) < MOST_OPERATORS:
                operators[name] = _operator(constant, name, text)
    return list(operators.values())


def _is_small(value: Value) -> bool:
    return isinstance(value, str) or abs(value) < LARGEST


def _is_theirs(path: str, text: str) -> bool:
    """Whether what stands there may matter: no test, no vendored file, no project file."""
    place = PurePosixPath(path)
    if _FOREIGN & set(place.parts[:-1]) or place.name in _PROJECT_FILES:
        return False
    return len(text) <= MOST_BYTES and not place.name.startswith("test_")


def _constants(path: str, text: str) -> Iterator[Constant]:
    suffix = PurePosixPath(path).suffix
    if suffix == ".py":
        yield from _python(path, text)
    patterns, start = _PATTERNS.get(suffix, ()), 0
    for line in text.splitlines(keepends=True) if patterns else ():
        found = (pattern.match(line) for pattern in patterns if len(line) <= MOST_LINE)
        for match in filter(None, found):
            read = _read(match["value"])
            if read is not None:
                value, ending = read
                yield _constant(
                    match["name"], path, start + match.start("value"), match["value"], value,
                    match["comment"] or "", ending,
                )  # fmt: skip
        start += len(line)


def _python(path: str, text: str) -> Iterator[Constant]:
    try:
        tree = parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return
    lines = text.encode().splitlines(keepends=True)
    for node in tree.body:
        if isinstance(node, ast.Assign) and len(node.targets) == 1:
            target: ast.expr = node.targets[0]
        elif isinstance(node, ast.AnnAssign) and node.value is not None:
            target = node.target
        else:
            continue
        at = node.value
        if not isinstance(target, ast.Name) or at is None or at.lineno != at.end_lineno:
            continue
        if not re.fullmatch(r"_*[A-Z][A-Z0-9_]*", target.id):
            continue
        try:
            value = _evaluated(at)
        except RecursionError:
            continue
        if value is None or at.lineno > len(lines):
            continue
        line = lines[at.lineno - 1]
        start = len(b"".join(lines[: at.lineno - 1]).decode()) + len(line[: at.col_offset].decode())
        literal = line[at.col_offset : at.end_col_offset].decode()
        comment = line[at.end_col_offset :].decode().strip()
        if text[start : start + len(literal)] == literal:
            yield _constant(target.id, path, start, literal, value, comment)


def _evaluated(node: ast.expr) -> Value | None:
    """The value of a literal, or of arithmetic on literals as in 32 * 1024."""
    if isinstance(node, ast.Constant) and isinstance(node.value, bool | int | float | str):
        return node.value
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        inner = _evaluated(node.operand)
        return -inner if isinstance(inner, int | float) and not isinstance(inner, bool) else None
    if isinstance(node, ast.BinOp):
        left, right = _evaluated(node.left), _evaluated(node.right)
        if type(left) is not int or type(right) is not int or not 0 <= right <= 1 << 40:
            return None
        if isinstance(node.op, ast.LShift) and right < 64:
            return left << right
        if isinstance(node.op, ast.Mult):
            return left * right
        if isinstance(node.op, ast.Pow) and right < 64 and abs(left) < 1024:
            return left**right if left else None
    return None


def _read(literal: str) -> tuple[Value, str] | None:
    """(value, type suffix) of a C, Rust or TOML literal."""
    if literal in ("true", "false"):
        return literal == "true", ""
    if literal.startswith('"'):
        return literal[1:-1], ""
    if found := re.fullmatch(r"(\d+)[uUlL]*[ \t]*<<[ \t]*(\d+)", literal):
        return (int(found[1]) << int(found[2]), "") if int(found[2]) < 64 else None
    found = re.fullmatch(rf"({_NUMBER})({_SUFFIX})", literal)
    if found is None:
        return None
    digits = found[1].replace("_", "")
    try:
        if "x" in digits.lower():
            return int(digits, 16), found[2]
        return (float(digits) if re.search(r"[.eE]", digits) else int(digits)), found[2]
    except ValueError:
        return None


def _constant(
    name: str, path: str, start: int, text: str, value: Value, comment: str, suffix: str = ""
) -> Constant:
    choices: tuple[str, ...] = ()
    low = high = None
    if listed := _CHOICES.search(comment):
        words = listed["all"].removesuffix("*/").split(",")
        choices = tuple(word.strip().strip("\"'`. ") for word in words if word.strip())
    elif bounds := _BOUNDS.search(comment):
        low, high = float(bounds["low"]), float(bounds["high"])
    return Constant(name, path, start, text, value, suffix, choices, low, high)


def _names(found: list[Constant]) -> list[str]:
    """A short name for each, with the file's where another has the same."""
    plain = [_plain(constant.name) for constant in found]
    return [
        name if plain.count(name) == 1 else f"{_plain(PurePosixPath(constant.path).stem)}.{name}"
        for name, constant in zip(plain, found, strict=True)
    ]


def _plain(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", text.lower()).strip("_") or "x"


def _steps(constant: Constant) -> Iterator[tuple[str, str]]:
    """(what is done, the new literal) of every step that a constant can take."""
    value = constant.value
    if constant.choices:
        for choice in constant.choices:
            if choice != str(value) and choice != constant.text:
                text = choice
                if isinstance(value, str):
                    quote = constant.text[-1]
                    text = f"{quote}{choice}{quote}"
                if re.fullmatch(r"[\w.+\- ]+|\"[^\"\\]*\"|'[^'\\]*'", text):
                    yield _plain(choice), text
        return
    if isinstance(value, bool):
        on, off = ("True", "False") if constant.text in ("True", "False") else ("true", "false")
        yield ("off", off) if value else ("on", on)
        return
    if isinstance(value, str):
        return
    targets: dict[int | float, str] = {}
    for factor in FACTORS if value else ():
        scaled = round(value * factor) if isinstance(value, int) else _rounded(value * factor)
        targets.setdefault(scaled, f"x{factor:g}")
    if isinstance(value, int) and abs(value) < MOST_COUNTED:
        targets.setdefault(value + 1, "plus1")
        targets.setdefault(value - 1, "minus1")
    for target, suffix in targets.items():
        if target != value and _allowed(constant, value, target):
            yield suffix, _literal(constant, target)


def _allowed(constant: Constant, value: int | float, target: int | float) -> bool:
    if constant.low is not None and constant.high is not None:
        return constant.low <= target <= constant.high
    # Without a word from the author a positive number stays one.
    return target > 0 if value > 0 else target >= 0 if value == 0 else target < 0


def _rounded(value: float) -> float:
    return float(f"{value:.4g}")


def _literal(constant: Constant, target: int | float) -> str:
    shift = _SHIFT.fullmatch(constant.text)
    if shift and isinstance(target, int) and target & (target - 1) == 0:
        return f"{shift['one']}{shift['shift']}{target.bit_length() - 1}"
    if isinstance(target, int) and re.match(r"[-+]?0[xX]", constant.text):
        return f"{target:#x}{constant.suffix}"
    return f"{target!r}{constant.suffix}"


def _operator(constant: Constant, name: str, text: str) -> Operator:
    def transform(genome: Genome) -> list[Edit]:
        end = constant.start + len(constant.text)
        if genome.view.files.get(constant.path, "")[constant.start : end] != constant.text:
            raise NotApplicable(f"{constant.name} stands elsewhere")
        return [Edit(constant.path, constant.start, end, text)]

    return Operator(
        name=name,
        family="constants",
        title=f"Set {constant.name} in {constant.path} to {text}"[:72],
        why=f"Somebody once chose {constant.text} for {constant.name}. Whether it is best for what "
        f"is measured here is not known, so {text} is tried.",
        expected="unknown in sign; small",
        prior_mean=0.1 * PRIOR_SD,
        prior_sd=PRIOR_SD,
        risk="low",
        transform=transform,
        kind="numeric",
    )
