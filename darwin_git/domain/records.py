"""Fitness records: JSON lines with a content id, so that a union of two files is their merge."""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

Record = dict[str, Any]

VERSION = 1
KINDS = frozenset({"replicate", "verdict", "probe", "certificate", "screen"})
ID_LENGTH = 32


def canonical_json(value: object) -> str:
    """One line of JSON: sorted keys, no spaces, ASCII; equal values give equal text.

    Raises:
        ValueError: NaN, an infinity, or a key that is no text (JSON would turn it into one).
    """
    _refuse_odd_keys(value)
    return json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False
    )


def _refuse_odd_keys(value: object) -> None:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            if not isinstance(key, str):
                raise ValueError(f"a key of a record must be text: {key!r}")
            _refuse_odd_keys(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            _refuse_odd_keys(inner)


def record_id(record: Mapping[str, Any]) -> str:
    """sha256[:32] of the canonical JSON without ``id``."""
    body = {key: value for key, value in record.items() if key != "id"}
    return hashlib.sha256(canonical_json(body).encode()).hexdigest()[:ID_LENGTH]


def make_record(
    kind: str,
    island: str,
    generation: int,
    seq: int,
    commit: str,
    tree: str,
    identity: str,
    **fields: object,
) -> Record:
    """A record of version 1 with its id. ``seq`` orders an island's records: no clock does."""
    if kind not in KINDS:
        raise ValueError(f"{kind!r} is none of {', '.join(sorted(KINDS))}")
    record: Record = {
        **fields,
        "v": VERSION,
        "kind": kind,
        "island": island,
        "generation": generation,
        "seq": seq,
        "commit": commit,
        "tree": tree,
        "identity": identity,
    }
    # What is kept is what a reader will get back: tuples become lists.
    text = canonical_json(record)
    kept: Record = json.loads(text)
    kept["id"] = hashlib.sha256(text.encode()).hexdigest()[:ID_LENGTH]
    return kept


def is_intact(record: Mapping[str, Any]) -> bool:
    """Whether the id is the content's. `verify` asks this; reading does not pay for it."""
    try:
        return bool(record.get("id") == record_id(record))
    except ValueError:
        return False


def to_line(record: Mapping[str, Any]) -> bytes:
    """The line of a note, with its newline."""
    return canonical_json(record).encode("ascii") + b"\n"


class Scan(NamedTuple):
    """Parsed lines, and how many others could not be read."""

    records: list[Record]
    corrupt: int


def _not_finite(text: str) -> float:
    raise ValueError(f"{text} is not a number of JSON")


def _finite(text: str) -> float:
    number = float(text)
    if number - number != 0.0:  # an infinity: 1e999 is a number of JSON, too
        raise ValueError(f"{text[:20]} is too large")
    return number


_decoder = json.JSONDecoder(parse_constant=_not_finite, parse_float=_finite)


def scan_lines(data: bytes) -> Scan:
    """Every JSON object on a line of its own; what is none is counted, never raised."""
    records: list[Record] = []
    corrupt = 0
    for line in data.split(b"\n"):
        if not line.strip():
            continue
        try:
            value = _decoder.decode(line.decode())
        except (ValueError, RecursionError):
            corrupt += 1
            continue
        if isinstance(value, dict):
            records.append(value)
        else:
            corrupt += 1
    return Scan(records, corrupt)


def parse_lines(data: bytes) -> list[Record]:
    """The readable records of a note; `scan_lines` also counts the others."""
    return scan_lines(data).records


def merge(*parts: Iterable[Record]) -> list[Record]:
    """Union by id, sorted by (generation, seq, id). A record without an id is dropped.

    Where two bodies claim one id, the smaller canonical text stays, in whatever order they come.
    """
    union: dict[str, Record] = {}
    for record in (record for part in parts for record in part):
        key = record.get("id")
        if not isinstance(key, str):
            continue
        known = union.get(key)
        if known is None:
            union[key] = record
        elif known != record:
            union[key] = min(known, record, key=canonical_json)
    return sorted(union.values(), key=_order)


def _order(record: Record) -> tuple[int, int, str]:
    generation, seq = record.get("generation"), record.get("seq")
    return (
        generation if isinstance(generation, int) else -1,
        seq if isinstance(seq, int) else -1,
        record["id"],
    )


def canonical_choice(records: Iterable[Record]) -> list[Record]:
    """Of replicates with one (identity, seed) only the smallest id counts; other kinds all stay.

    The identity is a hash that contains the tree (design 4.6), so two variants never mix here.
    """
    kept = list(records)
    chosen: dict[tuple[str, str], str] = {}
    for record in kept:
        if record.get("kind") == "replicate":
            key = _measurement(record)
            chosen[key] = min(chosen.get(key, record["id"]), record["id"])
    return [
        record
        for record in kept
        if record.get("kind") != "replicate" or chosen[_measurement(record)] == record["id"]
    ]


def _measurement(record: Record) -> tuple[str, str]:
    return canonical_json(record.get("identity")), canonical_json(record.get("seed"))


def of_kind(records: Sequence[Record], kind: str) -> list[Record]:
    """The records of one kind, in their order."""
    return [record for record in records if record.get("kind") == kind]
