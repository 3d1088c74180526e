"""What a container costs a training beside its own work: container and process, side by side.

    python -m benchmarks.container_overhead [--image IMAGE] [--runs 9]

The command imports torch and leaves a checkpoint of 1 MB, which is harvested. `whole` is the wall
time of `Runner.run`; `command` is what the runner says of the command itself, by the outside clock.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

from darwin_git.executors.local import plan_slots
from darwin_git.ports import Command, File, Limits, Runner
from darwin_git.sandbox.docker import DockerRunner
from darwin_git.sandbox.process import ProcessRunner

MAIN = b"""
import pathlib, sys, torch
print("imported", flush=True)
pathlib.Path(sys.argv[1], "ckpt.pt").write_bytes(bytes(1_000_000))
"""


def once(runner: Runner) -> tuple[float, float, float]:
    """(wall seconds of run, seconds of the command, second at which torch was imported)."""
    command = Command(
        label="overhead",
        trusted=True,
        genome={"main.py": File(MAIN)},
        tools={},
        argv=("{python}", "main.py", "{out}"),
        limits=Limits(120, 4 << 30, 64 << 20),
        data={},
        artifacts={},
        keep=("ckpt.pt",),
    )
    began = time.monotonic()
    finished = runner.run(command, plan_slots()[-1])
    whole = time.monotonic() - began
    assert finished.exit_code == 0, finished
    assert len(finished.outputs.read("ckpt.pt", 1 << 21)) == 1_000_000
    finished.outputs.discard()
    return whole, finished.seconds, finished.lines[0].at


def main() -> None:
    """Measure in pairs, print medians and spread."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--image", default="darwin-git/train:latest")
    parser.add_argument("--runs", type=int, default=9)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        runners: dict[str, Runner] = {
            "process": ProcessRunner(Path(folder, "process")),
            "docker": DockerRunner(Path(folder, "docker"), chosen.image),
        }
        rows: dict[str, list[tuple[float, float, float]]] = {name: [] for name in runners}
        for number in range(chosen.runs + 1):
            for name, runner in runners.items():
                row = once(runner)
                if number:  # the first one warms the page cache
                    rows[name].append(row)
        for runner in runners.values():
            runner.close()
    for name, taken in rows.items():
        whole, own, imported = (list(column) for column in zip(*taken, strict=True))
        beside = [a - b for a, b in zip(whole, own, strict=True)]
        print(f"{name:8} {'whole':9} {spread(whole)}")
        print(f"{name:8} {'command':9} {spread(own)}   (torch imported at {spread(imported)})")
        print(f"{name:8} {'overhead':9} {spread(beside)}")


def spread(values: list[float]) -> str:
    """Median and range in seconds."""
    return f"{statistics.median(values):6.2f} s ({min(values):.2f} to {max(values):.2f})"


if __name__ == "__main__":
    main()
