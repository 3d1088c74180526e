"""Memory on the ledger: the events of each generation, and beside them the lessons they fold to."""

from collections.abc import Sequence

from darwin_git.domain.learning import file as lesson_file
from darwin_git.domain.learning.fold import fold
from darwin_git.domain.learning.lesson import MemoryEvent
from darwin_git.domain.learning.retrieval import Shelf
from darwin_git.domain.records import Scan, canonical_json, parse_lines, scan_lines
from darwin_git.store.ledger import LESSONS, MEMORY, Ledger, memory_path


class Memory:
    """Events are primary; lessons.json is written again with every event.

    It names the events that it folds by the id of git's tree of them. Where that is another one
    somebody else wrote there, and the events are folded.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._known: tuple[str, Shelf] | None = None

    def scan(self) -> Scan:
        """All events in the order of generations and lines, and how many lines are none."""
        return self._scan(self._ledger.tip)

    def lessons(self) -> Shelf:
        """What the events fold to; read once for as long as nobody else adds to them."""
        return self._at(self._ledger.tip)

    def altered(self) -> bool:
        """Whether lessons.json is not what the events that it names fold to."""
        tip = self._ledger.tip
        data, folds = self._ledger.read(LESSONS, tip), self._ledger.folder(MEMORY, tip)
        if data is None or lesson_file.folded(data) not in (folds, None):
            return False  # there is none, or it is older than the events: nobody reads it
        return data != lesson_file.to_json(fold(self._scan(tip).records), folds)

    def written(
        self, generation: int, events: Sequence[MemoryEvent], tip: str | None = None
    ) -> dict[str, bytes]:
        """The files of a ledger write that adds events; none where there are none to add.

        Args:
            tip: the ledger's commit that is written on, None for the present one.
        """
        if not events:
            return {}
        tip = tip or self._ledger.tip
        path, lines = memory_path(generation), [canonical_json(event) for event in events]
        files = {path: self._ledger.appended(path, lines, tip)}
        after = fold(parse_lines("\n".join(lines).encode()), self._at(tip))
        folds = self._ledger.folder(MEMORY, tip, files)
        self._known = folds, after
        return {**files, LESSONS: lesson_file.to_json(after, folds)}

    def append(self, generation: int, events: Sequence[MemoryEvent]) -> None:
        """Add events, with what all of them fold to, in one commit."""
        message = f"{memory_path(generation)}: append"
        self._ledger.write_on(lambda tip: self.written(generation, events, tip), message)

    def _at(self, tip: str | None) -> Shelf:
        folds = self._ledger.folder(MEMORY, tip)
        if self._known is None or self._known[0] != folds:
            shelf = lesson_file.from_json(self._ledger.read(LESSONS, tip), folds)
            self._known = folds, fold(self._scan(tip).records) if shelf is None else shelf
        return self._known[1]

    def _scan(self, tip: str | None) -> Scan:
        parts = [self._ledger.read(path, tip) or b"" for path in self._ledger.list(MEMORY, tip)]
        return scan_lines(b"\n".join(parts))
