"""What one evaluation costs in git: CPU of this process and its git children, and disk after gc.

    python benchmarks/store_overhead.py [--sizes 100,1000,10000] [--generations 10]

An evaluation is: one file spliced, a commit, the variant's branch, a replicate's note, a verdict's
note; a generation of 20 adds a plan, a transition that archives all 20 branches, and a fold that
rewrites the summary notes. Measured on top of repositories that hold 100 … 10 000 variants already.
Goal: at most 5 ms of CPU per evaluation, flat, and at most 5 KB of disk per evaluation after gc.
"""

import argparse
import json
import os
import resource
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

from darwin_git.domain import names, records
from darwin_git.store.ledger import fitness_path, plan_path, population_path
from darwin_git.store.repository import Repository
from darwin_git.store.trees import EMPTY_TREE
from darwin_git.store.updateref import RefUpdate

PER_GENERATION = 20
AGENT = ("a2 (catalogue)", "a2@darwin-git.invalid")
FILES = ["train.py", "model.py", "configurator.py", "prepare.py", "README.md", "bench.py"]
FILES += [f"config/c{n}.py" for n in range(6)]


def source(name: str, lines: int = 200) -> bytes:
    """A file of about 8 KB."""
    stem = name.partition(".")[0].replace("/", "_")
    text = (f"{stem}_{n} = {n} * learning_rate" for n in range(lines))
    return "\n".join(text).encode() + b"\n"


def variant_tree(repository: Repository, base: str, number: int) -> str:
    """The base with a changed training script."""
    return repository.splice(
        base, {"train.py": source("train.py") + f"beta2 = 0.{number}\n".encode()}
    )


def record(kind: str, generation: int, seq: int, commit: str, tree: str) -> records.Record:
    """About 700 bytes, like a real one."""
    shards = [[1234567.891 + seq, 400000, 1600000.0 + n] for n in range(4)]
    return records.make_record(
        kind, "island", generation, seq, commit, tree, f"{seq:064x}", seed=seq % 3,
        verdict="ok", shards=shards, seconds=12.345, tokens_per_second=54321.0, mfu=0.31,
        host="benchmark", notes="x" * 100,
    )  # fmt: skip


