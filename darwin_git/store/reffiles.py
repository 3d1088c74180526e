"""Files on a reference of their own: each write is one commit with compare-and-set."""

import random
import time
from collections.abc import Callable, Mapping

from darwin_git.store.catfile import CatFile
from darwin_git.store.objects import Objects
from darwin_git.store.trees import EMPTY_TREE, Change, check_path, read_tree, splice
from darwin_git.store.updateref import RefConflict, RefUpdate, UpdateRef

_ATTEMPTS = 20
_PAUSE_S = 0.001

Files = Mapping[str, Change]


class RefFiles:
    """The files of the tree that a reference's commit has. Reading never creates the reference."""

    def __init__(self, cat: CatFile, objects: Objects, update_ref: UpdateRef, ref: str) -> None:
        self._cat = cat
        self._objects = objects
        self._update_ref = update_ref
        self.ref = ref

    @property
    def tip(self) -> str | None:
        """The reference's commit, None before the first write."""
        found = self._cat.info(self.ref)
        return found[0] if found else None

    def tree(self, commit: str | None) -> str:
        """A commit's tree."""
        return EMPTY_TREE if commit is None else self._cat.read(commit, "commit")[5:45].decode()

    def read(self, path: str, commit: str | None = None) -> bytes | None:
        """A file's content, None if there is none; of an older commit where one is given."""
        check_path(path)
        found = self._cat.get(f"{commit or self.ref}:{path}")
        return found.data if found and found.type == "blob" else None

    def list(self, prefix: str = "", commit: str | None = None) -> list[str]:
        """Paths that start with `prefix`, sorted; of an older commit where one is given."""
        paths = read_tree(self._objects, self.tree(commit or self.tip))
        return sorted(path for path in paths if path.startswith(prefix))

    def write(self, files: Callable[[str | None], Files], message: str) -> str | None:
        """Write (None: delete) the files that `files` makes from the tip, in one commit.

        Somebody else's write in between is kept: `files` is asked again, and put on top of it.

        Returns:
            The commit; the old tip if nothing changed.
        """
        for attempt in range(_ATTEMPTS):
            tip = self.tip
            before = self.tree(tip)
            tree = splice(self._objects, before, files(tip))
            if tree == before:
                return tip
            commit = self._objects.commit(tree, [tip] if tip else [], message)
            try:
                self._update_ref.transact([RefUpdate(self.ref, tip, commit)])
                return commit
            except RefConflict:
                if attempt == _ATTEMPTS - 1:
                    raise
                # Whoever was faster is not met again at once: by chance, and ever later.
                time.sleep(random.random() * _PAUSE_S * 2 ** min(attempt, 7))
        raise AssertionError("unreachable")
