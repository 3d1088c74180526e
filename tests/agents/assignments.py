"""What mutators are asked to do in these tests: the seed's genome with a past."""

from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from darwin_git.config import Agent
from darwin_git.config import Repair as Limits
from darwin_git.domain.learning.lesson import Evidence, Lesson
from darwin_git.domain.measurement import FROZEN
from darwin_git.domain.scope import Scope
from darwin_git.domain.trial import Screened, Verdict
from darwin_git.ports.agents import Assignment, Fitness, Past, Peer, Proposal, Refusal, Repair

ROOT = Path(__file__).parents[2]
SCOPE = Scope(("*.py", "config/*.py"), ("configurator.py", "data/*", "bench.py", "sample.py"))


class Quarter:
    """Counts a token for each four bytes, so that no test depends on a table."""

    name = "bytes"

    def count(self, text: str) -> int:
        return -(-len(text.encode(errors="surrogatepass")) // 4)


@cache
def genome() -> dict[str, str]:
    """The seed's text files."""
    folder = ROOT / "seed_repo"
    return {
        path.relative_to(folder).as_posix(): path.read_text(encoding="utf-8")
        for path in sorted(folder.rglob("*"))
        if path.suffix in (".py", ".md") and "data/darwin" not in path.as_posix()
    }


def model(**keys: Any) -> Agent:
    """An agent's section of darwin.toml."""
    return Agent(kind="llm", **{"model": "tiny", **keys})


def limits(answers: int = 2) -> Limits:
    return Limits(answers=answers)


def past(number: int, **changes: Any) -> Past:
    """A mutation of generation `number` on the target's branch."""
    one = Past(
        variant=f"{number:04}/a2-on-a1",
        agent="a2",
        target="a1",
        idea=f"idea-{number}",
        subject=f"Try thing {number}",
        outcome="lost",
        gain=-0.001 * number,
        sd=0.004,
    )
    return replace(one, **changes)


def lesson(**changes: Any) -> Lesson:
    one = Lesson(
        id="0123456789ab",
        kind="safeguard",
        text="Rotary positions need an even head size: 16 works, 15 raised a shape error.",
        scope=frozenset({"rotary", "shape"}),
        evidence=(Evidence("0001/a3-on-a1", "c" * 40, 0.012),),
        shown=3,
        helped=2,
    )
    return replace(one, **changes)


def assignment(**changes: Any) -> Assignment:
    """The third generation: a2 rewrites a1's branch."""
    files = genome()
    whole = Assignment(
        variant="0003/a2-on-a1",
        mutator="a2",
        target="a1",
        files=files,
        mutable=frozenset(path for path in files if SCOPE.allows(path)),
        train=("train.py", "config/tiny_cpu.py"),
        frozen=FROZEN,
        seed=7,
        tried=frozenset({"rotary", "beta2_0.99"}),
        present=frozenset({"qk-norm"}),
        scope=SCOPE,
        fitness=Fitness(
            loss=2.5131,
            gain=0.04,
            noise=0.0123,
            seeds=2,
            parameters=120_000,
            tokens=230_400,
            curve=tuple((10 * at, 4.0 - 0.05 * at) for at in range(31)),
        ),
        rules=("Import torch, numpy and the standard library only.",),
        past=(
            past(1, idea="qk-norm", subject="Normalise queries and keys", outcome="adopted"),
            past(2, target="a3", idea="swiglu", subject="Gate the MLP", outcome="crashed: shape"),
        ),
        peers=(Peer("a3", 0.031, ("relu-squared", "zero-init")),),
        lessons=(lesson(),),
    )
    return replace(whole, **changes)


def edited(path: str, old: str, new: str) -> dict[str, str]:
    """The seed's file with one change."""
    text = genome()[path]
    assert text.count(old) == 1, old
    return {path: text.replace(old, new)}


def proposal(**changes: Any) -> Proposal:
    """A mutation that breaks a shape."""
    files = edited("model.py", "q = q.view(heads)", "q = q.view(B, T, C)")
    one = Proposal(
        files=files,
        idea="flat-queries",
        subject="Keep the queries flat",
        hypothesis="Fewer views.",
        expected="Faster.",
        trailers={},
    )
    return replace(one, **changes)


def broken(**changes: Any) -> Repair:
    """Its screen's end, with a traceback as the runner hands it over."""
    line = genome()["model.py"].split("\n").index("        q = q.transpose(1, 2)") + 1
    log = (
        "number of parameters: 0.12M\n"
        "Traceback (most recent call last):\n"
        '  File "/srv/attempts/00a1/tree/train.py", line 245, in <module>\n'
        "    _, loss = model(x, y)\n"
        f'  File "/srv/attempts/00a1/tree/model.py", line {line}, in forward\n'
        "    q = q.transpose(1, 2)\n"
        "RuntimeError: shape '[16, 48, 4, 16]' is invalid for input of size 7\n"
    )
    reason = "RuntimeError: shape '[16, 48, 4, 16]' is invalid for input of size 7"
    failure = Screened(Verdict.CRASHED, reason, "shape", log=log)
    return replace(Repair(proposal(), failure, 1, 2), **changes)


def refusal(reason: str = "the same change was tried as 0002/a1-on-a3, and it lost") -> Refusal:
    return Refusal(proposal(), reason)
