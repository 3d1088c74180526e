"""`doctor` on models and programs: what lacks, and what to do about it."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from darwin_git.commands.agent_checks import agent_checks
from darwin_git.config import Agent, Config
from tests.llm_server import ScriptedServer, script

KEY = "sk-live-8f3a9c77d1e24b"


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No network but this machine's."""
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(tmp_path / "tables"))


def population(agents: dict[str, dict[str, Any]], **sandbox: Any) -> Config:
    chosen = {"runner": "process", "allow_unsandboxed": True} | sandbox
    return Config.model_validate(
        {"agents": {name: Agent(**keys) for name, keys in agents.items()}, "sandbox": chosen}
    )


def look(config: Config, folder: Path, **environ: str) -> dict[str, dict[str, Any]]:
    checks = agent_checks(config, folder, environ)
    assert len({check["name"] for check in checks}) == len(checks)
    assert KEY not in json.dumps(checks)
    return {check["name"]: check for check in checks}


def llm(model: str = "tiny", **more: Any) -> dict[str, Any]:
    return {"kind": "llm", "model": model} | more


def test_built_in_agents_need_nothing(tmp_path: Path) -> None:
    assert look(Config(), tmp_path) == {}


def test_agents_with_the_same_settings_are_looked_at_once(tmp_path: Path) -> None:
    """Three agents of one model, one of another, one built in."""
    config = population(
        {
            "a1": llm(strategy="optimizer", price=(1.25, 10.0)),
            "a2": llm(strategy="data", price=(1.25, 10.0)),
            "a3": llm("other", key_variable="MY_KEY"),
            "a4": {"kind": "catalogue"},
        }
    )
    with ScriptedServer(script([]), keys=[KEY], models=["tiny", "other:latest"]) as server:
        found = look(config, tmp_path, OPENAI_API_KEY=KEY, MY_KEY=KEY, OPENAI_BASE_URL=server.url)
    assert server.paths == ["GET /v1/models"] * 2, "nothing is asked that costs"
    assert sorted(found) == ["agent a3", "agents a1, a2", "agents' code"]
    assert all(check["ok"] for check in found.values()), found
    words = found["agents a1, a2"]["found"]
    assert words.startswith("tiny at 127.0.0.1:")
    assert "1.25 and 10 USD a million tokens" in words
    assert "tokens estimated by" in words
    assert "price unknown" in found["agent a3"]["found"]
    assert "without a wall" in found["agents' code"]["found"]


def test_what_lacks_is_said_with_its_cure(tmp_path: Path) -> None:
    config = population({"a1": llm(), "a2": llm("else", key_variable="MY_KEY")})
    found = look(config, tmp_path)
    assert found["agent a1"]["found"] == "agent a1 (tiny) has no key: $OPENAI_API_KEY is not set"
    assert "export MY_KEY" in found["agent a2"]["cure"]
    with ScriptedServer(script([]), keys=[KEY], models=["tiny-2"]) as server:
        environ = {"OPENAI_BASE_URL": server.url, "OPENAI_API_KEY": KEY, "MY_KEY": "another"}
        found = look(config, tmp_path, **environ)
    assert "has no model tiny" in found["agent a1"]["found"]
    assert "the server has tiny-2" in found["agent a1"]["cure"]
    assert "refuses the key in $MY_KEY" in found["agent a2"]["found"]
    found = look(config, tmp_path, **environ)
    assert "cannot be asked: the connection was refused" in found["agent a1"]["found"]
    assert "$OPENAI_BASE_URL" in found["agent a1"]["cure"]


def test_a_server_that_lists_no_models_is_fine(tmp_path: Path) -> None:
    with ScriptedServer(script([]), models=None) as server:
        config = population({"a1": llm(), "a2": {}})
        found = look(config, tmp_path, OPENAI_BASE_URL=server.url)["agent a1"]
    assert found["ok"]
    assert "does not list its models" in found["found"]


def test_a_program_is_there(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "mutate.py").write_text("print()\n")
    command = ["{python}", "{program}/mutate.py"]
    agents = {
        "a1": {"kind": "command", "command": command, "program": "mine"},
        "a2": {"kind": "command", "command": command, "program": "theirs"},
    }
    found = look(population(agents), tmp_path)
    assert found["agent a1"]["found"].startswith("{python} {program}/mutate.py, with 1 files of")
    assert not found["agent a2"]["ok"]
    assert found["agent a2"]["cure"]
    image = {"kind": "command", "command": ["go"], "image": "my-agent:1"}
    found = look(population({"a1": image, "a2": {}}), tmp_path)
    assert "needs containers" in found["agent a1"]["found"]


def test_foreign_code_needs_a_wall(tmp_path: Path) -> None:
    agents = {"a1": {"kind": "command", "command": ["go"]}, "a2": {}}
    config = population(agents, allow_unsandboxed=False)
    found = look(config, tmp_path)["agents' code"]
    assert not found["ok"]
    assert "allow_unsandboxed" in found["cure"]
    nowhere = {"runner": "auto", "engine": f"unix://{tmp_path}/none.sock"}
    assert look(population(agents, **nowhere), tmp_path)["agents' code"]["ok"]
    for strict in ({"allow_unsandboxed": False}, {"runner": "docker"}):
        found = look(population(agents, **(nowhere | strict)), tmp_path)["agents' code"]
        assert not found["ok"], "no engine answers"
        assert found["cure"]


def test_doctor_says_it_on_the_command_line(genome: Path) -> None:
    """A missing key is one line with its cure, and exit 1."""
    config = "[sandbox]\nrunner = 'process'\nallow_unsandboxed = true\n"
    for name in ("a1", "a2"):
        config += f"[agents.{name}]\nkind = 'llm'\nmodel = 'tiny'\n"
    (genome / "darwin.toml").write_text(config)
    environ = os.environ | {"NO_COLOR": "1", "TERM": "dumb", "COLUMNS": "200"}
    environ.pop("OPENAI_API_KEY", None)
    environ.pop("OPENAI_BASE_URL", None)
    done = subprocess.run(
        [sys.executable, "-m", "darwin_git", "-C", str(genome), "doctor"],
        capture_output=True,
        text=True,
        env=environ,
    )
    assert done.returncode == 1
    assert "BAD  agents a1, a2: agent a1 (tiny) has no key" in done.stdout
    assert "-> export OPENAI_API_KEY" in done.stdout
    assert "ok   agents' code: runs without a wall" in done.stdout
