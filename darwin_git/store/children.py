"""Child processes by id and start time, so that a reused process id is not taken for ours."""

import subprocess
import time
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Child:
    """A process: id, start time (clock ticks since boot, or `ps` text), and where ids are valid.

    ``realm`` is boot id and process namespace: ids of another boot or container mean nothing here.
    """

    pid: int
    started: str
    realm: str

    @property
    def stem(self) -> str:
        """A file name that no other process gets."""
        return f"{self.pid}-{''.join(c for c in self.started if c.isalnum())}"

    def as_json(self) -> dict[str, object]:
        """For the journal and the intent."""
        return {"pid": self.pid, "started": self.started, "realm": self.realm}

    @classmethod
    def of_json(cls, value: object) -> "Child | None":
        """The inverse; None where it is something else."""
        if not isinstance(value, dict) or not isinstance(value.get("pid"), int):
            return None
        return cls(value["pid"], str(value.get("started")), str(value.get("realm")))


def this_realm() -> str:
    """Boot and process namespace; constant where the system does not say."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        space = str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        return "unknown"
    return f"{boot} {space}"


def start_time(pid: int) -> str | None:
    """When a process started; None if there is none (a zombie is none: it holds nothing)."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return _start_by_ps(pid) if not Path("/proc/self/stat").exists() else None
    fields = stat[stat.rindex(b")") + 2 :].split()
    return None if fields[0] in (b"Z", b"X") else fields[19].decode()


def _start_by_ps(pid: int) -> str | None:
    done = subprocess.run(
        ["ps", "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True, check=False
    )
    return done.stdout.strip() or None


def child(pid: int) -> Child:
    """The record of a process that is alive now."""
    return Child(pid, start_time(pid) or "gone", this_realm())


def is_alive(process: Child) -> bool | None:
    """True or False; None where it ran in another process namespace of this boot."""
    here = this_realm()
    if process.realm != here:
        same_boot = process.realm.split(" ")[0] == here.split(" ")[0]
        return None if same_boot else False
    return start_time(process.pid) == process.started


def wait_for_end(process: Child, seconds: float) -> bool:
    """Whether it is gone within that time: an orphaned git child ends by itself at end of input."""
    deadline = time.monotonic() + seconds
    while is_alive(process):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True
