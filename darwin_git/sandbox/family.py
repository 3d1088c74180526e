"""All processes of one attempt: found, weighed and killed, also those that left the session."""

import contextlib
import os
import signal
import time
from pathlib import Path

MARKER = "DARWIN_ATTEMPT"


class Family:
    """A leader, its session, its descendants, and whoever carries its marker.

    Linux tells all of it by /proc; elsewhere only the leader's process group is known.

    Args:
        leader: process id of the session's leader; None when only the marker is known.
        marker: value of the environment variable MARKER that all of them inherit.
    """

    def __init__(self, leader: int | None, marker: str) -> None:
        self._leader = leader
        self._needle = f"{MARKER}={marker}\0".encode()
        self._known: dict[tuple[int, int], bool] = {}

    def members(self) -> list[int]:
        """Scan /proc: processes that live (zombies do not)."""
        current: dict[tuple[int, int], bool] = {}
        living: list[int] = []
        pending: dict[tuple[int, int], int] = {}
        for pid in _processes():
            if (seen := _stat(pid)) is None:
                continue
            state, parent, session, born = seen
            key = (pid, born)
            # Once in the family, always: an adopted orphan keeps its place.
            ours = self._known.get(key, False) or (
                self._leader is not None and session == self._leader
            )
            if not ours and key not in self._known:
                ours = self._carries_marker(pid)
            current[key] = ours
            if ours and state != "Z":
                living.append(pid)
            elif not ours:
                pending[key] = parent
        grown = True
        while grown:  # descendants that were given another environment
            grown = False
            for (pid, born), parent in list(pending.items()):
                if parent in living:
                    del pending[(pid, born)]
                    current[(pid, born)] = grown = True
                    living.append(pid)
        self._known = current
        return living

    def _carries_marker(self, pid: int) -> bool:
        try:
            return self._needle in Path(f"/proc/{pid}/environ").read_bytes() + b"\0"
        except OSError:
            return False  # another user's, or gone

    def kill(self, patience: float = 3.0) -> None:
        """SIGKILL until nobody is left; a fork bomb loses since each round kills all it finds."""
        deadline = time.monotonic() + patience
        while time.monotonic() < deadline:
            if self._leader is not None:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.killpg(self._leader, signal.SIGKILL)
            living = self.members()
            if not living:
                return
            for pid in living:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.005)


def memory(pids: list[int], limit: int) -> int:
    """Bytes that no file backs, of all of them together.

    Resident memory, since RLIMIT_AS and RLIMIT_DATA count what CUDA and the allocators merely
    reserve. Pages shared by forked workers are counted once, but only where it matters: the exact
    count costs milliseconds per process.
    """
    rough = sum(_resident(pid) for pid in pids)
    if rough <= limit or len(pids) == 1:
        return rough
    return sum(_proportional(pid) for pid in pids)


def _processes() -> list[int]:
    try:
        return [int(entry.name) for entry in os.scandir("/proc") if entry.name.isdigit()]
    except FileNotFoundError:
        return []


def _stat(pid: int) -> tuple[str, int, int, int] | None:
    """State, parent, session and birth of a process (proc(5), fields 3, 4, 6 and 22)."""
    try:
        text = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return None
    fields = text[text.rindex(b")") + 2 :].split()
    return fields[0].decode(), int(fields[1]), int(fields[3]), int(fields[19])


def _resident(pid: int) -> int:
    return _kilobytes(f"/proc/{pid}/status", (b"RssAnon:", b"RssShmem:"))


def _proportional(pid: int) -> int:
    return _kilobytes(f"/proc/{pid}/smaps_rollup", (b"Pss_Anon:", b"Pss_Shmem:"))


def _kilobytes(path: str, names: tuple[bytes, ...]) -> int:
    try:
        lines = Path(path).read_bytes().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith(names))
