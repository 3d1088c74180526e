"""Watches the host while it is attacked: what it must not lose, and what must not be left."""

import os
import re
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

SAMPLE_SECONDS = 0.05
MOST_PROCESSES = 2000
MOST_MEMORY = 3 << 30
MOST_DISK = 3 << 30
"""Above what one attack may use by its limits, since other tests run beside it; far below what it
takes where no limit holds."""

_CONTAINER = re.compile(r"[0-9a-f]{64}")


@dataclass
class Seen:
    """The worst moment of an attack, as change since its start."""

    processes: int = 0
    memory: int = 0
    disk: int = 0


@dataclass
class Guard:
    """The host beside one attack.

    Attributes:
        places: folders that must not grow.
    """

    places: tuple[Path, ...]
    seen: Seen = field(default_factory=Seen)

    @contextmanager
    def watching(self) -> Iterator[Seen]:
        """Sample in the background."""
        over = threading.Event()
        before = _now(self.places[0])

        def sample() -> None:
            while True:
                now = _now(self.places[0])
                self.seen.processes = max(self.seen.processes, now[0] - before[0])
                self.seen.memory = max(self.seen.memory, before[1] - now[1])
                self.seen.disk = max(self.seen.disk, before[2] - now[2])
                if over.wait(SAMPLE_SECONDS):
                    return

        thread = threading.Thread(target=sample)
        thread.start()
        try:
            yield self.seen
        finally:
            over.set()
            thread.join()

    def faults(self) -> list[str]:
        """What the host suffered."""
        limits = Seen(MOST_PROCESSES, MOST_MEMORY, MOST_DISK)
        names = ("processes", "memory", "disk")
        over = [name for name in names if getattr(self.seen, name) > getattr(limits, name)]
        found = [f"the host lost {getattr(self.seen, name)} {name}" for name in over]
        for place in self.places:
            found += [f"left {path}" for path in sorted(place.rglob("*"))]
        return found


def container_processes() -> dict[int, str]:
    """Living processes of this machine that belong to a container, by its id."""
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                group = (entry / "cgroup").read_text()
                state = (entry / "stat").read_text().rsplit(")", 1)[1].split()[0]
            except OSError:
                continue
            if (said := _CONTAINER.search(group)) and state != "Z":
                found[int(entry.name)] = said[0]
    return found


def ours(client: Any, label: str) -> list[str]:
    """Containers, volumes and networks that carry a label."""
    wanted = {"label": label}
    found = [f"container {one['Names'][0]}" for one in client.containers(all=True, filters=wanted)]
    found += [f"volume {one['Name']}" for one in client.volumes(filters=wanted)["Volumes"] or []]
    return found + [f"network {one['Name']}" for one in client.networks(filters=wanted)]


def _now(place: Path) -> tuple[int, int, int]:
    """Processes, available memory and free disk."""
    processes = sum(name.isdigit() for name in os.listdir("/proc"))  # noqa: PTH208 - 20 times a second
    rows = Path("/proc/meminfo").read_text().splitlines()
    available = next(int(row.split()[1]) for row in rows if row.startswith("MemAvailable"))
    return processes, available << 10, shutil.disk_usage(place).free
