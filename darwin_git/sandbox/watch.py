"""The watch over one running command: time, memory, processes, disk."""

import errno
import os
import time
from pathlib import Path
from typing import Literal

from darwin_git.ports import Limits
from darwin_git.sandbox.family import Family, memory

Cause = Literal["deadline", "memory", "output", "processes"]

MEMORY_EVERY = 0.1
SCAN_EVERY = 1.0
MAX_ENTRIES = 50_000


class Watch:
    """Says when a command must die, and why. Cheap to ask often: it looks only when it is time.

    Args:
        family: the command's processes.
        limits: what it may use.
        folder: everything it may write.
        began: time.monotonic() at its start.
    """

    def __init__(self, family: Family, limits: Limits, folder: Path, began: float) -> None:
        self._family = family
        self._limits = limits
        self._folder = folder
        self._deadline = began + limits.wall_seconds
        self._next_memory = self._next_scan = began
        self._pids: list[int] = []

    def check(self) -> Cause | None:
        """None while all is well."""
        now = time.monotonic()
        if now >= self._deadline:
            return "deadline"
        if now >= self._next_scan:
            if cause := self._scan():
                return cause
            # A scan of a machine with thousands of processes takes at most a thirtieth of a core.
            spent = time.monotonic() - now
            self._next_scan = now + max(SCAN_EVERY, 30 * spent)
        if now >= self._next_memory:
            self._next_memory = now + MEMORY_EVERY
            if memory(self._pids, self._limits.memory_bytes) > self._limits.memory_bytes:
                return "memory"
        return None

    def _scan(self) -> Cause | None:
        self._pids = self._family.members()
        if len(self._pids) > self._limits.processes:
            return "processes"
        if disk_usage(self._folder, self._limits.output_bytes) > self._limits.output_bytes:
            return "output"
        return None


def disk_usage(folder: Path, limit: int) -> int:
    """Bytes on disk below a folder, links not followed; more than `limit` where it has too many.

    The count stops at `limit` and at MAX_ENTRIES files: the writer may be still writing.
    """
    total, entries, folders = 0, 0, [str(folder)]
    while folders:
        try:
            with os.scandir(folders.pop()) as listing:
                for entry in listing:
                    entries += 1
                    if entry.is_dir(follow_symlinks=False):
                        folders.append(entry.path)
                    else:
                        total += entry.stat(follow_symlinks=False).st_blocks * 512
                    if total > limit or entries > MAX_ENTRIES:
                        return max(total, limit + 1)
        except OSError as error:
            if error.errno == errno.ENAMETOOLONG:
                return limit + 1  # so deep that nobody could look
            # gone, or closed to us
    return total
