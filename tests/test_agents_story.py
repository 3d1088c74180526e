"""Agents that are models, through the command line: a key, a server, repairs, limits, an outage."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.repair_rate import prepare
from benchmarks.scripted_model import ScriptedModel
from tests.llm_server import Asked, Raw, Say, ScriptedServer, Text

KEY = "sk-test-7d1f0c55aa9b4e3f8c21"


def darwin(folder: Path, *words: str, code: int = 0, **env: str) -> tuple[str, str]:
    """Run the tool as a person does; stdout and stderr."""
    done = subprocess.run(
        [sys.executable, "-m", "darwin_git", "-C", str(folder), *words],
        capture_output=True,
        text=True,
        env=os.environ | {"NO_COLOR": "1", "TERM": "dumb", "COLUMNS": "80"} | env,
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout, done.stderr


def git(folder: Path, *words: str) -> str:
    done = subprocess.run(["git", "-C", str(folder), *words], check=True, capture_output=True)
    return done.stdout.decode(errors="replace").strip()


def everything(folder: Path) -> str:
    """Every object of the repository, and every file of ours in .git."""
    names = git(folder, "cat-file", "--batch-all-objects", "--batch-check=%(objectname)")
    objects = subprocess.run(
        ["git", "-C", str(folder), "cat-file", "--batch"],
        input=names.encode() + b"\n",
        check=True,
        capture_output=True,
    )
    ours = [path for path in (folder / ".git/darwin").rglob("*") if path.is_file()]
    return objects.stdout.decode("latin-1") + "".join(p.read_text("latin-1") for p in ours)


@pytest.mark.xdist_group("agents")
def test_models_mutate_each_others_branches(tmp_path: Path) -> None:
    genome = tmp_path / "genome"
    prepare(genome, 2)
    model = ScriptedModel(broken=0.5)
    says: list[Say] = []

    def answer(asked: Asked) -> Say:
        if says:
            return says[0]
        text = model(asked.text).replace("A guess.", f"A guess; my key is {KEY}.")
        return Text(text, usage=(len(asked.text) // 4, 200))

    with ScriptedServer(answer, keys={KEY}) as server:
        url = {"OPENAI_BASE_URL": server.url}
        keyed = url | {"OPENAI_API_KEY": KEY}

        # Models' code and no wall: refused, with the cure, before anything else.
        toml = (genome / "darwin.toml").read_text()
        (genome / "darwin.toml").write_text(toml.replace("allow_unsandboxed = true\n", ""))
        _, error = darwin(genome, "run", "-n", "1", code=1, **keyed)
        assert "agents.a1" in error and "allow_unsandboxed" in error
        (genome / "darwin.toml").write_text(toml)
        _, error = darwin(genome, "run", "-n", "1", "--control", "random", code=1, **keyed)
        assert "agents.a1" in error and "catalogue" in error

        # Nobody's key, then a wrong one: said at once, with the cure, before anything is trained.
        _, error = darwin(genome, "run", "-n", "1", code=1)
        assert "OPENAI_API_KEY" in error and "export" in error
        assert "no baseline yet" in darwin(genome, "status")[0]
        darwin(genome, "-q", "baseline", **keyed)
        _, error = darwin(genome, "step", code=1, **(url | {"OPENAI_API_KEY": "sk-wrong-key-000"}))
        assert "OPENAI_API_KEY" in error and "sk-wrong" not in error

        # One generation: half of the mutations break, the failure's text mends them.
        darwin(genome, "step", **keyed)
        report = json.loads(darwin(genome, "report", "--json")[0])
        assert report["mutations"]["made"] == 2
        assert report["mutations"]["failed"] == report["mutations"]["repaired"] == 1
        assert report["models"]["calls"] == len(server.requests)
        text = darwin(genome, "report")[0]
        assert "failed at first: 1 (50.0 %; the paper: 37.5 %)" in text
        assert "repaired of these: 1 (100.0 %; the paper: 16.7 %)" in text

        # `git log -p` shows how it was repaired, and what was said stands in git.
        repaired = next(t for t in report["trials"] if t["repairs"])
        log = git(genome, "log", "-p", "--first-parent", f"main..{repaired['commit']}")
        assert log.count("diff --git") == 2
        assert "Darwin-Repair: 1" in log and "Darwin-Model: scripted" in log
        path = next(row for row in log.splitlines() if "Darwin-Exchange:" in row).split()[1]
        blob = path.split("@")[1]
        said = json.loads(git(genome, "cat-file", "-p", blob))
        assert said["purpose"] == "repair" and said["request"]["messages"]
        assert repaired["mended"].split(":")[0] in said["request"]["messages"][-1]["content"]

        # No key anywhere, although the server put it into its answers.
        assert "[removed]" in everything(genome)
        assert KEY not in everything(genome)
        assert str(genome) not in json.dumps([r.body for r in server.requests])

        # A limit: the call that could pass it is not made.
        asked = len(server.requests)
        _, error = darwin(genome, "step", "--model-tokens", "100", code=5, **keyed)
        assert "this command allows 100 tokens of models" in error and "0 calls" not in error
        assert len(server.requests) == asked

        # An outage burns no generation, and the same command goes on afterwards.
        says.append(Raw(503, {"error": {"message": "overloaded"}}, {"Retry-After": "0"}))
        _, error = darwin(genome, "step", code=1, **keyed)
        assert "no agent could propose" in error and "503" in error
        assert json.loads(darwin(genome, "status", "--json")[0])["generation"] == 1
        says.clear()
        darwin(genome, "-q", "step", **keyed)
        status = json.loads(darwin(genome, "status", "--json")[0])
        assert status["generation"] == 2
    assert "all is well" in darwin(genome, "verify")[0]
    lessons = json.loads(darwin(genome, "memory", "list", "--json")[0])["lessons"]
    assert any(lesson["kind"] == "workflow" for lesson in lessons), "what mended is remembered"

    # Made again from a bundle: no key, no server, the same commits.
    git(genome, "bundle", "create", str(tmp_path / "run.bundle"), "--all")
    again = tmp_path / "again"
    again.mkdir()
    words = json.loads(darwin(again, "run", "--replay", str(tmp_path / "run.bundle"), "--json")[0])
    assert words["differences"] == [] and words["notes"] == []
    tips = "refs/heads/darwin/agent", "refs/heads/darwin/champion", "refs/darwin/archive"
    assert git(again, "for-each-ref", *tips) == git(genome, "for-each-ref", *tips)
