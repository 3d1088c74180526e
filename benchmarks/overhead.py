"""The tool's own cost: CPU and disk per evaluation with trials that cost nothing.

    python benchmarks/overhead.py [--sizes 100,1000,10000] [--agents 20] [--measure 200]

Everything but training is real: every record is durable one by one, every generation ends with a
transition and a fold. CPU counts this process and its git children.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.free import FreeProposer, FreeTrials, Inline, genome
from darwin_git.config import Agent, Config
from darwin_git.generation import step
from darwin_git.steps.start import baseline
from darwin_git.steps.world import World
from darwin_git.store.history import GitHistory
from darwin_git.store.repository import Repository


def make(folder: Path, agents: int) -> tuple[Repository, World]:
    """A repository with a baseline, and a world whose trials are free."""
    repository = Repository.create(folder)
    for path, content in genome().items():
        target = folder / path
        target.parent.mkdir(exist_ok=True)
        target.write_bytes(content)
    for command in (["add", "-A"], ["commit", "-qm", "start"]):
        subprocess.run(["git", "-C", str(folder), *command], check=True)
    history = GitHistory(repository)
    names = {f"a{n}": Agent() for n in range(1, agents + 1)}
    config = Config(agents=names)
    proposer = FreeProposer()
    world = World(
        history=history,
        trials=FreeTrials(history.files),
        executor=Inline(),
        proposers=dict.fromkeys(names, proposer),
        config=config,
        tell=lambda what, **facts: None,
        clock=time.monotonic,
    )
    return repository, world


def cpu() -> float:
    """CPU seconds of this process and of its ended and running children."""
    used = os.times()
    return used.user + used.system + used.children_user + used.children_system + running()


def running() -> float:
    """CPU seconds of children that still run (the persistent git processes)."""
    ticks = os.sysconf("SC_CLK_TCK")
    total = 0.0
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rsplit(")", 1)[1].split()
            except OSError:
                continue
            if int(fields[1]) == os.getpid():
                total += (int(fields[11]) + int(fields[12])) / ticks
    return total


def disk(folder: Path) -> int:
    """Bytes below .git after gc."""
    subprocess.run(["git", "-C", str(folder), "gc", "-q", "--prune=now"], check=True)
    return sum(p.stat().st_size for p in (folder / ".git").rglob("*") if p.is_file())


def seconds(words: list[str]) -> str:
    """Wall seconds of a command: median of 7 after a first that fills the bytecode caches."""
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    times = []
    for _ in range(8):
        began = time.perf_counter()
        subprocess.run(
            [sys.executable, "-m", "darwin_git", *words],
            check=True,
            stdout=subprocess.DEVNULL,
            env=environment,
        )
        times.append(time.perf_counter() - began)
    rest = times[1:]
    return f"{statistics.median(rest):.3f} s (min {min(rest):.3f}, max {max(rest):.3f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", default="100,1000,10000")
    parser.add_argument("--agents", type=int, default=20)
    parser.add_argument("--measure", type=int, default=200, help="variants per measurement")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "run"
        repository, world = make(folder, chosen.agents)
        start = disk(folder)
        with repository, repository.session():
            commit = repository.resolve("HEAD")
            world.history.trust(commit)  # type: ignore[attr-defined]
            state = baseline(world, commit, {}, 8)
            for size in map(int, chosen.sizes.split(",")):
                while state.totals.variants < size:
                    state = step(world, state).after
                per = []
                goal = state.totals.variants + chosen.measure
                while state.totals.variants < goal:
                    before, variants = cpu(), state.totals.variants
                    trained = world.trials.trained  # type: ignore[attr-defined]
                    state = step(world, state).after
                    spent = cpu() - before
                    trained = world.trials.trained - trained  # type: ignore[attr-defined]
                    per.append((spent / (state.totals.variants - variants), spent / trained))
                ms = [1000 * one for one, _ in per]
                each = [1000 * one for _, one in per]
                print(
                    f"{state.totals.variants:>6} variants: {statistics.median(ms):.2f} ms CPU a "
                    f"variant (min {min(ms):.2f}, max {max(ms):.2f}), "
                    f"{statistics.median(each):.2f} ms a training, {len(per)} generations",
                    flush=True,
                )
            total = state.totals
        used = disk(folder) - start
        print(
            f"disk after gc: {used / total.variants / 1024:.2f} KiB a variant, "
            f"{used / total.trainings / 1024:.2f} KiB a training"
        )
        for words in (["-C", str(folder), "status"], ["--help"]):
            print(f"{words[-1]} at {total.variants} variants: {seconds(words)}")


if __name__ == "__main__":
    main()
