"""A commit as data: who, when, what it says, and its trailers."""

import re
from dataclasses import dataclass

_PERSON = re.compile(r"(?P<name>.*?) ?<(?P<email>[^>]*)> (?P<when>-?\d+) (?P<zone>[+-]\d{4})")
_TRAILER = re.compile(r"(?P<key>[A-Za-z0-9][A-Za-z0-9-]*): ?(?P<value>.*)")


@dataclass(frozen=True)
class Signature:
    """Who and when: seconds since 1970, and the zone as git writes it."""

    name: str
    email: str
    when: int
    zone: str

    def __str__(self) -> str:
        return f"{self.name} <{self.email}>"


@dataclass(frozen=True)
class CommitInfo:
    """A commit.

    ``trailers``: the ``Key: value`` lines of the last paragraph, values in order; ``body`` is the
    message without subject, trailers included.
    """

    oid: str
    tree: str
    parents: tuple[str, ...]
    author: Signature
    committer: Signature
    subject: str
    body: str
    trailers: dict[str, list[str]]

    def trailer(self, key: str) -> str | None:
        """The last value of a trailer, as git takes it."""
        values = self.trailers.get(key)
        return values[-1] if values else None


def parse_commit(oid: str, raw: bytes) -> CommitInfo:
    """A raw commit object. Bytes that are no UTF-8 become replacement characters."""
    head, _, message = raw.partition(b"\n\n")
    tree = ""
    parents: list[str] = []
    people: dict[str, Signature] = {}
    for line in head.decode(errors="replace").split("\n"):
        key, _, value = line.partition(" ")
        if key == "tree":
            tree = value
        elif key == "parent":
            parents.append(value)
        elif key in ("author", "committer"):
            people.setdefault(key, _signature(value))
    text = message.decode(errors="replace")
    subject, body = _split(text)
    return CommitInfo(
        oid,
        tree,
        tuple(parents),
        people["author"],
        people["committer"],
        subject,
        body,
        parse_trailers(body),
    )


def _signature(text: str) -> Signature:
    found = _PERSON.fullmatch(text)
    if found is None:
        return Signature(text, "", 0, "+0000")
    return Signature(found["name"], found["email"], int(found["when"]), found["zone"])


def _split(message: str) -> tuple[str, str]:
    subject, _, body = message.lstrip("\n").partition("\n\n")
    return " ".join(subject.split("\n")).strip(), body.strip("\n")


def parse_trailers(body: str) -> dict[str, list[str]]:
    """Trailers of a message's body: its last paragraph, continuation lines joined.

    A last paragraph with any other line is prose and has none.
    """
    found: list[tuple[str, str]] = []
    for line in re.split(r"\n[ \t]*\n", body.strip("\n"))[-1].split("\n"):
        match = _TRAILER.fullmatch(line)
        if match is not None:
            found.append((match["key"], match["value"].strip()))
        elif line[:1] in (" ", "\t") and found:
            found[-1] = (found[-1][0], f"{found[-1][1]} {line.strip()}")
        else:
            return {}
    trailers: dict[str, list[str]] = {}
    for key, value in found:
        trailers.setdefault(key, []).append(value)
    return trailers


def format_message(subject: str, body: str = "", trailers: dict[str, str] | None = None) -> str:
    """A commit message; trailer values are put on one line so that none can forge another."""
    parts = [" ".join(subject.split()), body.strip("\n")]
    parts.append(
        "\n".join(f"{key}: {' '.join(value.split())}" for key, value in (trailers or {}).items())
    )
    return "\n\n".join(part for part in parts if part) + "\n"
