"""Any repository under a person's own judge: the whole story, killed in the middle, in containers.

The genome prints three constants; the judge, which stands outside, says what they cost.
"""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.test_story import darwin, git

KNOBS = '''"""Three constants that nobody has tuned."""

WIDTH = 4
DEPTH = 10
FAST = False

if __name__ == "__main__":
    print(WIDTH, DEPTH, int(FAST))
'''
JUDGE = """
import json, os, random, subprocess, sys
done = subprocess.run([sys.executable, "knobs.py"], capture_output=True, text=True)
if done.returncode:
    sys.exit(done.stderr)
width, depth, fast = map(int, done.stdout.split())
noise = random.Random(os.environ["DARWIN_SPLIT"] + os.environ["DARWIN_SEED"]).gauss(0, NOISE)
cost = 1 + abs(width - 8) / 4 + abs(depth - 20) / 20 - 0.2 * fast + noise
with open(COUNT, "a") as file:
    file.write(done.stdout.replace(" ", "-").strip() + os.environ["DARWIN_SPLIT"][0]
        + os.environ["DARWIN_SEED"] + " ")
print(json.dumps(SAID))
"""
SETTINGS = """
[genome]
contract = "command"

[metric]
program = "../judge"
primary = "{primary}"
direction = "{direction}"
scale = "{scale}"

[population]
baseline_seeds = 3

[agents.a1]
[agents.a2]
[agents.a3]

[selection]
certificate = [3]

[sandbox]
runner = "{runner}"
image = "{image}"
"""


def repository(
    folder: Path,
    *,
    noise: float = 0.005,
    said: str = '{"cost": cost, "fast": fast}',
    primary: str = "cost",
    direction: str = "min",
    scale: str = "log",
    runner: str = "process",
    image: str = "darwin-git/train:latest",
    count: Path | None = None,
) -> Path:
    """A genome, and its judge beside it."""
    genome, judge = folder / "genome", folder / "judge"
    genome.mkdir(parents=True)
    judge.mkdir()
    (genome / "knobs.py").write_text(KNOBS)
    (genome / ".gitignore").write_text("__pycache__\n")
    text = JUDGE.replace("NOISE", str(noise)).replace("SAID", said)
    (judge / "judge.py").write_text(text.replace("COUNT", repr(str(count or os.devnull))))
    for command in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "Three constants"]):
        git(genome, *command)
    (genome / "darwin.toml").write_text(
        SETTINGS.format(
            primary=primary, direction=direction, scale=scale, runner=runner, image=image
        )
    )
    return genome


