"""Compile caches of the process runner: filled by commands that saw no data, copied for the rest.

A training works on a private copy that dies with it: what it writes there reaches nobody.
"""

import os
import re
import shutil
import stat
import threading
import time
from pathlib import Path

from darwin_git.sandbox.output import remove_tree

KEPT_SECONDS = 14 * 24 * 3600.0
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,150}")


class Caches:
    """Folders ``<base>/c-<name>``; only the process that holds the clone's lock writes them."""

    def __init__(self, base: Path) -> None:
        self._base = base
        self._guard = threading.Lock()

    def lend(self, name: str, folder: Path) -> None:
        """A private copy at `folder`, which is empty; it stays so where nothing is kept."""
        with self._guard:
            if (kept := self._place(name)).is_dir():
                shutil.copytree(kept, folder, dirs_exist_ok=True)

    def take(self, name: str, folder: Path) -> None:
        """Keep `folder` under that name; whoever wrote it is dead."""
        _only_files(folder)
        with self._guard:
            kept = self._place(name)
            remove_tree(kept)
            folder.rename(kept)

    def reap(self) -> None:
        """Remove what no run has filled for two weeks."""
        for kept in self._base.glob("c-*"):
            if time.time() - kept.stat().st_mtime > KEPT_SECONDS:
                remove_tree(kept)

    def _place(self, name: str) -> Path:
        if not _NAME.fullmatch(name):
            raise ValueError(f"{name!r} is no cache name")
        return self._base / f"c-{name}"


def _only_files(folder: Path) -> None:
    """Remove links, pipes and the like, so that copying it never follows or waits."""
    folder.chmod(0o700)
    for place, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = Path(place, name)
            mode = path.lstat().st_mode
            if stat.S_ISDIR(mode) or stat.S_ISREG(mode):
                path.chmod(0o700)
            else:
                path.unlink()
    os.utime(folder)
