"""A merge's conflicts, numbered over all its files, and their resolution."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from darwin_git.domain.answers import conflicts, edits
from darwin_git.domain.answers.conflicts import ConflictsRefused, Hunk
from darwin_git.ports.history import Conflict


@dataclass(frozen=True)
class Merge:
    """The files that both sides changed.

    Attributes:
        marked: contents with git's markers by path.
        hunks: their conflicts by path.
    """

    marked: Mapping[str, str]
    hunks: Mapping[str, Sequence[Hunk]]

    @classmethod
    def of(cls, met: Sequence[Conflict]) -> "Merge":
        """Raises ConflictsRefused where a file has no conflicts that lines can resolve."""
        marked: dict[str, str] = {}
        for one in met:
            if one.marked is None:
                raise ConflictsRefused(
                    f"{one.path} has no lines to merge: one side deleted it, or it is no text"
                )
            marked[one.path] = one.marked
        return cls(marked, {path: conflicts.hunks(text) for path, text in marked.items()})

    @property
    def numbered(self) -> list[tuple[int, str, Hunk]]:
        """(number, path, conflict); numbers run on from file to file."""
        listed = [(path, hunk) for path in self.hunks for hunk in self.hunks[path]]
        return [(number, path, hunk) for number, (path, hunk) in enumerate(listed, 1)]

    def resolved(self, answer: str) -> dict[str, str]:
        """Every file without a conflict, as an answer says.

        Raises:
            ConflictsRefused: it resolves not all of them, or a file would not parse.
        """
        resolutions = conflicts.parse(answer, len(self.numbered))
        whole: dict[str, str] = {}
        start = 0
        for path, mine in self.hunks.items():
            chosen = {at: resolutions[start + at] for at in range(1, len(mine) + 1)}
            whole[path] = conflicts.assemble(self.marked[path], chosen)
            start += len(mine)
            if problem := edits.check(path, whole[path]):
                raise ConflictsRefused(problem)
        return whole