def test_from_init_to_a_certified_champion_and_a_clone_that_lacks_nothing(tmp_path: Path) -> None:
    genome = repository(tmp_path)
    (genome / "darwin.toml").unlink()
    said = darwin(
        genome, "init", "--genome", ".", "--judge", str(tmp_path / "judge"), "--primary", "cost"
    )
    assert "judge of" in said
    written = (genome / "darwin.toml").read_text()
    assert 'program = "../judge"' in written
    assert 'contract = "command"' in written
    changes = {
        'runner = "auto"': 'runner = "process"',
        "baseline_seeds = 8": "baseline_seeds = 3",
        "certificate = [4, 8]": "certificate = [3]",
    }
    for old, new in changes.items():
        assert old in written
        written = written.replace(old, new)
    (genome / "darwin.toml").write_text(written)
    assert git(genome, "status", "--porcelain") == "?? darwin.toml"
    doctor = darwin(genome, "doctor")
    assert "the judge ../judge" in doctor

    ran = darwin(genome, "run", "-n", "6")
    assert "% cost" in ran and "perplexity" not in ran

    status = json.loads(darwin(genome, "status", "--json"))
    assert status["metric"] == {"name": "cost", "direction": "min", "scale": "log"}
    assert status["baseline_value"] == pytest.approx(2.5, rel=0.02)
    report = json.loads(darwin(genome, "report", "--json"))
    assert report["certified"]["gain"] > 0.1, ran
    one = report["certified"]["certificates"][0]
    before, after = one["final_values"]
    assert after < before and before == pytest.approx(2.5, rel=0.02)
    assert all(trial["idea"] for trial in report["trials"] if trial["how"] == "mutate")

    # Nothing that people read speaks of a GPT.
    for words in (["report"], ["status"], ["log"], ["lineage"], ["show", "champion"], ["export"]):
        text = darwin(genome, *words)
        for foreign in ("perplexity", "nats", "tokens", "FLOPs", "bits/byte"):
            assert foreign not in text, (words, foreign)
    history = git(genome, "log", "--all", "--format=%B") + git(
        genome, "log", "--all", "--notes=darwin/summary", "--format=%N"
    )
    assert "% cost" in history and "perplexity" not in history and "nats" not in history
    assert "all is well" in darwin(genome, "verify")

    # A clone without the judge goes on from what git holds.
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    git(tmp_path, "clone", "-q", "--mirror", str(genome), str(elsewhere / "genome/.git"))
    clone = elsewhere / "genome"
    git(clone, "config", "core.bare", "false")
    git(clone, "reset", "-q", "--hard", "main")
    shutil.copy(genome / "darwin.toml", clone)
    text = (clone / "darwin.toml").read_text()
    (clone / "darwin.toml").write_text(
        text.replace("allow_unsandboxed = false", "allow_unsandboxed = true")
    )
    darwin(clone, "step")
    assert json.loads(darwin(clone, "status", "--json"))["generation"] == 7

    # Another judge is another measurement.
    with (tmp_path / "judge/judge.py").open("a") as file:
        file.write("# changed\n")
    assert "program: " in darwin(genome, "step", code=1)


@pytest.mark.parametrize(
    ("said", "primary", "direction", "scale", "better"),
    [
        ('{"cost": cost}', "cost", "min", "log", -1),
        ('{"speed": 1 / cost}', "speed", "max", "log", 1),
        ('{"score": -cost}', "score", "max", "linear", 1),
    ],
)
def test_a_metric_without_noise_in_each_direction_and_scale(
    tmp_path: Path, said: str, primary: str, direction: str, scale: str, better: int
) -> None:
    genome = repository(
        tmp_path, noise=0.0, said=said, primary=primary, direction=direction, scale=scale
    )
    darwin(genome, "run", "-n", "2")
    report = json.loads(darwin(genome, "report", "--json"))
    assert report["noise"]["s0"] == 0.0
    assert report["certified"] is not None
    before, after = report["certified"]["certificates"][0]["final_values"]
    assert (after - before) * better > 0
    assert report["provisional"]["change"] * better > 0
    assert "no gain is luck" in darwin(genome, "status")
    assert "all is well" in darwin(genome, "verify")
    sign = "+" if better > 0 else "-"
    assert f"CERTIFIED    {sign}" in darwin(genome, "report")


def test_a_persons_branch_is_judged_like_any_other(tmp_path: Path) -> None:
    genome = repository(tmp_path)
    darwin(genome, "baseline")
    git(genome, "switch", "-q", "-c", "mine")
    (genome / "knobs.py").write_text(KNOBS.replace("WIDTH = 4", "WIDTH = 8"))
    git(genome, "commit", "-qam", "Twice as wide")
    assert "allow_unsandboxed" in darwin(genome, "propose", "mine", code=1)
    with (genome / "darwin.toml").open("a") as file:
        file.write("allow_unsandboxed = true\n")
    assert "adopt" in darwin(genome, "propose", "mine")
    assert json.loads(darwin(genome, "status", "--json"))["agents"]["a1"]["gain"] > 0.4


