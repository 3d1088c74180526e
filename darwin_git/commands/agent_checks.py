"""`doctor`'s part about agents: keys, servers, models, prices, programs, and the wall they need."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from darwin_git.config import Agent, Config
from darwin_git.errors import DarwinError
from darwin_git.sandbox.engine import Engine

MILLION = 1_000_000


def agent_checks(config: Config, folder: Path, environ: Mapping[str, str]) -> list[dict[str, Any]]:
    """One check for each setting of a model or program, and one for where their code runs.

    Built-in agents need nothing. Agents that differ in nothing that is looked at share a check.

    Args:
        folder: where darwin.toml lies: programs are named relative to it.
    """
    foreign = {name: one for name, one in config.agents.items() if one.kind != "catalogue"}
    if not foreign:
        return []
    looks: dict[Callable[[], str], list[str]] = {}
    known: dict[tuple[object, ...], Callable[[], str]] = {}
    for name, chosen in sorted(foreign.items()):
        look = known.setdefault(_asks(chosen), _look(name, chosen, config, folder, environ))
        looks.setdefault(look, []).append(name)
    checks = [_check(_title(names), look) for look, names in looks.items()]
    return [*checks, _check("agents' code", lambda: _wall(config))]


def _asks(chosen: Agent) -> tuple[object, ...]:
    """The settings that a check depends on."""
    if chosen.kind == "llm":
        return (chosen.model, chosen.key_variable, chosen.url_variable, chosen.price)
    return (chosen.command, chosen.program, chosen.image)


def _look(
    name: str, chosen: Agent, config: Config, folder: Path, environ: Mapping[str, str]
) -> Callable[[], str]:
    if chosen.kind == "llm":
        return lambda: _model(name, chosen, environ)
    return lambda: _program(name, chosen, config, folder)


def _title(names: list[str]) -> str:
    return f"agent{'s' * (len(names) > 1)} {', '.join(names)}"


def _model(name: str, chosen: Agent, environ: Mapping[str, str]) -> str:
    from darwin_git.agents.llm.connect import connect

    client = connect(name, chosen, environ)
    listed = client.models()
    if listed and not any(_is(chosen.model, one) for one in listed):
        raise client.no_model(listed)
    url = environ.get(chosen.url_variable)
    place = urlsplit(url).netloc if url else "OpenAI"
    words = [f"{chosen.model} at {place}"]
    if not listed:
        words.append("which does not list its models")
    words.append(_price(client.price))
    words.append(f"tokens estimated by {client.counter.name}")
    return ", ".join(words)


def _is(model: str, listed: str) -> bool:
    """Servers take a name without the tag or the folder that they list it with, and with a tag."""
    same = {listed, listed.removesuffix(":latest"), listed.rpartition("/")[2]}
    return model in same or model.partition(":")[0] == listed


def _price(price: Any) -> str:
    if price is None:
        return "price unknown (a limit in dollars needs `price`)"
    return f"{price.usd_in * MILLION:g} and {price.usd_out * MILLION:g} USD a million tokens"


def _program(name: str, chosen: Agent, config: Config, folder: Path) -> str:
    words = [" ".join(chosen.command)]
    if chosen.program:
        from darwin_git.agents.programs.folder import read

        place = (folder / chosen.program).resolve()
        words.append(f"with {len(read(place).files)} files of {place}")
    if chosen.image:
        if config.sandbox.runner == "process":
            raise DarwinError(
                f"agents.{name}.image needs containers, and sandbox.runner is the process runner",
                hint='set sandbox.runner = "docker", or leave the image out',
            )
        engine = Engine(config.sandbox.engine)
        try:
            engine.image(chosen.image, cure=f"build or pull {chosen.image} yourself")
        finally:
            engine.close()
        words.append(f"in {chosen.image}")
    return ", ".join(words)


def _wall(config: Config) -> str:
    """What models and programs write needs a container, or a person's word."""
    chosen = config.sandbox
    if chosen.runner != "process":
        engine = Engine(chosen.engine)
        try:
            engine.image(chosen.image)
            return "runs in containers"
        except DarwinError:
            if not chosen.allow_unsandboxed or chosen.runner == "docker":
                raise
        finally:
            engine.close()
    if chosen.allow_unsandboxed:
        return "runs without a wall, as sandbox.allow_unsandboxed says"
    raise DarwinError(
        "what models and programs write needs a container, and sandbox.runner is the process "
        "runner",
        hint='set sandbox.runner = "docker"; or sandbox.allow_unsandboxed = true if you trust it',
    )


def _check(name: str, look: Callable[[], str]) -> dict[str, Any]:
    try:
        return {"name": name, "ok": True, "found": look(), "cure": ""}
    except DarwinError as error:
        return {"name": name, "ok": False, "found": error.message, "cure": error.hint}
