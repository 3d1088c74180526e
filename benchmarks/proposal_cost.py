"""The tool's own CPU for one proposal of a language model, beside the client's.

    python -m benchmarks.proposal_cost [--runs 200] [--lessons 1000] [--events 9000]

Retrieval from memory, rendering, counting, reading the answer, applying its edits; then a repair,
with its diff. The stand-in for network and client returns a fixed answer. Every sample has another
target: one file of the seed's genome differs, so that its text is counted anew, and so does the
history. Imports and the first sample are left out, since they are paid once.

What a step pays once for its memory is measured in processes of their own, which read the lessons
from a repository's ledger, as a step does; a proposal's part of it is that of one agent of four.
"""

import argparse
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

from darwin_git.agents.llm.agent import LLMAgent
from darwin_git.agents.llm.tokens import TokenCounter
from darwin_git.config import Agent, Repair
from darwin_git.domain.exchange import Reply
from darwin_git.domain.learning.lesson import (
    Evidence,
    Lesson,
    MemoryEvent,
    lesson_event,
    new_lesson,
)
from darwin_git.domain.learning.retrieval import Shelf, retrieve, words_of
from darwin_git.domain.measurement import FROZEN
from darwin_git.domain.scope import Scope
from darwin_git.domain.trial import Screened, Verdict
from darwin_git.ports import agents
from darwin_git.ports.agents import Ask, Assignment, Dialog, Fitness, Past, Peer, Proposal

AGENTS = 4
"""Of a run: they share what a step pays once."""
PROCESSES = 12
SEED_REPO = Path(__file__).parents[1] / "seed_repo"
SCOPE = Scope(("*.py", "config/*.py"), ("configurator.py", "data/*", "bench.py", "sample.py"))
KINDS = ("safeguard", "workflow", "recipe", "dead_end")
WORDS = (
    "rotary", "swiglu", "muon", "warmup", "cosine", "dropout", "head", "width", "depth",
    "norm", "rate", "decay", "batch", "window", "shape", "import", "memory", "gradient",
    "clip", "schedule", "attention", "embedding", "tie", "bias", "init", "block",
)  # fmt: skip
OTHERS = tuple(f"word{number}" for number in range(500))
"""The rest of a lesson's vocabulary."""

BREAK = """\
```json
{"idea": "flat-queries", "title": "Keep the queries flat", "why": "Fewer views.", "expected": "-"}
```

model.py
<<<<<<< SEARCH
        q = q.view(heads)
=======
        q = q.view(B, T, C)
>>>>>>> REPLACE

config/tiny_cpu.py
<<<<<<< SEARCH
grad_clip = 1.0
=======
grad_clip = 5.0
>>>>>>> REPLACE
"""
MEND = """\
```json
{"idea": "flat-queries", "title": "Give the queries their heads", "why": "Shape.", "expected": "-"}
```

model.py
<<<<<<< SEARCH
        q = q.view(B, T, C)
=======
        q = q.reshape(heads)
>>>>>>> REPLACE
"""
LOG = """\
Traceback (most recent call last):
  File "/srv/tree/train.py", line 245, in <module>
    _, loss = model(x, y)
  File "/srv/tree/model.py", line 68, in forward
    q = q.transpose(1, 2)
RuntimeError: shape '[16, 48, 4, 16]' is invalid for input of size 7
"""


class Standin:
    """In place of client and network."""

    price = None

    def complete(self, request: Mapping[str, Any]) -> Reply:
        return Reply("ok", BREAK, finish="stop")


def memory(count: int) -> Shelf:
    """Lessons as a long run has them."""
    draw = random.Random(1)
    lessons = {}
    for number in range(count):
        scope = frozenset(draw.sample(WORDS, 3))
        evidence = tuple(
            Evidence(f"{number:04}/a{at}-on-a1", "c" * 40, draw.gauss(0, 0.01)) for at in (1, 2)
        )
        lessons[f"{number:012x}"] = Lesson(
            f"{number:012x}",
            KINDS[number % 4],  # type: ignore[arg-type]
            " ".join([*draw.choices(WORDS, k=8), *draw.choices(OTHERS, k=32)]),
            scope,
            evidence,
            generation=number,
            shown=draw.randrange(9),
        )
    return Shelf(lessons)


def history(shelf: Shelf, count: int) -> list[MemoryEvent]:
    """Events that come to these lessons: five outcomes each, then who was shown which."""
    draw = random.Random(2)
    events, ids = list[MemoryEvent](), list[str]()
    for number, one in enumerate(shelf.values()):
        lesson = new_lesson(one.kind, one.text, one.scope, "rule", number)
        ids.append(lesson.id)
        for at in range(5):
            gains = (draw.gauss(0, 0.01) for _ in range(3))
            found = Evidence(f"{number:04}/a{at}-on-a1", f"{draw.getrandbits(160):040x}", *gains)
            events.append(lesson_event(lesson, number, found))
    for number in range(count - len(events)):
        shown = draw.sample(ids, 6)
        variant = f"{number // 4:04}/a{1 + number % 4}-on-a1"
        events.append(
            {"kind": "shown", "generation": number // 4, "variant": variant, "ids": shown,
             "helped": shown[: draw.randrange(3)]}
        )  # fmt: skip
    return events[:count]


