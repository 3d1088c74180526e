"""Every reference that darwin-git writes: built here, parsed here, nowhere else.

A name part is lower case letters and digits with single ``.``, ``_`` or ``-`` between them, at most
64 characters, not ending in ``.lock``: git accepts it, so does every file system, and no shell or
option parser mistakes it for something else.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

HEADS = "refs/heads/darwin/"
AGENTS = HEADS + "agent/"
VARIANTS = HEADS + "v/"
PULL_REQUESTS = HEADS + "pr/"
CHAMPION = HEADS + "champion"
LEDGER = HEADS + "ledger"

HIDDEN = "refs/darwin/"
ARCHIVE = HIDDEN + "archive/"
EXCHANGE = HIDDEN + "exchange"
DATA = HIDDEN + "data/"
ISLANDS = HIDDEN + "i/"

NOTES = "refs/notes/darwin/"
NOTES_FITNESS = NOTES + "fitness"
NOTES_SUMMARY = NOTES + "summary"
NOTES_APPROVALS = NOTES + "approvals"
WRITERS = NOTES + "w/"

OURS = (HEADS, HIDDEN, NOTES)
FIXED = frozenset({CHAMPION, LEDGER, EXCHANGE, NOTES_FITNESS, NOTES_SUMMARY, NOTES_APPROVALS})

MAX_LENGTH = 64
_PART = re.compile(r"[a-z0-9]+(?:[._-][a-z0-9]+)*")
_AGENT = re.compile(r"[a-z][a-z0-9]{0,15}")
_WRITER = re.compile(r"[1-9][0-9]*-[0-9a-f]{4,32}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_GENERATION = re.compile(r"[0-9]{4}|[1-9][0-9]{4,8}")
_SLUG = re.compile(
    r"(?P<mutator>[a-z][a-z0-9]{0,15})-on-(?P<target>[a-z][a-z0-9]{0,15})(?![a-z0-9])"
)


def is_part(text: str) -> bool:
    """Whether `text` may stand between two slashes of a reference of ours."""
    return (
        len(text) <= MAX_LENGTH and _PART.fullmatch(text) is not None and not text.endswith(".lock")
    )


def is_agent(text: str) -> bool:
    """Whether `text` names an agent."""
    return _AGENT.fullmatch(text) is not None


def _checked(text: str, what: str, good: bool) -> str:
    if not good:
        raise ValueError(f"{text!r} is not a valid {what}")
    return text


def slug(mutator: str, target: str, n: int = 1, idea: str | None = None) -> str:
    """``a2-on-a1``; the n-th child ``a2-on-a1.2``; with an idea ``a2-on-a1-rotary``."""
    name = f"{_agent(mutator)}-on-{_agent(target)}"
    tail = f".{n}" if n > 1 else ""
    if idea is not None:
        words = re.sub(r"[^a-z0-9]+", "-", idea.lower()).strip("-")
        words = words[: MAX_LENGTH - len(name) - len(tail) - 1].strip("-")
        name += f"-{words}" if words else ""
    return _checked(name + tail, "variant name", is_part(name + tail) and n >= 1)


def _agent(name: str) -> str:
    return _checked(name, "agent name", is_agent(name))


@dataclass(frozen=True, order=True)
class VariantName:
    """A variant: generation and slug, written ``0003/a2-on-a1``."""

    generation: int
    slug: str

    def __post_init__(self) -> None:
        _checked(self.slug, "variant name", is_part(self.slug))
        _checked(str(self.generation), "generation", 0 <= self.generation < 10**9)

    def __str__(self) -> str:
        return f"{self.generation:04d}/{self.slug}"

    @classmethod
    def parse(cls, text: str) -> "VariantName":
        """The inverse of str(); raises ValueError."""
        generation, slash, rest = text.partition("/")
        _checked(text, "variant", bool(slash) and _GENERATION.fullmatch(generation) is not None)
        return cls(int(generation), rest)

    @property
    def ref(self) -> str:
        """Where it stands while it is alive."""
        return f"{VARIANTS}{self}"

    @property
    def archive_ref(self) -> str:
        """Where it stands once it is pruned."""
        return f"{ARCHIVE}{self}"

    @property
    def agents(self) -> tuple[str, str] | None:
        """(mutator, target) where the slug says so."""
        found = _SLUG.match(self.slug)
        return (found["mutator"], found["target"]) if found else None


@dataclass(frozen=True)
class Archived:
    """A pruned variant's hidden reference."""

    variant: VariantName

    @property
    def ref(self) -> str:
        """``refs/darwin/archive/0003/a2-on-a1``."""
        return self.variant.archive_ref


