"""Trials that cost nothing, with effects that are known: for overhead and for the logic of steps.

Everything else is real: git, notes, ledger, generation.py. A variant's loss is read off its tree:
each `idea = effect` line that a mutation adds lowers it by the effect, plus noise from the seed.
A comment bounds an effect: ``# with: other`` works beside that idea only, ``# seed: 1`` is luck
under that seed, ``# large: -0.02`` is what it comes to at a larger budget.
"""

import math
import random
import re
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from darwin_git.domain.learning.lesson import Reflection
from darwin_git.domain.trial import Allowance, Replicate, Screened, Shard, Subject, Verdict
from darwin_git.ports import Assignment, Conflict, Declined, Dialog, Proposal, Repair, Review, Slot

NOISE = 0.01
_LINE = re.compile(r"^idea_(\w+) = (-?[0-9.]+)(?:  # (with|seed|large): (\S+))?$", re.MULTILINE)


class FreeTrials:
    """A measurement that reads its result from the tree."""

    protocol = "free-1"

    def __init__(self, read: Any) -> None:
        self._read = read
        self.trained = 0

    def screen(self, subject: Subject, reference: Allowance | None, slot: Slot) -> Screened:
        text = self._read(subject.commit)["train.py"]
        if "syntax error" in text:
            return Screened(Verdict.CRASHED, "train.py does not compile", "syntax")
        return Screened(Verdict.OK, allowance=Allowance(1000, 6000.0, 1e-4, 1.0, 1.0, 1000, 8))

    def replicate(
        self,
        subject: Subject,
        seed: int,
        allowance: Allowance,
        slot: Slot,
        *,
        factor: float = 1.0,
        final: bool = False,
    ) -> Replicate:
        self.trained += 1
        text = self._read(subject.commit)["train.py"]
        gain = sum(effects(text, seed, factor).values())
        own = random.Random(f"{subject.tree}/{seed}").gauss(0.0, NOISE / 3)
        shared = random.Random(seed).gauss(0.0, NOISE)
        loss = 2.3 - gain + shared + own
        shards = tuple(Shard(loss * 1000, 1000, 1000) for _ in range(4))
        return Replicate(
            seed,
            Verdict.OK,
            scored=shards,
            final=shards if final else (),
            seconds=0.1,
            tokens=allowance.tokens,
            tokens_per_second=1e4,
            curve=((0, 4.0), (10, loss)),
        )


def effects(text: str, seed: int, factor: float) -> dict[str, float]:
    """What each idea of a tree gains under a seed, at so many times the budget."""
    lines = _LINE.findall(text)
    names = {name for name, *_ in lines}
    found: dict[str, float] = {}
    for name, effect, bound, what in lines:
        if bound == "large" and factor > 1:
            effect = what
        lost = (bound == "with" and what not in names) or (bound == "seed" and what != str(seed))
        found[name] = 0.0 if lost else float(effect)
    return found


class FreeProposer:
    """Adds one line with a drawn effect; about a third help."""

    signature = "free"
    builtin = True
    gpu = None

    def propose(self, assignment: Assignment) -> Dialog[Proposal | Declined]:
        yield from ()
        rng = random.Random(assignment.seed)
        idea = f"i{rng.randrange(100)}"
        effect = round(rng.gauss(-0.01, 0.03), 4)
        text = assignment.files["train.py"]
        lines = text.splitlines()
        lines.insert(rng.randrange(1, len(lines)), f"idea_{idea}_{rng.randrange(10**9)} = {effect}")
        return Proposal(
            {"train.py": "\n".join(lines) + "\n"},
            idea,
            f"Try {idea}",
            "It may help.",
            "something",
            {"Darwin-Operator": idea},
        )

    def repair(self, assignment: Assignment, broken: Repair) -> Dialog[Proposal | Declined]:
        yield from ()
        return Declined("never mends")

    def resolve(
        self, assignment: Assignment, conflicts: Sequence[Conflict]
    ) -> Dialog[Mapping[str, str] | Declined]:
        yield from ()
        return Declined("never resolves")

    def reflect(self, review: Review) -> Dialog[Reflection | Declined]:
        yield from ()
        return Declined("never reflects")


class Inline:
    """An executor that runs each call at once, in the calling thread."""

    slots = 1

    def submit(self, call: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(call(Slot(0, (0,))))
        except BaseException as error:  # handed to whoever waits, as a pool does
            future.set_exception(error)
        return future

    def hold(self, gpu: str | None) -> AbstractContextManager[None]:
        return nullcontext()

    def close(self, *, cancel: bool) -> None:
        pass


def genome(lines: int = 400) -> Mapping[str, bytes]:
    """A tree of the size of nanoGPT's, that nobody trains."""
    body = "".join(f"value_{n} = {math.sqrt(n):.6f}\n" for n in range(lines))
    files = {name: body.encode() for name in ("train.py", "model.py", "configurator.py")}
    return files | {f"config/c{n}.py": b"x = 1\n" * 40 for n in range(8)}