def once(folder: str, strategy: str) -> list[float]:
    """CPU seconds until the first lessons are found: read and parse, index, look up."""
    from darwin_git import generation, wiring
    from darwin_git.store.repository import Repository

    assert generation and wiring, "what a step has imported by then"
    task = assignment(0)
    words = words_of(task.tried, task.mutable, (), strategy)
    with Repository.open(folder) as repository:
        assert repository.ledger.tip, "and git's process runs"
        at = [time.process_time()]
        lessons = repository.memory.lessons()
        at.append(time.process_time())
        assert lessons.index
        at.append(time.process_time())
        assert retrieve(lessons, words)
        at.append(time.process_time())
    return [after - before for before, after in pairwise(at)]


def start_of_a_step(shelf: Shelf, count: int, strategy: str) -> dict[str, list[float]]:
    """What a step pays once, by stage, in a process each."""
    from darwin_git.store.repository import Repository

    with tempfile.TemporaryDirectory() as folder:
        with Repository.create(folder) as repository:
            repository.memory.append(1, history(shelf, count))
            tree = repository.objects.write_tree({})
            git = ["git", "-C", folder]
            made = repository.objects.commit(tree, [], "Start")
            subprocess.run([*git, "update-ref", "refs/heads/main", made], check=True)
        code = f"from benchmarks.proposal_cost import once; print(*once({folder!r}, {strategy!r}))"
        rows = []
        for _ in range(PROCESSES):
            done = subprocess.run(
                [sys.executable, "-c", code], check=True, capture_output=True, text=True
            )
            rows.append([float(word) for word in done.stdout.split()])
    names = ("once: read, parse", "once: index", "once: first look-up")
    return dict(zip(names, map(list, zip(*rows, strict=True)), strict=True))


def assignment(number: int) -> Assignment:
    """The seed's genome as the tip of a lineage that was changed `number` times."""
    files = {
        path.relative_to(SEED_REPO).as_posix(): path.read_text(encoding="utf-8")
        for path in sorted(SEED_REPO.rglob("*"))
        if path.suffix in (".py", ".md")
    }
    files["model.py"] += f"\n# {number}\n"
    past = tuple(
        Past(f"{at:04}/a2-on-a1", "a2", f"a{1 + at % 4}", "idea", f"Try {at} once", "lost", 0.001)
        for at in range(number, number + 48)
    )
    return Assignment(
        variant=f"{number + 48:04}/a2-on-a1",
        mutator="a2",
        target="a1",
        files=files,
        mutable=frozenset(path for path in files if SCOPE.allows(path)),
        train=("train.py", "config/tiny_cpu.py"),
        frozen=FROZEN,
        seed=number,
        scope=SCOPE,
        tried=frozenset(WORDS[:10]),
        fitness=Fitness(2.5, 0.04, 0.012, 2, curve=tuple((at, 3.0) for at in range(64))),
        past=past,
        peers=tuple(Peer(f"a{at}", 0.01, tuple(WORDS[:5])) for at in (3, 4)),
    )


class Clock:
    """CPU seconds by stage."""

    def __init__(self) -> None:
        self.stages: dict[str, list[float]] = {}
        self._since = 0.0

    def start(self) -> None:
        self._since = time.process_time()

    def lap(self, stage: str) -> None:
        self.stages.setdefault(stage, []).append(time.process_time() - self._since)
        self._since = time.process_time()


def driven(dialog: Dialog[Any], reply: Reply, clock: Clock, stage: str) -> Proposal:
    """One question, one answer."""
    ask = next(dialog)
    assert isinstance(ask, Ask)
    clock.lap(f"{stage}: render, count")
    try:
        dialog.send(reply)
    except StopIteration as end:
        clock.lap(f"{stage}: parse, apply")
        assert isinstance(end.value, Proposal), end.value
        return end.value
    raise AssertionError("it asked again")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--lessons", type=int, default=1000)
    parser.add_argument("--events", type=int, default=9000)
    chosen = parser.parse_args()
    counter = TokenCounter("gpt-5.1")
    settings = Agent(kind="llm", model="gpt-5.1", strategy="architecture")
    agent = LLMAgent("a2", settings, Repair(), Standin(), counter)
    shelf = memory(chosen.lessons)
    clock = Clock()
    for number in range(chosen.runs + 1):
        task = assignment(number)
        clock.start()
        words = words_of(task.tried, task.mutable, (), settings.strategy)
        task = replace(task, lessons=retrieve(shelf, words))
        clock.lap("retrieve")
        made = driven(agent.propose(task), Reply("ok", BREAK), clock, "propose")
        failure = Screened(Verdict.CRASHED, "RuntimeError: shape", "shape", log=LOG)
        clock.start()
        broken = agents.Repair(made, failure, 1, 2)
        driven(agent.repair(task, broken), Reply("ok", MEND), clock, "repair")
    stages = {name: times[1:] for name, times in clock.stages.items()}
    each = [sum(row) for row in zip(*list(stages.values())[:3], strict=True)]
    stages["a repair"] = [sum(row) for row in zip(*list(stages.values())[3:5], strict=True)]
    first = start_of_a_step(shelf, chosen.events, settings.strategy)
    whole = [sum(row) for row in zip(*first.values(), strict=True)]
    share = statistics.median(whole) / AGENTS
    stages |= {**first, "once in a step": whole, "a proposal, without": each}
    stages[f"a proposal, with 1/{AGENTS} of it"] = [one + share for one in each]
    print(
        f"{len(shelf)} lessons of {chosen.events} events, {chosen.runs} samples, {PROCESSES} "
        f"processes, tokens counted by {counter.name}; ms CPU"
    )
    for name, times in stages.items():
        low, middle, high = (1000 * q for q in statistics.quantiles(times, n=20)[::9][:3])
        print(f"  {name:28} median {middle:6.2f}  (5 %: {low:.2f}, 95 %: {high:.2f})")


if __name__ == "__main__":
    main()
