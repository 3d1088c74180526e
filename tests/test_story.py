"""The whole story, as a newcomer meets it: init, run, look, verify. Read this one first."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.kill_campaign import SMALL


def darwin(folder: Path, *words: str, code: int = 0) -> str:
    """Run the tool as a person does; its stdout."""
    done = subprocess.run(
        [sys.executable, "-m", "darwin_git", "-C", str(folder), *words],
        capture_output=True,
        text=True,
        env=os.environ | {"NO_COLOR": "1", "TERM": "dumb", "COLUMNS": "80"},
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout if code == 0 else done.stderr


def git(folder: Path, *words: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(folder), *words], check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


@pytest.mark.xdist_group("story")
def test_from_init_to_a_reviewed_champion(tmp_path: Path) -> None:
    # A genome repository on the embedded corpus; one commit, nothing uncommitted.
    darwin(tmp_path, "init", "first")
    genome = tmp_path / "first"
    assert git(genome, "log", "--format=%s") == "Start from the seed genome of darwin-git"
    assert git(genome, "status", "--porcelain") == ""
    corpus = next(
        line.split('"')[1]
        for line in (genome / "darwin.toml").read_text().splitlines()
        if line.startswith("corpus")
    )
    (genome / "darwin.toml").write_text(f'[data]\ncorpus = "{corpus}"\n' + SMALL)
    assert "no baseline yet" in darwin(genome, "status")
    before = (genome / ".git/index").read_bytes(), (genome / ".git/HEAD").read_text()

    # One generation and its certificate.
    darwin(genome, "run", "-n", "1")
    status = json.loads(darwin(genome, "status", "--json"))
    assert status["schema"] == "darwin-git/status/1"
    assert status["generation"] == 1
    assert status["totals"]["variants"] >= 2

    # Everything can be read with plain git.
    notes = git(genome, "notes", "--ref=darwin/fitness", "show", "main").splitlines()
    records = [json.loads(line) for line in notes]
    assert {r["seed"] for r in records if r["kind"] == "replicate"} >= {1, 2}
    assert all(len(r["scored"]) == 4 for r in records if r["kind"] == "replicate")
    summary = json.loads(git(genome, "show", "darwin/ledger:summary.json"))
    assert summary["generation"] == 1
    plan = json.loads(git(genome, "show", "darwin/ledger:plans/0001.json"))
    assert all(trial["mutator"] != trial["target"] for trial in plan["trials"])

    # Every variant is a commit with a hypothesis and trailers, and a diff.
    log = json.loads(darwin(genome, "log", "--json"))
    trials = [event for event in log["events"] if event["kind"] == "trial"]
    for trial in trials:
        shown = json.loads(darwin(genome, "show", trial["variant"], "--json"))
        assert shown["trailers"]["Darwin-Generation"] == ["1"]
        assert shown["commit"] == trial["commit"]
        diff = json.loads(darwin(genome, "diff", trial["variant"], "--json"))
        assert diff["files"]
        text = git(genome, "log", "-1", "-p", "--first-parent", trial["commit"])
        assert "diff --git" in text

    # The readers agree with each other.
    export = json.loads(darwin(genome, "export", "--to", "json"))
    assert len(export["trials"]) == len(trials)
    csv = darwin(genome, "export", "--to", "csv").splitlines()
    assert len(csv) == len(export["replicates"]) + 1
    assert "PROVISIONAL" in darwin(genome, "report")
    assert "baseline" in darwin(genome, "lineage")

    # Nothing of the user's has moved, and everything hangs together.
    assert ((genome / ".git/index").read_bytes(), (genome / ".git/HEAD").read_text()) == before
    assert git(genome, "log", "--format=%s", "main").count("\n") == 0
    assert "all is well" in darwin(genome, "verify")
    git(genome, "fsck", "--strict")

    # A measured key that changes is refused, by name and with the cure.
    (genome / "darwin.toml").write_text(
        (genome / "darwin.toml").read_text().replace("tokens = 9216", "tokens = 9000")
    )
    complaint = darwin(genome, "step", code=1)
    assert "tokens: 9216 at the baseline, 9000 now" in complaint
