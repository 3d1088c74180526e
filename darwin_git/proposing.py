"""Which proposer each agent of darwin.toml is."""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from darwin_git.config import Agent, Config
from darwin_git.domain.exchange import Reply
from darwin_git.errors import DarwinError
from darwin_git.ports import Limits, Proposer, Runner

GIB = 1 << 30
OUTPUT = 64 << 20
"""Bytes that a program may leave: what it changed, as JSON."""


class Proposers(Mapping[str, Proposer]):
    """Agents by name, each made when it is first asked: libcst, openai are loaded only then.

    Args:
        folder: the work tree; programs are named relative to it.
        runner: where programs run; None in a replay, where nobody is asked.
    """

    def __init__(self, config: Config, folder: Path, runner: Runner | None) -> None:
        self._config = config
        self._folder = folder
        self._runner = runner
        self._known: dict[str, Proposer] = {}

    def __getitem__(self, name: str) -> Proposer:
        if name not in self._known:
            self._known[name] = self._made(name, self._config.agents[name])
        return self._known[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._config.agents)

    def __len__(self) -> int:
        return len(self._config.agents)

    def _made(self, name: str, chosen: Agent) -> Proposer:
        if chosen.kind == "llm":
            return self._model(name, chosen)
        if chosen.kind == "command":
            return self._program(name, chosen)
        from darwin_git.agents.catalogue import CatalogueAgent

        return CatalogueAgent(families=chosen.families)

    def _model(self, name: str, chosen: Agent) -> Proposer:
        from darwin_git.agents.llm.agent import LLMAgent
        from darwin_git.agents.llm.connect import connect
        from darwin_git.agents.llm.tokens import TokenCounter

        chat = Silent() if self._runner is None else connect(name, chosen, os.environ)
        return LLMAgent(name, chosen, self._config.repair, chat, TokenCounter(chosen.model))

    def _program(self, name: str, chosen: Agent) -> Proposer:
        from darwin_git.agents.program import ProgramAgent

        folder = (self._folder / chosen.program).resolve() if chosen.program else None
        limits = Limits(
            wall_seconds=chosen.seconds,
            memory_bytes=int(self._config.sandbox.memory_gb * GIB),
            output_bytes=OUTPUT,
        )
        return ProgramAgent(name, chosen, self._runner, folder=folder, limits=limits)


class Silent:
    """A server that nobody may ask: in a replay every answer comes from the recording."""

    price = None

    def complete(self, request: Mapping[str, Any]) -> Reply:
        """Raises DarwinError."""
        raise DarwinError(
            "the replay asks a model, and nobody answers in a replay",
            hint="another version of darwin-git, or another darwin.toml, made the recording",
        )


def refuse_unpriced(config: Config) -> None:
    """A limit in dollars needs every model's price: none is guessed.

    Raises:
        DarwinError: naming the agents whose price nobody knows.
    """
    from darwin_git.agents.llm.connect import connect

    unknown = [
        name
        for name, chosen in sorted(config.agents.items())
        if chosen.kind == "llm" and connect(name, chosen, os.environ).price is None
    ]
    if unknown:
        names = ", ".join(f"agents.{name} ({config.agents[name].model})" for name in unknown)
        raise DarwinError(
            f"a limit in dollars is set, and the price is unknown for {names}",
            hint="set price = [1.25, 10.0] there: USD for a million tokens, in and out; [0, 0] for "
            "a server of your own; or limit budget.model_tokens instead",
        )