@dataclass(frozen=True)
class AgentName:
    """An agent's lineage branch."""

    name: str

    @property
    def ref(self) -> str:
        """``refs/heads/darwin/agent/a1``."""
        return agent_ref(self.name)


@dataclass(frozen=True)
class PullRequestName:
    """A branch pushed for review only."""

    slug: str

    @property
    def ref(self) -> str:
        """``refs/heads/darwin/pr/<slug>``."""
        return pr_ref(self.slug)


@dataclass(frozen=True)
class DataName:
    """A corpus kept as a blob."""

    sha256: str

    @property
    def ref(self) -> str:
        """``refs/darwin/data/<sha256>``."""
        return data_ref(self.sha256)


@dataclass(frozen=True)
class WriterName:
    """One process's pending notes."""

    name: str

    @property
    def ref(self) -> str:
        """``refs/notes/darwin/w/<pid>-<random>``."""
        return writer_notes_ref(self.name)

    @property
    def pid(self) -> int:
        """The process that writes it."""
        return int(self.name.partition("-")[0])


@dataclass(frozen=True)
class FixedName:
    """A reference that exists once: champion, ledger, exchange, the notes."""

    ref: str


Name = VariantName | Archived | AgentName | PullRequestName | DataName | WriterName | FixedName


def agent_ref(name: str) -> str:
    """An agent's lineage."""
    return AGENTS + _agent(name)


def variant_ref(generation: int, slug: str) -> str:
    """A variant alive."""
    return VariantName(generation, slug).ref


def archive_ref(generation: int, slug: str) -> str:
    """A variant pruned."""
    return VariantName(generation, slug).archive_ref


def pr_ref(slug: str) -> str:
    """A branch for review."""
    return PULL_REQUESTS + _checked(slug, "pull request name", is_part(slug))


def data_ref(sha256: str) -> str:
    """A corpus."""
    return DATA + _checked(sha256, "sha256", _SHA256.fullmatch(sha256) is not None)


def writer_notes_ref(writer: str) -> str:
    """One writer's pending notes."""
    return WRITERS + _checked(writer, "writer name", _WRITER.fullmatch(writer) is not None)


def parse(ref: str) -> Name | None:
    """What a full reference of ours stands for; None for anybody else's."""
    if ref in FIXED:
        return FixedName(ref)
    try:
        for prefix, build in _PARSERS:
            if ref.startswith(prefix):
                name = build(ref.removeprefix(prefix))
                return name if name.ref == ref else None
    except ValueError:
        return None
    return None


def _archived(text: str) -> Archived:
    return Archived(VariantName.parse(text))


_PARSERS = (
    (VARIANTS, VariantName.parse),
    (ARCHIVE, _archived),
    (AGENTS, AgentName),
    (PULL_REQUESTS, PullRequestName),
    (DATA, DataName),
    (WRITERS, WriterName),
)

_HUB_FOLDERS = (
    (AGENTS, "agent/"),
    (VARIANTS, "v/"),
    (ARCHIVE, "archive/"),
    (LEDGER, "ledger"),
    (EXCHANGE, "exchange"),
)


def hub_ref(island: str, ref: str) -> str | None:
    """Where a hub keeps what one island owns; None for what is shared or stays at home."""
    _checked(island, "island", is_part(island))
    for local, hub in _HUB_FOLDERS:
        if ref == local or (local.endswith("/") and ref.startswith(local)):
            return f"{ISLANDS}{island}/{hub}{ref.removeprefix(local)}" if parse(ref) else None
    return None


def from_hub_ref(ref: str) -> tuple[str, str] | None:
    """(island, local reference) of a hub's reference; the inverse of `hub_ref`."""
    island, slash, rest = ref.removeprefix(ISLANDS).partition("/")
    if not ref.startswith(ISLANDS) or not slash or not is_part(island):
        return None
    for local, hub in _HUB_FOLDERS:
        if rest == hub or (hub.endswith("/") and rest.startswith(hub)):
            home = local + rest.removeprefix(hub)
            return (island, home) if parse(home) else None
    return None


def is_ours(ref: str) -> bool:
    """Whether a full reference lies in a namespace that this tool may write."""
    return ref.startswith(OURS)


def variants_in(refs: Iterable[str]) -> list[VariantName]:
    """The variants alive among full references, in order of generation and slug."""
    return sorted(name for ref in refs if isinstance(name := parse(ref), VariantName))