def test_a_judge_inside_the_genome_is_refused_with_the_cure(tmp_path: Path) -> None:
    genome = repository(tmp_path)
    shutil.copytree(tmp_path / "judge", genome / "judge")
    text = (genome / "darwin.toml").read_text().replace("../judge", "judge")
    (genome / "darwin.toml").write_text(text)
    git(genome, "add", "judge")
    git(genome, "commit", "-qm", "Judge myself")
    assert "git rm -r --cached judge" in darwin(genome, "baseline", code=1)
    git(genome, "rm", "-rq", "--cached", "judge")
    git(genome, "commit", "-qm", "Do not")
    darwin(genome, "baseline")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--contract", "command"], "needs a judge"),
        (["--judge", "../nowhere", "--primary", "x"], "is not there"),
        (["--judge", "../judge"], "needs a judge, and the name"),
        (["--judge", "../judge", "--primary", "a b"], "darwin.toml"),
        (["--judge", ".", "--primary", "x"], "genome"),
        (["--judge", "../judge", "--primary", "x", "--tokenizer", "bytes"], "are for a GPT"),
        (["--contract", "nanogpt", "--primary", "x"], "--contract command"),
    ],
)
def test_what_init_cannot_use_is_said_and_nothing_is_left(
    tmp_path: Path, words: list[str], says: str
) -> None:
    genome = repository(tmp_path)
    (genome / "darwin.toml").unlink()
    assert says in darwin(genome, "init", "--genome", ".", *words, code=1)
    assert git(genome, "status", "--porcelain") == ""


def test_a_genome_that_the_judge_cannot_measure_is_named_at_the_baseline(tmp_path: Path) -> None:
    genome = repository(tmp_path, said='{"price": cost}')
    complaint = darwin(genome, "baseline", code=1)
    assert "it printed no cost; it printed price" in complaint
    assert "[metric]" in complaint


@pytest.mark.xdist_group("kill")
def test_killed_at_random_instants_nothing_is_lost_or_judged_twice(tmp_path: Path) -> None:
    count = tmp_path / "count"
    genome = repository(tmp_path, count=count)
    darwin(genome, "baseline")
    argv = [sys.executable, "-m", "darwin_git", "-C", str(genome), "-q", "step"]
    rng, kills = random.Random(7), 0
    for _ in range(6):
        process = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(rng.uniform(0.5, 3.0))
        kills += process.poll() is None
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert kills
    darwin(genome, "step")
    assert "all is well" in darwin(genome, "verify")
    assert not list((genome / ".git/darwin/attempts").glob("*")), "something was left behind"
    # Only a run that was under way when the tool was killed may have printed, and run again.
    runs = count.read_text().split()
    assert len(runs) - len(set(runs)) <= 2 * kills
    records = [
        json.loads(line)
        for commit in git(genome, "notes", "--ref=darwin/fitness", "list").splitlines()
        for line in git(
            genome, "notes", "--ref=darwin/fitness", "show", commit.split()[1]
        ).splitlines()
    ]
    keys = [(r["identity"], r["seed"]) for r in records if r["kind"] == "replicate"]
    assert len(keys) == len(set(keys))


def test_in_containers_the_judge_is_beside_the_genome_and_out_of_its_reach(
    tmp_path: Path, engine_image: str
) -> None:
    genome = repository(tmp_path, runner="docker", image=engine_image)
    evil = (
        "import os\n"
        "for place in ('../judge/judge.py', '../judge/json.py'):\n"
        "    try:\n"
        "        open(place, 'w').write('print({})')\n"
        "        raise SystemExit('the judge can be written')\n"
        "    except OSError:\n"
        "        pass\n"
        "try:\n"
        "    os.open(f'/proc/{os.getppid()}/fd/1', os.O_WRONLY)\n"
        "except OSError:\n"
        "    pass\n"
    )
    built = "import pathlib\npathlib.Path('built').mkdir()\n"
    knobs = KNOBS.replace("if __name__", evil + built + "if __name__")
    (genome / "knobs.py").write_text(knobs)
    git(genome, "commit", "-qam", "Try the judge's door")
    darwin(genome, "run", "-n", "1")
    status = json.loads(darwin(genome, "status", "--json"))
    assert status["generation"] == 1
    assert status["totals"]["verdicts"].get("ok", 0) >= 1
    assert "all is well" in darwin(genome, "verify")
