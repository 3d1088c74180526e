"""SIGKILL at random instants, over and over, while real trainings run and git writes.

    python -m benchmarks.kill_campaign [--kills 200] [--seed 1]

After each kill the next command goes on; at the end every reference is consistent, no replicate was
lost or paid twice, and no process and no stale lock of ours is left.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

TOOL = [sys.executable, "-m", "darwin_git"]
SMALL = """
[budget]
tokens = 9216

[population]
baseline_seeds = 2

[agents.a1]
kind = "catalogue"
families = ["optimizer", "schedule"]

[agents.a2]
kind = "catalogue"
families = ["init", "model"]

[selection]
race = [1]
certificate = [2]
union_tries = 1
"""


def git(folder: Path, *words: str) -> str:
    """Plain git's answer."""
    done = subprocess.run(
        ["git", "-C", str(folder), *words], check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


def prepare(folder: Path) -> Path:
    """A genome with a tiny budget and its baseline."""
    subprocess.run([*TOOL, "init", str(folder)], check=True, stdout=subprocess.DEVNULL)
    path = folder / "darwin.toml"
    corpus = next(line for line in path.read_text().splitlines() if line.startswith("corpus"))
    path.write_text(f"[data]\n{corpus}\n{SMALL}")
    command = [*TOOL, "-C", str(folder), "-q", "baseline"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return folder


def killed_run(folder: Path, seconds: float, *words: str) -> bool:
    """Start a command, SIGKILL it after so long; whether it was still running."""
    process = subprocess.Popen(
        [*TOOL, "-C", str(folder), "-q", *words],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        process.wait(seconds)
        return False
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        return True


def check(folder: Path) -> list[str]:
    """What is wrong: empty where all is well."""
    faults = []
    verified = subprocess.run(
        [*TOOL, "-C", str(folder), "verify", "--json"], capture_output=True, text=True
    )
    faults += json.loads(verified.stdout)["faults"]
    exported = subprocess.run(
        [*TOOL, "-C", str(folder), "export", "--to", "json"], capture_output=True, text=True
    )
    seen = set()
    for row in json.loads(exported.stdout)["replicates"]:
        key = row["identity"], row["seed"]
        if key in seen:
            faults.append(f"{row['commit'][:12]} seed {row['seed']} was paid twice")
        seen.add(key)
    common = Path(git(folder, "rev-parse", "--absolute-git-dir"))
    faults += [f"stale {path}" for path in (common / "refs").rglob("*.lock")]
    faults += [f"stale {path}" for path in common.glob("*.lock")]
    if "missing" in (found := git(folder, "fsck", "--no-dangling", "--no-progress")):
        faults.append(found)
    return faults


def leftovers(folder: Path) -> list[str]:
    """Commands of processes that still run in the repository's attempts."""
    time.sleep(1.0)
    marker = str(folder.resolve())
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                if str((entry / "cwd").readlink()).startswith(marker):
                    found.append((entry / "cmdline").read_text().replace("\0", " "))
            except OSError:
                continue
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    chosen = parser.parse_args()
    rng = random.Random(chosen.seed)
    with tempfile.TemporaryDirectory() as place:
        folder = prepare(Path(place) / "genome")
        kills = 0
        while kills < chosen.kills:
            # Most kills fall where git writes: at the start, and around a result.
            kills += killed_run(folder, rng.choice((rng.uniform(0, 1), rng.uniform(0, 12))), "step")
            if kills % 20 == 0:
                faults = [f for f in check(folder) if "stale" not in f]
                print(f"{kills} kills: {faults or 'all is well'}", flush=True)
        subprocess.run([*TOOL, "-C", str(folder), "-q", "step"], check=True)
        print(f"{kills} kills: {check(folder) or 'all is well'}; left: {leftovers(folder) or 0}")


if __name__ == "__main__":
    main()
