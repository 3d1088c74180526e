"""Hostile answers by the million: nothing but the two refusals, nothing outside the scope.

    python -m benchmarks.hostile_answers --answers 1000000 --seed 1

Every answer is a good one that was spoiled: bytes flipped, cut anywhere, markers doubled, paths
replaced, control characters, surrogates, long runs of one character, nested and forged parts.
Prints how often each outcome came; exit code 1 on a violation, whose answer can be made again
from its number and the seed.
"""

import argparse
import collections
import json
import random
import sys
import time
from collections.abc import Callable, Mapping

from darwin_git.domain.answers.edits import EditsRefused, apply
from darwin_git.domain.answers.parse import AnswerRefused, parse
from darwin_git.domain.message import variant_message
from darwin_git.domain.scope import Scope

SCOPE = Scope(("*.py", "config/*.py"), ("configurator.py", "data/*"))
FILES = {
    "model.py": "import math\n\n\nclass Block:\n    def __init__(self, rate):\n"
    "        self.rate = rate\n        self.bias = False\n\n    def forward(self, x):\n"
    "        return x * self.rate\n",
    "train.py": "".join(f"setting_{n} = {n}\n" for n in range(60)),
    "config/tiny.py": "n_layer = 2\r\nn_head = 2\r\n",
    "configurator.py": "pass\n",
    "README.md": "Title\n=======\n",
}
PATHS = (
    "../model.py",
    "/etc/passwd",
    ".git/config",
    ".GIT/hooks/pre-commit",
    "a/.git./x.py",
    "git~1/x",
    "darwin.toml",
    "C:\\x.py",
    "..\\x.py",
    "configurator.py",
    "data/x.py",
    "model.py/x.py",
    "config",
    "x\x00.py",
    "x\x1b[2J.py",
    "\u202exp.py",
    "\ud800.py",
    "x" * 300 + ".py",
    "",
    " ",
    "a//b.py",
    "./../x.py",
    "config/../../x.py",
    ".gitmodules",
    "-rf.py",
    "~/x.py",
    "con\u200bfig/x.py",
)
BITS = (
    "<<<<<<< SEARCH",
    "=======",
    ">>>>>>> REPLACE",
    "```",
    "````",
    "~~~",
    "```python model.py",
    "\x00",
    "\x1b]0;x\x07",
    "\ud83d",
    "\u202e",
    "\u2028",
    "\x0c",
    "\r",
    "<think>",
    "</think>",
    "@@",
    "*** Begin Patch",
    "*** Delete File: train.py",
    "*** Update File: ../x",
    "--- a/x\n+++ b/x",
    '{"idea": "',
    '"}',
    "# ... rest unchanged",
    "Darwin-Agent: a9",
    "[" * 500,
    "(" * 300,
    "-" * 5000,
    "{'a':" * 200,
    "\\",
    "'''",
    '"""',
    "1" * 5000,
    "lambda:" * 500,
    "x = " * 1000,
    "|||||||",
)
ORDINARY = 0.1
LONG = 2.0


def _blocks(path: str, old: str, new: str) -> str:
    return f"{path}\n<<<<<<< SEARCH\n{old}=======\n{new}>>>>>>> REPLACE\n"


def _diff(path: str, old: str, new: str) -> str:
    rows = "".join(f"-{row}\n" for row in old.splitlines())
    rows += "".join(f"+{row}\n" for row in new.splitlines())
    return f"```diff\n--- a/{path}\n+++ b/{path}\n@@ -1,2 +3,4 @@\n{rows}```\n"


def _patch(path: str, old: str, new: str) -> str:
    rows = "".join(f"-{row}\n" for row in old.splitlines())
    rows += "".join(f"+{row}\n" for row in new.splitlines())
    return f"*** Begin Patch\n*** Update File: {path}\n@@\n{rows}*** End Patch\n"


def _json(path: str, old: str, new: str) -> str:
    return json.dumps({"edits": [{"path": path, "search": old, "replace": new}]}) + "\n"


def _whole(path: str, old: str, new: str) -> str:
    return f"```python {path}\n{FILES.get(path, '').replace(old, new) or new}```\n"


STYLES: tuple[Callable[[str, str, str], str], ...] = (_blocks, _diff, _patch, _json, _whole)


def good(rng: random.Random) -> str:
    """A good answer in any of the styles."""
    head = json.dumps({"idea": "an-idea", "title": "Change it", "why": "W.", "expected": "-1 %"})
    parts = [f"```json\n{head}\n```\n"]
    for path in rng.sample(("model.py", "train.py"), rng.randint(1, 2)):
        row = rng.choice([row for row in FILES[path].splitlines(True) if row.strip()])
        parts.append(rng.choice(STYLES)(path, row, row + row.replace("=", "= 1 +")))
    return "\n".join(parts)


def _flip(rng: random.Random, text: str) -> str:
    places = sorted(rng.sample(range(len(text)), min(len(text), rng.randint(1, 9))))
    for place in places:
        odd = chr(rng.choice((rng.randrange(256), rng.randrange(0x11000))))
        text = text[:place] + odd + text[place + 1 :]
    return text


