"""This machine, as the process runner's commands see it."""

import contextlib
import os
import platform
import subprocess
from pathlib import Path

from darwin_git.errors import DarwinError
from darwin_git.ports import Machine


def this_machine(*, gpus: bool) -> Machine:
    """Cores that this process may use, memory, GPUs; raises DarwinError where no GPU answers."""
    found = _gpus() if gpus else {}
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return Machine(_cpus(), memory, found, _cpu_name())


def _cpus() -> tuple[int, ...]:
    if hasattr(os, "sched_getaffinity"):
        return tuple(sorted(os.sched_getaffinity(0)))
    return tuple(range(os.cpu_count() or 1))  # macOS has no affinity


def _gpus() -> dict[str, str]:
    """Names of NVIDIA GPUs by id, without importing torch."""
    query = ["nvidia-smi", "--query-gpu=index,name", "--format=csv,noheader"]
    try:
        done = subprocess.run(query, capture_output=True, text=True, timeout=30)
        rows = done.stdout.splitlines() if done.returncode == 0 else []
    except (OSError, subprocess.TimeoutExpired):
        rows = []
    found = dict(row.split(", ", 1) for row in rows if ", " in row)
    if not found:
        raise DarwinError(
            "darwin.toml asks for cuda and no NVIDIA GPU answers",
            hint='check nvidia-smi, or set genome.device = "cpu"',
        )
    return found


def _cpu_name() -> str:
    """The processor's model, else the machine's kind."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.machine() or "cpu"
