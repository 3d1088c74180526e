"""How many broken mutations are mended: python -m benchmarks.repair_rate [--generations 10]

A scripted server (benchmarks/scripted_model.py) breaks 40 % of its mutations of the seed genome,
each in its own way, and mends what it is shown the failure of. Everything else is real: the
client, prompts, git, the screens' smoke runs. Trainings are cut to a few steps: nothing here is
about gains.
Exit code 1 below --least.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.scripted_model import ScriptedModel
from tests.llm_server import Asked, ScriptedServer, Text

SETTINGS = """
[sandbox]
runner = "process"
allow_unsandboxed = true

[budget]
tokens = 4608
wall_ratio = 100.0
wall_refuse = 100.0

[population]
baseline_seeds = 2
crossover = 0.0
replay = 0.0

[selection]
race = [1]
certificate = [2]
union_tries = 0
"""
AGENT = """
[agents.a{n}]
kind = "llm"
model = "scripted"
"""


def darwin(folder: Path, *words: str) -> str:
    """Run the tool."""
    command = [sys.executable, "-m", "darwin_git", "-C", str(folder), *words]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return done.stdout


def prepare(folder: Path, agents: int, settings: str = SETTINGS) -> None:
    """A genome with agents that ask a model."""
    subprocess.run(
        [sys.executable, "-m", "darwin_git", "-q", "init", str(folder)],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    path = folder / "darwin.toml"
    corpus = next(row for row in path.read_text().splitlines() if row.startswith("corpus"))
    models = "".join(AGENT.format(n=n) for n in range(1, agents + 1))
    path.write_text(f"[data]\n{corpus}\n{settings}{models}")


def main() -> int:
    """Run, print the rates."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--generations", type=int, default=10)
    parser.add_argument("--agents", type=int, default=4)
    parser.add_argument("--broken", type=float, default=0.4)
    parser.add_argument("--least", type=float, default=0.9)
    chosen = parser.parse_args()
    model = ScriptedModel(chosen.broken)

    def answer(asked: Asked) -> Text:
        return Text(model(asked.text), usage=(len(asked.text) // 4, 200))

    with tempfile.TemporaryDirectory() as place, ScriptedServer(answer) as server:
        os.environ["OPENAI_BASE_URL"] = server.url
        folder = Path(place) / "genome"
        prepare(folder, chosen.agents)
        darwin(folder, "-q", "baseline")
        began = time.monotonic()
        for _ in range(chosen.generations):
            darwin(folder, "-q", "step")
        seconds = time.monotonic() - began
        told = json.loads(darwin(folder, "report", "--json"))
    found = told["mutations"]
    rate = found["repair_rate"] or 0.0
    print(f"{found['made']} mutations in {chosen.generations} generations, {seconds:.0f} s")
    print(f"failed at first: {found['failed']} ({100 * (found['failure_rate'] or 0):.1f} %)")
    print(f"repaired of these: {found['repaired']} ({100 * rate:.1f} %)")
    print(f"classes: {found['classes']}")
    print(f"the server: {dict(sorted(model.counts.items()))}, {len(server.requests)} requests")
    return 0 if rate >= chosen.least else 1


if __name__ == "__main__":
    sys.exit(main())
