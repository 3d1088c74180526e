"""What models were asked and what they answered: files of refs/darwin/exchange.

``0003/a2-on-a1/1.json`` is the first exchange of a variant. It is readable by itself: `git show
refs/darwin/exchange:0003/a2-on-a1/1.json`. A name is written again where an outage is followed by
an answer; the reference's history keeps the outage.
"""

import json
from typing import NamedTuple

from darwin_git.domain import names
from darwin_git.domain.exchange import Exchange, request_digest
from darwin_git.domain.names import VariantName
from darwin_git.store.catfile import CatFile
from darwin_git.store.objects import Objects
from darwin_git.store.reffiles import RefFiles
from darwin_git.store.trees import FILE, FOLDER, Entry
from darwin_git.store.updateref import UpdateRef

_AHEAD = 256


class Scan(NamedTuple):
    """The exchanges that could be read, and the paths of other files."""

    exchanges: list[Exchange]
    corrupt: list[str]


class Exchanges:
    """The exchanges of a run. Reading never creates the reference."""

    def __init__(
        self, cat: CatFile, objects: Objects, update_ref: UpdateRef, ref: str = names.EXCHANGE
    ) -> None:
        self._cat = cat
        self._objects = objects
        self._update_ref = update_ref
        self._files = RefFiles(cat, objects, update_ref, ref)

    def at(self, ref: str) -> "Exchanges":
        """Those of another reference."""
        return Exchanges(self._cat, self._objects, self._update_ref, ref)

    def publish(self, exchange: Exchange) -> str:
        """Make an exchange durable; ``path@blob``. What is there already is not written again."""
        path = path_of(exchange)
        entry = Entry(FILE, self._objects.write_blob(encoded(exchange)))
        self._files.write(
            lambda _tip: {path: entry},
            f"{exchange.agent} asked for {exchange.variant} ({exchange.purpose})",
        )
        return f"{path}@{entry.oid}"

    def read(self, prefix: str = "") -> list[Exchange]:
        """Those of a variant, of a generation ("0003") or of the run, in the order kept."""
        return self.scan(prefix).exchanges

    def scan(self, prefix: str = "") -> Scan:
        """Like `read`, with the paths of files that are no exchanges."""
        found: list[Exchange] = []
        corrupt: list[str] = []
        blobs = self._blobs(prefix)
        paths = list(blobs)
        for start in range(0, len(paths), _AHEAD):
            chunk = paths[start : start + _AHEAD]
            for path, each in zip(
                chunk, self._cat.get_many([blobs[p] for p in chunk]), strict=True
            ):
                exchange = parsed(path, each.data) if each and each.type == "blob" else None
                if exchange is None:
                    corrupt.append(path)
                else:
                    found.append(exchange)
        return Scan(sorted(found, key=_place), corrupt)

    def _blobs(self, prefix: str) -> dict[str, str]:
        """Object id by path below a folder of the tree; paths are not trusted, only shown."""
        tree = self._files.tree(self._files.tip)
        for part in prefix.split("/") if prefix else ():
            entry = self._objects.tree(tree).get(part)
            if entry is None or entry.mode != FOLDER:
                return {}
            tree = entry.oid
        found: dict[str, str] = {}
        self._walk(tree, prefix + "/" if prefix else "", found, 4)
        return found

    def _walk(self, tree: str, folder: str, found: dict[str, str], depth: int) -> None:
        for name, entry in self._objects.tree(tree).items():
            if entry.mode == FOLDER and depth:
                self._walk(entry.oid, f"{folder}{name}/", found, depth - 1)
            else:
                found[folder + name] = entry.oid


def path_of(exchange: Exchange) -> str:
    """``0003/a2-on-a1/1.json``. Raises ValueError for what is no variant's exchange."""
    if exchange.number < 1:
        raise ValueError(f"exchanges count from 1, not from {exchange.number}")
    return f"{VariantName.parse(exchange.variant)}/{exchange.number}.json"


def encoded(exchange: Exchange) -> bytes:
    """The file: equal exchanges give equal bytes."""
    text = json.dumps(
        exchange.to_json(), indent=1, sort_keys=True, ensure_ascii=True, allow_nan=False
    )
    return (text + "\n").encode("ascii")


def parsed(path: str, data: bytes) -> Exchange | None:
    """The exchange of a file, None where somebody else wrote it or its content was altered."""
    try:
        exchange = Exchange.from_json(json.loads(data))
        intact = (
            isinstance(exchange.request, dict)
            and isinstance(exchange.order, int)
            and isinstance(exchange.reply.text, str)
            and path_of(exchange) == path
            and exchange.digest == request_digest(exchange.request)
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    return exchange if intact else None


def _place(exchange: Exchange) -> tuple[int, int, str, int]:
    generation = VariantName.parse(exchange.variant).generation
    return generation, exchange.order, exchange.variant, exchange.number
