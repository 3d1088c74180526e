"""Models and programs as agents, where their code belongs: every training in a container."""

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.repair_rate import SETTINGS, prepare
from benchmarks.scripted_model import ScriptedModel
from tests.containers import leftovers
from tests.llm_server import Asked, ScriptedServer, Text
from tests.test_agents_story import darwin, everything, git

KEY = "sk-test-19bb0e6d77ca4f0d9a52"
EXAMPLE = Path(__file__).parents[1] / "examples" / "script_agent"
PROGRAM = f"""
[agents.a3]
kind = "command"
command = ["{{python}}", "{{program}}/mutate.py"]
program = "{EXAMPLE}"
"""


@pytest.mark.xdist_group("engine")
def test_a_mixed_population_in_containers(
    tmp_path: Path, engine_client: Any, engine_image: str
) -> None:
    genome = tmp_path / "genome"
    docker = f'runner = "docker"\nimage = "{engine_image}"\nmemory_gb = 2.0'
    process = 'runner = "process"\nallow_unsandboxed = true'
    prepare(genome, 2, SETTINGS.replace(process, docker))
    with (genome / "darwin.toml").open("a") as file:
        file.write(PROGRAM)
    before = set(leftovers(engine_client))
    model = ScriptedModel(broken=0.5)

    def answer(asked: Asked) -> Text:
        return Text(model(asked.text), usage=(100, 20))

    with ScriptedServer(answer, keys={KEY}) as server:
        env = {"OPENAI_BASE_URL": server.url, "OPENAI_API_KEY": KEY}
        darwin(genome, "-q", "baseline", **env)
        darwin(genome, "-q", "step", **env)
    trials = json.loads(darwin(genome, "report", "--json")[0])["trials"]
    by = {trial["mutator"]: trial for trial in trials if trial["how"] == "mutate"}
    assert set(by) == {"a1", "a2", "a3"}
    assert {trial["verdict"] for trial in by.values()} == {"ok"}
    assert sum(by[name]["repairs"] for name in ("a1", "a2")) == 1
    assert by["a3"]["idea"].startswith("script-rate")
    message = git(genome, "show", "-s", "--format=%B", by["a3"]["commit"])
    assert "Darwin-Exchange: 0001/a3-on-" in message
    assert "Darwin-Cost-USD" not in message, "a program of one's own is no paid call"
    assert KEY not in everything(genome)
    assert "all is well" in darwin(genome, "verify")[0]
    darwin(genome, "image", "clean")  # the volumes of its corpus and of the program
    assert set(leftovers(engine_client)) <= before
