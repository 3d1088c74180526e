"""The ledger: JSON files on a branch of their own, each write one commit with compare-and-set."""

from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType

from darwin_git.domain import names
from darwin_git.store.catfile import CatFile
from darwin_git.store.objects import Objects
from darwin_git.store.reffiles import Files, RefFiles
from darwin_git.store.trees import EMPTY_TREE, splice
from darwin_git.store.updateref import UpdateRef

INTENT = "intent.json"


def plan_path(generation: int) -> str:
    """``plans/0003.json``."""
    return f"plans/{generation:04d}.json"


def population_path(generation: int) -> str:
    """``population/0003.jsonl``: the events of one generation's variants."""
    return f"population/{generation:04d}.jsonl"


def fitness_path(generation: int) -> str:
    """``fitness/0003.json``."""
    return f"fitness/{generation:04d}.json"


def memory_path(generation: int) -> str:
    """``memory/0003.jsonl``: what memory gained in one generation."""
    return f"{MEMORY}{generation:04d}.jsonl"


MEMORY = "memory/"
LESSONS = "lessons.json"
REQUESTS = "requests.jsonl"
SUMMARY = "summary.json"


class Ledger:
    """Files on refs/heads/darwin/ledger. Reading never creates the branch."""

    def __init__(self, cat: CatFile, objects: Objects, update_ref: UpdateRef) -> None:
        self._objects = objects
        self._files = RefFiles(cat, objects, update_ref, names.LEDGER)

    @property
    def tip(self) -> str | None:
        """The ledger's commit, None before the first write."""
        return self._files.tip

    def tree(self, commit: str | None) -> str:
        """A ledger commit's tree."""
        return self._files.tree(commit)

    def folder(self, prefix: str, commit: str | None, changes: Files = MappingProxyType({})) -> str:
        """The tree of a folder like ``memory/``, also with some of its files changed."""
        found = self._objects.tree(self.tree(commit)).get(prefix.rstrip("/"))
        inner = {path.removeprefix(prefix): change for path, change in changes.items()}
        return splice(self._objects, found.oid if found else EMPTY_TREE, inner)

    def read(self, path: str, commit: str | None = None) -> bytes | None:
        """A file's content, None if there is none; of an older commit where one is given."""
        return self._files.read(path, commit)

    def list(self, prefix: str = "", commit: str | None = None) -> list[str]:
        """Paths that start with `prefix`, sorted."""
        return self._files.list(prefix, commit)

    def write(self, files: Mapping[str, bytes | None], message: str) -> str | None:
        """Write (None: delete) files in one commit; its id, the old tip if nothing changed.

        Somebody else's write in between is kept: ours is put on top of it.
        """
        return self.write_on(lambda _tip: files, message)

    def write_on(self, files: Callable[[str | None], Files], message: str) -> str | None:
        """Write the files that follow from the tip: asked again where somebody else wrote."""
        return self._files.write(files, message)

    def appended(self, path: str, lines: Iterable[bytes | str], commit: str | None = None) -> bytes:
        """The file's content with lines appended, for a write together with other files."""
        return self._at(commit or self.tip, path) + b"".join(_line(line) for line in lines)

    def _at(self, tip: str | None, path: str) -> bytes:
        content = (self._files.read(path, tip) if tip else None) or b""
        return content + b"\n" if content and not content.endswith(b"\n") else content


def _line(line: bytes | str) -> bytes:
    raw = line.encode() if isinstance(line, str) else line
    if b"\n" in raw.rstrip(b"\n"):
        raise ValueError("a line has no newline inside")
    return raw.rstrip(b"\n") + b"\n"
