"""A whole evolution over HTTP: a re-ask, a repair, a conflict, a limit, an outage; a real client.

Only the trainings are free; every answer comes over a socket, in the words that a model uses.
"""

import re
from pathlib import Path
from typing import Any

import pytest

from darwin_git.agents.llm.agent import LLMAgent
from darwin_git.agents.llm.connect import connect
from darwin_git.agents.llm.tokens import TokenCounter
from darwin_git.commands.verify import verify
from darwin_git.config import Agent, Repair
from darwin_git.domain.account import Account, Allowed
from darwin_git.domain.planning import Plan, Planned
from darwin_git.domain.population import State
from darwin_git.errors import SPENT, DarwinError
from darwin_git.generation import step
from darwin_git.steps.world import World
from tests.llm_server import Asked, Raw, Say, ScriptedServer, Text

from .talker import line
from .test_exchange import git, log

Started = tuple[World, State]
SETTINGS = Agent(kind="llm", model="wild-7b", retries=0, timeout=20.0, price=(1.0, 2.0))
ANSWER = """\
Sure! The target's value can be improved.

```json
{{"idea": "{idea}", "title": "Set a value for {idea}", "why": "A guess.", "expected": "less loss"}}
```

train.py
<<<<<<< SEARCH
{search}
=======
{text}
>>>>>>> REPLACE
"""


def models(world: World, server: ScriptedServer) -> None:
    """Every agent asks the server."""
    environ = {"OPENAI_BASE_URL": server.url, "OPENAI_API_KEY": "sk-none-at-all"}
    world.proposers = {
        name: LLMAgent(
            name, SETTINGS, Repair(), connect(name, SETTINGS, environ), TokenCounter("wild-7b")
        )
        for name in world.proposers
    }


def planned(world: World, state: State, *pairs: tuple[str, str]) -> None:
    """The next generation: these mutate those."""
    trials = tuple(
        Planned(f"{mutator}-on-{target}", "mutate", mutator, target, state.agents[target].tip, 1)
        for mutator, target in pairs
    )
    world.history.write_plan(Plan(state.generation + 1, trials))


class Model:
    """Writes each value anew, breaks its second mutation, resolves conflicts by keeping both."""

    def __init__(self) -> None:
        self.kinds: list[str] = []
        self.outage = False

    def __call__(self, asked: Asked) -> Say:
        if self.outage:
            return Raw(503, {"error": {"message": "overloaded"}})
        text = asked.text
        if "# A merge to finish" in text:
            assert "value_3 = 10.0" in text and "value_3 = 20.0" in text, "both sides are shown"
            both = line("0001a1ona2", 0.05) + line("0001a2ona1", 0.05)
            return self._said("resolve", f"CONFLICT 1\n```\nvalue_3 = 30.0\n{both}```\n")
        if "# A mutation to mend" in text:
            assert "train.py does not compile" in text, "the failure is shown"
            mended = ANSWER.format(idea="late", search="# syntax error", text="# mended")
            return self._said("repair", mended)
        variant = re.findall(r"variant (\d{4}/\w+-on-\w+)", text)[-1]
        if "is not in" in text or "does not occur" in text:
            return self._said("format", self._mutation(variant, "value_3 = 1.732051"))
        if variant == "0001/a2-on-a1":
            return self._said("propose", self._mutation(variant, "value_3 = 1.7320509999"))
        return self._said("propose", self._mutation(variant, "value_3 = 1.732051"))

    def _said(self, kind: str, text: str) -> Text:
        self.kinds.append(kind)
        return Text(text, usage=(100, 50))

    def _mutation(self, variant: str, search: str) -> str:
        idea = variant.replace("/", "-")
        value = {"0001/a2-on-a1": "10.0", "0001/a1-on-a2": "20.0"}.get(variant, "40.0")
        gain = line(re.sub(r"\W", "", idea), 0.05).strip()
        broken = "\n# syntax error" if variant == "0001/a1-on-a2" else ""
        return ANSWER.format(idea=idea, search=search, text=f"value_3 = {value}\n{gain}{broken}")


def test_an_evolution_by_models(started: Started, folder: Path) -> None:
    world, state = started
    model = Model()
    with ScriptedServer(model) as server:
        models(world, server)

        # Two lineages change the same line; one answer misses its anchor, one breaks the script.
        planned(world, state, ("a2", "a1"), ("a1", "a2"))
        done = step(world, state)
        state = done.after
        assert sorted(model.kinds) == ["format", "propose", "propose", "repair"]
        by = {trial.planned.slug: trial for trial in done.trials}
        assert by["a1-on-a2"].failures == ("syntax",) and by["a1-on-a2"].won
        assert by["a2-on-a1"].repairs == 0 and by["a2-on-a1"].won
        assert len(log(folder, "0001/a1-on-a2")) == 2
        assert state.agents["a1"].ideas and state.agents["a2"].ideas

        # Their crossover conflicts: the mutator resolves it, hunk by hunk.
        tips = state.agents["a2"].tip, state.agents["a1"].tip
        cross = Planned("a1-on-a2", "crossover", "a1", "a2", tips[0], 1, other=tips[1])
        world.history.write_plan(Plan(state.generation + 1, (cross,)))
        done = step(world, state)
        state = done.after
        assert model.kinds[-1] == "resolve"
        assert done.trials[0].verdict == "ok"
        text = git(folder, "show", f"{done.trials[0].commit}:train.py")
        assert "value_3 = 30.0" in text and "<<<<<<<" not in text
        assert "idea_0001a2ona1" in text and "idea_0001a1ona2" in text

        # A limit: what could pass it is not asked.
        asked = len(server.requests)
        world.account = Account(command=Allowed("this command", usd=0.0001))
        planned(world, state, ("a3", "a4"))
        with pytest.raises(DarwinError, match=r"this command allows 0\.0001 USD") as refused:
            step(world, state)
        assert refused.value.exit_code == SPENT
        assert len(server.requests) == asked
        world.account = Account()

        # An outage burns nothing; the same generation goes on when it is over.
        model.outage = True
        with pytest.raises(DarwinError, match="no agent could propose"):
            step(world, state)
        model.outage = False
        after: Any = step(world, world.history.state()).after  # type: ignore[arg-type]
        assert after.generation == 3
    assert after.models.calls == len(server.requests)
    repository: Any = world.history._repository  # type: ignore[attr-defined]
    assert verify(repository, world.history, world.config.selection, None)["faults"] == []
