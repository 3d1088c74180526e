"""From an agent's settings and the environment to its model: here keys and addresses come in."""

from collections.abc import Mapping
from urllib.parse import urlsplit

from darwin_git.agents.llm.client import NO_KEY, ChatClient
from darwin_git.agents.llm.prices import price_of
from darwin_git.config import Agent
from darwin_git.errors import DarwinError


def connect(name: str, chosen: Agent, environ: Mapping[str, str]) -> ChatClient:
    """The client of agent `name`; no question is asked yet.

    Raises:
        DarwinError: no key and no server of the user's own; a key or an address that cannot be.
    """
    url = _address(chosen.url_variable, environ)
    return ChatClient(
        chosen.model,
        key=_key(name, chosen, environ, needed=url is None),
        url=url,
        timeout=chosen.timeout,
        retries=chosen.retries,
        price=price_of(chosen.model, chosen.price, url),
        agent=name,
        key_variable=chosen.key_variable,
        url_variable=chosen.url_variable,
    )


def _key(name: str, chosen: Agent, environ: Mapping[str, str], *, needed: bool) -> str:
    variable = chosen.key_variable
    key = environ.get(variable, "")
    if not key and needed:
        raise DarwinError(
            f"agent {name} ({chosen.model}) has no key: ${variable} is not set",
            hint=f"export {variable}=…, or {chosen.url_variable}=http://… for a server of your own",
        )
    if not key.isascii() or not key.isprintable() or " " in key:
        raise DarwinError(
            f"the key in ${variable} holds white space or characters that no key has",
            hint=f"export {variable} again, without quotation marks or line ends in it",
        )
    return key or NO_KEY


def _address(variable: str, environ: Mapping[str, str]) -> str | None:
    """The base URL; None where it is not set. What is wrong with it is said, not it itself."""
    url = environ.get(variable, "").strip()
    if not url:
        return None
    hint = f"export {variable}=http://localhost:8000/v1, for example"
    try:
        parts = urlsplit(url)
        named = bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        named = False
    if not named or parts.scheme not in ("http", "https") or not url.isprintable() or " " in url:
        raise DarwinError(f"${variable} is no http or https address", hint=hint)
    if parts.username is not None or parts.password is not None:
        raise DarwinError(
            f"${variable} holds a user or a password",
            hint=f"take them out of it: a key has a variable of its own. {hint}",
        )
    if parts.query or parts.fragment:
        raise DarwinError(f"${variable} holds more than an address (? or #)", hint=hint)
    return url.rstrip("/")
