"""The ledger: JSON files on a branch of their own, each write one commit with compare-and-set."""

from collections.abc import Callable, Iterable, Mapping

from darwin_git.domain import names
from darwin_git.store.catfile import CatFile
from darwin_git.store.objects import Objects
from darwin_git.store.trees import EMPTY_TREE, check_path, read_tree, splice
from darwin_git.store.updateref import RefConflict, RefUpdate, UpdateRef

INTENT = "intent.json"
_ATTEMPTS = 10


def plan_path(generation: int) -> str:
    """``plans/0003.json``."""
    return f"plans/{generation:04d}.json"


def population_path(generation: int) -> str:
    """``population/0003.jsonl``: the events of one generation's variants."""
    return f"population/{generation:04d}.jsonl"


def fitness_path(generation: int) -> str:
    """``fitness/0003.json``."""
    return f"fitness/{generation:04d}.json"


MEMORY = "memory.jsonl"
REQUESTS = "requests.jsonl"
SUMMARY = "summary.json"


class Ledger:
    """Files on refs/heads/darwin/ledger. Reading never creates the branch."""

    def __init__(self, cat: CatFile, objects: Objects, update_ref: UpdateRef) -> None:
        self._cat = cat
        self._objects = objects
        self._update_ref = update_ref

    @property
    def tip(self) -> str | None:
        """The ledger's commit, None before the first write."""
        found = self._cat.info(names.LEDGER)
        return found[0] if found else None

    def tree(self, commit: str | None) -> str:
        """A ledger commit's tree."""
        return EMPTY_TREE if commit is None else self._cat.read(commit, "commit")[5:45].decode()

    def read(self, path: str) -> bytes | None:
        """A file's content, None if there is none."""
        check_path(path)
        found = self._cat.get(f"{names.LEDGER}:{path}")
        return found.data if found and found.type == "blob" else None

    def list(self, prefix: str = "") -> list[str]:
        """Paths that start with `prefix`, sorted."""
        paths = read_tree(self._objects, self.tree(self.tip))
        return sorted(path for path in paths if path.startswith(prefix))

    def write(self, files: Mapping[str, bytes | None], message: str) -> str | None:
        """Write (None: delete) files in one commit; its id, the old tip if nothing changed.

        Somebody else's write in between is kept: ours is put on top of it.
        """
        return self._retry(lambda _tip: files, message)

    def append_lines(self, path: str, lines: Iterable[bytes | str]) -> str | None:
        """Append lines to a file, each with its newline, in one commit."""
        whole = b"".join(_line(line) for line in lines)
        return self._retry(lambda tip: {path: self._at(tip, path) + whole}, f"{path}: append")

    def appended(self, path: str, lines: Iterable[bytes | str]) -> bytes:
        """The file's content with lines appended, for a write together with other files."""
        return self._at(self.tip, path) + b"".join(_line(line) for line in lines)

    def _at(self, tip: str | None, path: str) -> bytes:
        check_path(path)
        found = self._cat.get(f"{tip}:{path}") if tip else None
        content = found.data if found and found.type == "blob" else b""
        return content + b"\n" if content and not content.endswith(b"\n") else content

    def _retry(
        self, files: Callable[[str | None], Mapping[str, bytes | None]], message: str
    ) -> str | None:
        for attempt in range(_ATTEMPTS):
            tip = self.tip
            before = self.tree(tip)
            tree = splice(self._objects, before, files(tip))
            if tree == before:
                return tip
            commit = self._objects.commit(tree, [tip] if tip else [], message)
            try:
                self._update_ref.transact([RefUpdate(names.LEDGER, tip, commit)])
                return commit
            except RefConflict:
                if attempt == _ATTEMPTS - 1:
                    raise
        raise AssertionError("unreachable")


def _line(line: bytes | str) -> bytes:
    raw = line.encode() if isinstance(line, str) else line
    if b"\n" in raw.rstrip(b"\n"):
        raise ValueError("a line has no newline inside")
    return raw.rstrip(b"\n") + b"\n"