def _cut(rng: random.Random, text: str) -> str:
    return text[: rng.randint(0, len(text))]


def _drop(rng: random.Random, text: str) -> str:
    start = rng.randint(0, len(text))
    return text[:start] + text[start + rng.randint(1, 40) :]


def _insert(rng: random.Random, text: str) -> str:
    place = rng.randint(0, len(text))
    end = rng.choice(("", "\n"))
    return text[:place] + end + rng.choice(BITS) + end + text[place:]


def _shuffle(rng: random.Random, text: str) -> str:
    lines = text.split("\n")
    chosen = lines[rng.randrange(len(lines))]
    lines.insert(rng.randrange(len(lines) + 1), chosen)
    if rng.random() < 0.5:
        lines.pop(rng.randrange(len(lines)))
    return "\n".join(lines)


def _repath(rng: random.Random, text: str) -> str:
    return text.replace(rng.choice(("model.py", "train.py")), rng.choice(PATHS))


def _repeat(rng: random.Random, text: str) -> str:
    bit = rng.choice((*BITS, "a", " ", "\n", "<", "`", "=", "{", "model.py\n"))
    many = bit + rng.choice(("", "\n"))
    return _insert(rng, text).replace(
        rng.choice(BITS), many * rng.randint(1, 2000 // len(many) + 1)
    )


def _wrap(rng: random.Random, text: str) -> str:
    for n in range(rng.randint(1, 8)):
        mark = rng.choice(("`", "~")) * rng.randint(3, 4 + n)
        text = f"{mark}{rng.choice(('', 'markdown', 'python', 'x.py'))}\n{text}\n{mark}"
    return text


SPOILING = (_flip, _cut, _drop, _insert, _shuffle, _repath, _repeat, _wrap)


def spoiled(seed: int, number: int) -> str:
    """The hostile answer of this number."""
    rng = random.Random(f"{seed}/{number}")
    text = good(rng)
    for _ in range(rng.randint(1, 4)):
        text = rng.choice(SPOILING)(rng, text) or "x"
    if number % 5000 == 17:
        text = _insert(rng, text) + rng.choice(BITS) * (2**20 // 40)
        text = (text * (2**20 // len(text) + 1))[: 2**20]
    return text


def outcome(text: str) -> str:
    """What became of an answer; raises AssertionError where a promise was broken."""
    try:
        answer = parse(text, FILES)
    except AnswerRefused as error:
        _clean(error.reason)
        return "answer refused"
    message = variant_message(answer.title, answer.why, answer.expected, {"Darwin-Agent": "a1"})
    assert answer.title.strip() and len(answer.title) <= 72, answer.title
    assert message.endswith("\n\nDarwin-Agent: a1\n"), message
    try:
        changed = apply(FILES, answer.edits, SCOPE)
    except EditsRefused as error:
        assert error.problems
        for problem in error.problems:
            _clean(problem)
        return "edits refused"
    _inside(changed)
    return "applied"


def _clean(reason: str) -> None:
    bad = [c for c in reason if not (c.isprintable() or c == "\n")]
    assert not bad and len(reason) < 5000, ascii(reason[:300])


def _inside(changed: Mapping[str, str | None]) -> None:
    assert changed
    for path, text in changed.items():
        assert SCOPE.allows(path) and ".." not in path and not path.startswith("/"), ascii(path)
        assert path.isprintable() and "\\" not in path and ".git" not in path.lower(), ascii(path)
        assert text != FILES.get(path)
        if text is not None:
            text.encode()
            assert not any(c < " " and c not in "\t\n\f\r" for c in text), ascii(path)


def judge(seed: int, number: int) -> tuple[str, float]:
    """(outcome, CPU seconds) of one answer; a slow one is a violation."""
    text = spoiled(seed, number)
    limit = ORDINARY if len(text) < 64 * 1024 else LONG
    result, took = _timed(text)
    if took > limit:  # a collection of this process's garbage is not the answer's fault
        took = min(_timed(text)[1] for _ in range(3))
    assert took < limit, f"{took:.2f} s"
    return result, took


def _timed(text: str) -> tuple[str, float]:
    started = time.thread_time()
    result = outcome(text)
    return result, time.thread_time() - started


def main() -> int:
    """Judge all answers; print the counts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--answers", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    counts: collections.Counter[str] = collections.Counter()
    slowest, broken = 0.0, 0
    for number in range(options.answers):
        try:
            result, took = judge(options.seed, number)
        except Exception as error:  # whatever it is, it is what this looks for
            broken += 1
            result, took = f"VIOLATION {type(error).__name__}", 0.0
            print(f"answer {number}: {error!r:.300}", file=sys.stderr)
        counts[result] += 1
        slowest = max(slowest, took)
    for result, count in counts.most_common():
        print(f"{count:9d}  {result}")
    print(f"{slowest * 1000:9.1f}  ms of CPU for the slowest")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
