"""What evolution gains at equal compute, beside a tuned baseline and a random control.

    python -m benchmarks.gain --data tinyshakespeare.txt --out DIR [--runs 3] [--generations 5]

Each run is `init`, `run -n GENERATIONS`, and its certificate; perplexities are those of the final
split, which no decision ever reads. The control draws ideas and targets by chance and is otherwise
the same tool. The tuned baseline is the baseline with its best learning rate of a grid.
"""

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from darwin_git.domain.trial import Verdict, loss
from darwin_git.steps import measure
from darwin_git.steps.drive import drive
from darwin_git.wiring import Wired, wired

FACTORS = (1.0, 1.5, 2.2, 3.3, 5.0, 7.5)


def tool(folder: Path, *words: str, seed: int = 1) -> str:
    """Run darwin-git in a repository; its stdout."""
    environment = os.environ | {"DARWIN_POPULATION__SEED": str(seed)}
    command = [sys.executable, "-m", "darwin_git", "-C", str(folder), *words]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return done.stdout


def one_run(folder: Path, data: Path, seed: int, generations: int, control: str) -> dict[str, Any]:
    """A whole evolution; what its report says."""
    if not (folder / ".git").exists():
        folder.mkdir(parents=True, exist_ok=True)
        tool(folder.parent, "init", folder.name, "--data", str(data.resolve()))
    began = time.monotonic()
    words = ["--control", control] if control else []
    tool(folder, "run", "-n", str(generations), *words, seed=seed)
    seconds = time.monotonic() - began
    report: dict[str, Any] = json.loads(tool(folder, "report", "--json", seed=seed))
    certificate = report["certificate_log"][-1] if report["certificate_log"] else None
    pair = certificate["final_values"] if certificate else None
    return {
        "control": control,
        "seed": seed,
        "seconds": round(seconds, 1),
        "trainings": report["totals"]["trainings"],
        "ideas": report["provisional"]["ideas"],
        "provisional": report["provisional"]["change"],
        "certified": report["certified"] and report["certified"]["change"],
        "status": certificate and certificate["status"],
        "final": pair and 100 * (pair[1] / pair[0] - 1),
        "final_perplexities": pair,
        "curve": [[g, 100 * math.expm1(-best)] for g, best, _ in report["history"]],
    }


def tuned(found: Wired, seeds: range) -> dict[str, Any]:
    """The baseline with the best learning rate: chosen on the race's seeds, read on fresh ones."""
    state = found.must_state()
    path = found.config.genome.train[-1]
    text = found.history.files(state.baseline)[path]
    line = next(one for one in text.splitlines() if one.startswith("learning_rate = "))
    default = float(line.split("=")[1].split("#")[0])
    losses: dict[float, float] = {}
    commits: dict[float, str] = {}
    for factor in FACTORS:
        rate = default * factor
        changed = text.replace(line, f"learning_rate = {rate!r}")
        tree = found.history.splice(state.baseline, {path: changed})
        made_by = ("benchmark", "benchmark@darwin-git.invalid")
        commits[rate] = found.history.commit(tree, (state.baseline,), f"rate {rate}\n", made_by)
        losses[rate] = _mean(found, commits[rate], range(1, 3), final=False)
    best = min(losses, key=lambda rate: losses[rate])
    return {
        "learning_rate": best,
        "scored": {f"{rate:g}": math.exp(value) for rate, value in losses.items()},
        "final": math.exp(_mean(found, commits[best], seeds, final=True)),
        "baseline_final": math.exp(_mean(found, state.baseline, seeds, final=True)),
    }


def _mean(found: Wired, commit: str, seeds: range, *, final: bool) -> float:
    subject = found.world.subject(commit, "tuned")
    allowance = measure.reference(found.world, found.must_state().baseline)
    steps = measure.replicates(found.world, subject, seeds, allowance, 0, final=final)
    results = drive({"tuned": steps}, found.world.executor)["tuned"]
    if any(one.verdict is not Verdict.OK for one in results):
        return math.inf
    return statistics.mean(loss(one.final if final else one.scored) for one in results)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--controls", type=int, default=1)
    parser.add_argument("--generations", type=int, default=5)
    chosen = parser.parse_args()
    chosen.out.mkdir(parents=True, exist_ok=True)
    rows: list[dict[str, Any]] = []
    plan = [("", n) for n in range(1, chosen.runs + 1)]
    plan += [("random", n) for n in range(1, chosen.controls + 1)]
    for control, seed in plan:
        folder = chosen.out / f"{control or 'run'}-{seed}"
        row = one_run(folder, chosen.data, seed, chosen.generations, control)
        rows.append(row)
        print(json.dumps(row), flush=True)
        (chosen.out / "rows.json").write_text(json.dumps(rows, indent=1))
    with wired(chosen.out / "run-1", lambda what, **facts: None, 0.0, "gain") as found:
        rate = tuned(found, range(1001, 1005))
    print(json.dumps(rate), flush=True)
    (chosen.out / "tuned.json").write_text(json.dumps(rate, indent=1))
    for control in ("", "random"):
        pairs = [r["final_perplexities"] for r in rows if r["control"] == control]
        pairs = [pair for pair in pairs if pair]
        if pairs:
            against = [100 * (after / before - 1) for before, after in pairs]
            beside = [100 * (after / rate["final"] - 1) for _, after in pairs]
            print(
                f"{control or 'evolution'}: {statistics.mean(against):+.1f} % to the baseline "
                f"({min(against):+.1f} to {max(against):+.1f}), {statistics.mean(beside):+.1f} % "
                f"to the tuned one ({min(beside):+.1f} to {max(beside):+.1f}), {len(pairs)} runs"
            )


if __name__ == "__main__":
    main()
