"""Why a training failed: a verdict and a class, from the end's cause and the error text.

The text is the genome's own: a class found in it steers repairs and statistics, never a score.
"""

import re

from darwin_git.domain.trial import Verdict
from darwin_git.ports import Finished

LOG_CHARACTERS = 4000

# The first that matches the end of the error text names the class.
_CLASSES: tuple[tuple[str, re.Pattern[str]], ...] = (
    ("syntax", re.compile(r"^(SyntaxError|IndentationError|TabError)\b", re.M)),
    ("import", re.compile(r"^(ModuleNotFoundError|ImportError)\b", re.M)),
    (
        "oom",
        re.compile(r"^MemoryError\b|OutOfMemoryError|out of memory|can't allocate memory", re.M),
    ),
    ("nan", re.compile(r"ZeroDivisionError|FloatingPointError|math range error")),
    (
        "shape",
        re.compile(
            r"shapes? cannot be multiplied|size mismatch|must match the size|shape '.*' is invalid"
            r"|Sizes of tensors|broadcast|expected .*(shape|dim|size)|doesn't match the broadcast"
            r"|same number of dimensions|index out of range|not enough values to unpack",
            re.I,
        ),
    ),
)


def classify(text: str) -> str:
    """syntax, import, oom, nan, shape or other."""
    last = text[-2000:]
    return next((name for name, pattern in _CLASSES if pattern.search(last)), "other")


def verdict(finished: Finished) -> tuple[Verdict, str, str] | None:
    """(verdict, reason, failure) of a command that did not end well, None if it did."""
    failure = classify(finished.errors)
    if finished.cause == "infra":
        return Verdict.INFRA, finished.errors[:500] or "the runner failed", ""
    if finished.cause == "deadline":
        return Verdict.TIMEOUT, f"killed after {finished.seconds:.0f} s", "timeout"
    if finished.cause == "memory" or (failure == "oom" and finished.exit_code):
        return Verdict.OOM, "it needed more memory than allowed", "oom"
    if finished.cause == "output":
        return Verdict.REJECTED, "it wrote more than allowed", "rule"
    if finished.cause == "processes":
        return Verdict.REJECTED, "it started more processes than allowed", "rule"
    if finished.exit_code == 0:
        return None
    if finished.exit_code is not None and finished.exit_code < 0:
        return Verdict.CRASHED, f"killed by signal {-finished.exit_code}", "other"
    return Verdict.CRASHED, _last_line(finished) or f"exit code {finished.exit_code}", failure


def excerpt(finished: Finished) -> str:
    """The end of what it said, for a repair: bounded, clean (the runner cleaned it)."""
    lines = "\n".join(line.text for line in finished.lines[-12:])
    errors = finished.errors[-3 * LOG_CHARACTERS // 4 :]
    return "\n".join(part for part in (lines[-LOG_CHARACTERS // 4 :], errors) if part).strip()


def _last_line(finished: Finished) -> str:
    lines = [line for line in finished.errors.splitlines() if line.strip()]
    return lines[-1].strip()[:300] if lines else ""
