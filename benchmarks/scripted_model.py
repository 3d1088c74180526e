"""A model that is a program: it mutates the seed genome, and mends only what it is shown.

Of the mutations that it breaks, each fails in its own way, and the mending edit follows from the
words of the failure alone: from the name in a traceback, from the shapes that do not fit. So the
repair rate says whether the right information reaches a model, and nothing about any model's wit.
"""

import json
import re
import threading
from collections import Counter
from dataclasses import dataclass


@dataclass(frozen=True)
class Break:
    """A way to fail, and what a reader of the failure would do.

    Attributes:
        kind: for people.
        search: a line of the file, stripped, that the mutation replaces.
        wrong: what the mutation writes in its place; {n} is the mutation's number.
        says: what the failure must say before the model mends it.
        wrong_line: a line, stripped, of the broken file that the repair replaces; the mutation's
            own where it is empty.
        right: what it writes in its place.
    """

    kind: str
    path: str
    search: str
    wrong: str
    says: str
    right: str
    wrong_line: str = ""


GELU = "x = F.gelu(x)"
BREAKS = (
    Break(
        "name",
        "model.py",
        GELU,
        "x = F.relu(h{n}).square()",
        r"NameError: name 'h{n}' is not defined",
        "x = F.relu(x).square()",
    ),
    Break(
        "attribute",
        "model.py",
        GELU,
        "x = F.relu_squared{n}(x)",
        r"has no attribute 'relu_squared{n}'",
        "x = F.relu(x).square()",
    ),
    Break(
        "shape",
        "model.py",
        "self.c_fc = nn.Linear(config.n_embd, 4 * config.n_embd, bias=config.bias)",
        "self.c_fc = nn.Linear(config.n_embd, 3 * config.n_embd + {n} - {n}, bias=config.bias)",
        r"shapes cannot be multiplied \(\d+x192 and 256x64\)",
        "self.c_proj = nn.Linear(3 * config.n_embd, config.n_embd, bias=config.bias)",
        "self.c_proj = nn.Linear(4 * config.n_embd, config.n_embd, bias=config.bias)",
    ),
    Break(
        "import",
        "model.py",
        "import math",
        "import math\nimport torch.nn.quick{n}",
        r"No module named 'torch\.nn\.quick{n}'",
        "",
        "import torch.nn.quick{n}",
    ),
    Break(
        "argument",
        "model.py",
        "self.resid_dropout = nn.Dropout(config.dropout)",
        "self.resid_dropout = nn.Dropout(config.dropout, rate{n}=0.0)",
        r"unexpected keyword argument 'rate{n}'",
        "self.resid_dropout = nn.Dropout(config.dropout / 2)",
    ),
    Break(
        "heads",
        "config/tiny_cpu.py",
        "n_head = 4",
        "n_head = 5  # {n}",
        r"n_embd=64 is not a multiple of n_head=5",
        "n_head = 8",
    ),
)


def render(edits: list[tuple[str, str, str]], idea: str, title: str, why: str) -> str:
    """An answer in the form that the prompt asks for."""
    header = {"idea": idea, "title": title, "why": why, "expected": "-0.01 nats"}
    blocks = [
        f"{path}\n<<<<<<< SEARCH\n{search}\n=======\n{text}\n>>>>>>> REPLACE"
        for path, search, text in edits
    ]
    return "```json\n" + json.dumps(header) + "\n```\n\n" + "\n\n".join(blocks) + "\n"


class ScriptedModel:
    """Answers prompts about the seed genome.

    Args:
        broken: share of its mutations that it breaks, spread evenly.
    """

    def __init__(self, broken: float = 0.4) -> None:
        self._broken = broken
        self._lock = threading.Lock()
        self._made = 0
        self._open: dict[int, Break] = {}
        self.counts: Counter[str] = Counter()

    def __call__(self, prompt: str) -> str:
        """An answer to the whole prompt, messages joined."""
        with self._lock:
            mended = self._mend(prompt)
            if mended:
                self.counts["mended"] += 1
                return mended
            if "# A mutation to mend" in prompt:
                self.counts["helpless"] += 1
                return "I cannot see what went wrong."
            return self._mutate(prompt)

    def _mutate(self, prompt: str) -> str:
        self._made += 1
        n = self._made
        breaks = int(n * self._broken) > int((n - 1) * self._broken)
        if breaks:
            for step in range(len(BREAKS)):
                chosen = BREAKS[(int(n * self._broken) + step) % len(BREAKS)]
                found = _line(_section(prompt, chosen.path), chosen.search)
                if found is not None:
                    self._open[n] = chosen
                    self.counts[f"broken: {chosen.kind}"] += 1
                    wrong = _indented(found, chosen.wrong.replace("{n}", str(n)))
                    edits = [(chosen.path, found, wrong)]
                    return render(edits, f"{chosen.kind}-{n}", f"Try {chosen.kind} {n}", "A guess.")
        self.counts["good"] += 1
        found = _assignment(_section(prompt, "config/tiny_cpu.py"), "learning_rate")
        rate = f"learning_rate = {0.003 + n * 1e-5:.5f}"
        edits = [("config/tiny_cpu.py", found, rate)]
        return render(edits, f"lr-{n}", f"Set the learning rate, {n}", "The default is untuned.")

    def _mend(self, prompt: str) -> str:
        for n, broken in self._open.items():
            if not re.search(broken.says.replace("{n}", str(n)), prompt):
                continue
            line = (broken.wrong_line or broken.wrong).replace("{n}", str(n))
            text = _section(prompt, broken.path)
            found = _line(text, line)
            if found is None or _line(text, broken.wrong.replace("{n}", str(n))) is None:
                continue
            right = _indented(found, broken.right)
            edits = [(broken.path, found, right)]
            return render(edits, f"{broken.kind}-{n}", f"Fix {broken.kind} {n}", "As it says.")
        return ""


def _section(prompt: str, path: str) -> str:
    """The latest content of a file that the prompt shows."""
    found = re.findall(
        rf"^\[begin file {re.escape(path)} (\w+)\]\n(.*?)^\[end file {re.escape(path)} \1\]$",
        prompt,
        re.M | re.S,
    )
    return str(found[-1][1]) if found else ""


def _line(text: str, line: str) -> str | None:
    """The first line of `line` with its indentation, where the text has all of its lines."""
    rows = [row.strip() for row in text.splitlines()]
    if any(row not in rows for row in line.split("\n")):
        return None
    found = re.search(rf"^[ \t]*{re.escape(line.split(chr(10))[0])}$", text, re.M)
    return found[0] if found else None


def _indented(like: str, text: str) -> str:
    indent = like[: len(like) - len(like.lstrip())]
    return "\n".join(indent + row if row else row for row in text.split("\n"))


def _assignment(text: str, name: str) -> str:
    found = re.findall(rf"^{name} = .*$", text, re.M)
    return str(found[-1]) if found else ""
