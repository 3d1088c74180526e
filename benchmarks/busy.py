"""How much of a step's wall time passes with a screen, training or scoring process alive.

    python -m benchmarks.busy REPOSITORY [--steps 2]

Looks at /proc every 20 ms for processes in the repository's attempts; REPOSITORY has a baseline.
"""

import argparse
import statistics
import subprocess
import sys
import time
from pathlib import Path


def alive(marker: str) -> int:
    """Processes that work in an attempt's checkout."""
    count = 0
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                count += str((entry / "cwd").readlink()).startswith(marker)
            except OSError:
                continue
    return count


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("repository", type=Path)
    parser.add_argument("--steps", type=int, default=2)
    chosen = parser.parse_args()
    marker = str((chosen.repository / ".git/darwin/attempts").resolve())
    shares = []
    for _ in range(chosen.steps):
        command = [sys.executable, "-m", "darwin_git", "-C", str(chosen.repository), "-q", "step"]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        seen = []
        while process.poll() is None:
            seen.append(alive(marker))
            time.sleep(0.02)
        shares.append(100 * sum(n > 0 for n in seen) / len(seen))
        print(
            f"alive {shares[-1]:.1f} % of the step, {statistics.mean(seen):.2f} processes on "
            f"average, {len(seen)} looks",
            flush=True,
        )
    print(f"median {statistics.median(shares):.1f} %")


if __name__ == "__main__":
    main()