def seed(repository: Repository, count: int, base: str, root: str) -> None:
    """`count` archived variants with two records each, then packed as gc would have."""
    updates, notes = [], []
    for number in range(count):
        generation = number // PER_GENERATION
        tree = variant_tree(repository, base, number)
        commit = repository.commit(tree, [root], f"Set beta2 to 0.{number}", AGENT)
        name = names.VariantName(generation, f"a2-on-a1.{number % PER_GENERATION + 2}")
        updates.append(RefUpdate(name.archive_ref, None, commit))
        for n, kind in enumerate(("replicate", "verdict")):
            notes.append(record(kind, generation, 2 * number + n, commit, tree))
    with repository.session():
        repository.publish(updates, notes)
        repository.notes.fold(summary)
        files: dict[str, bytes | None] = {}
        for generation in range(count // PER_GENERATION):
            files |= ledger_files(generation)
        repository.ledger.write(files, "seed")
    repository.git.run("pack-refs", "--all")
    repository.git.run("gc", "-q")


def summary(found: list[records.Record]) -> str:
    """Three lines for people."""
    return f"bpb 1.234 +- 0.005 (2 seeds)\nverdict ok\n{len(found)} records\n"


def ledger_files(generation: int) -> dict[str, bytes | None]:
    """What a generation writes."""
    lines = [json.dumps({"variant": n, "fate": "pruned", "why": "worse " * 5}) for n in range(20)]
    return {
        plan_path(generation): json.dumps({"g": generation, "triples": lines}).encode(),
        population_path(generation): "\n".join(lines).encode(),
        fitness_path(generation): json.dumps({"fitness": list(range(40))}).encode(),
        "summary.json": json.dumps({"generation": generation, "best": 1.23}).encode(),
    }


def generation_of_work(repository: Repository, generation: int, base: str, root: str) -> None:
    """What the tool does for 20 variants."""
    tips = {}
    with repository.session():
        plan = ledger_files(generation)[plan_path(generation)]
        repository.ledger.write({plan_path(generation): plan}, f"plan {generation}")
        for n in range(PER_GENERATION):
            number = generation * PER_GENERATION + n
            tree = variant_tree(repository, base, number)
            commit = repository.commit(tree, [root], f"Set beta2 to 0.{number}", AGENT)
            name = names.VariantName(generation, f"a2-on-a1.{n + 2}")
            repository.publish([RefUpdate(name.ref, None, commit)])
            repository.notes.append(record("replicate", generation, 2 * number, commit, tree))
            repository.notes.append(record("verdict", generation, 2 * number + 1, commit, tree))
            tips[name] = commit
        repository.notes.fold(summary)
        moves = [RefUpdate(name.ref, tip, None) for name, tip in tips.items()]
        moves += [RefUpdate(name.archive_ref, None, tip) for name, tip in tips.items()]
        repository.transition(moves, ledger_files(generation), f"generation {generation}")
        repository.pack()


def cpu() -> float:
    """Seconds of this process and its children, live persistent ones included."""
    own = resource.getrusage(resource.RUSAGE_SELF)
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    live = 0.0
    for task in Path("/proc/self/task").iterdir():
        for child in (task / "children").read_text().split():
            fields = Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()
            live += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return own.ru_utime + own.ru_stime + ended.ru_utime + ended.ru_stime + live


def disk(folder: Path) -> int:
    """Bytes that the files take."""
    return int(subprocess.check_output(["du", "-s", "--block-size=1", folder]).split()[0])


def measure(size: int, generations: int) -> dict[str, float]:
    """One row of the table."""
    folder = Path(tempfile.mkdtemp(prefix="store-overhead-"))
    try:
        with Repository.create(folder) as repository:
            base = repository.splice(EMPTY_TREE, {name: source(name) for name in FILES})
            root = repository.commit(base, [], "Start")
            seed(repository, size, base, root)
            first = size // PER_GENERATION + 1
            generation_of_work(repository, first, base, root)
            repository.git.run("gc", "-q")
            before_disk = disk(folder / ".git")
            before, clock = cpu(), time.perf_counter()
            for generation in range(first + 1, first + 1 + generations):
                generation_of_work(repository, generation, base, root)
            evaluations = generations * PER_GENERATION
            used, wall = cpu() - before, time.perf_counter() - clock
            loose = disk(folder / ".git") - before_disk
            repository.git.run("gc", "-q")
            packed = disk(folder / ".git") - before_disk
        start = time.perf_counter()
        with Repository.open(folder, allow_empty=True, thorough=False) as repository:
            repository.ledger.read("summary.json")
            repository.notes.pending()
            reading = time.perf_counter() - start
            start = time.perf_counter()
            count = sum(len(found) for _, found in repository.notes.all())
            everything = time.perf_counter() - start
        return {
            "variants": size,
            "cpu_ms_per_evaluation": round(1000 * used / evaluations, 2),
            "wall_ms_per_evaluation": round(1000 * wall / evaluations, 2),
            "disk_kb_loose": round(loose / evaluations / 1000, 1),
            "disk_kb_after_gc": round(packed / evaluations / 1000, 2),
            "status_read_ms": round(1000 * reading, 1),
            "all_notes_ms": round(1000 * everything, 1),
            "records": count,
        }
    finally:
        shutil.rmtree(folder)


def main() -> None:
    """Print one JSON line per size."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", default="100,1000,10000")
    parser.add_argument("--generations", type=int, default=10)
    options = parser.parse_args()
    for size in map(int, options.sizes.split(",")):
        print(json.dumps(measure(size, options.generations)), flush=True)


if __name__ == "__main__":
    main()
