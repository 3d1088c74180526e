"""Puts limits on itself and becomes the command: ``python -I -S wall.py SPEC ARGV...``.

A script of its own rather than Popen's ``preexec_fn``, which runs Python between fork and exec and
may deadlock in a tool with threads. What goes wrong here is reported over a pipe that closes when
the command starts, so that a fault of ours is never taken for one of the genome's.
"""

import ctypes
import json
import os
import resource
import signal
import sys

PR_SET_PDEATHSIG = 1
PR_SET_NO_NEW_PRIVS = 38


def limit(spec: dict[str, int]) -> None:
    """Die with the tool, no core dumps, bounded files; be the first that the kernel kills."""
    if sys.platform == "linux":
        libc = ctypes.CDLL(None, use_errno=True)
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
        with open("/proc/self/oom_score_adj", "w") as file:  # noqa: PTH123 - no site, no pathlib
            file.write("500")
    if os.getppid() != spec["parent"]:
        os._exit(1)  # the tool died before the line above
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    lower(resource.RLIMIT_FSIZE, spec["file_bytes"])
    lower(resource.RLIMIT_NOFILE, 4096)


def lower(kind: int, value: int) -> None:
    """Set a limit, but never above what the tool itself was given."""
    hard = resource.getrlimit(kind)[1]
    if hard != resource.RLIM_INFINITY:
        value = min(value, hard)
    resource.setrlimit(kind, (value, value))


def main() -> None:
    """Limit, then exec."""
    spec = json.loads(sys.argv[1])
    report = spec["report"]
    os.set_inheritable(report, False)
    try:
        limit(spec)
        if spec["cpus"] and hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(0, spec["cpus"])
        os.execve(sys.argv[2], sys.argv[2:], dict(os.environ))
    except OSError as error:
        os.write(report, f"{error.strerror}: {sys.argv[2]}".encode()[:1000])
        os._exit(1)


if __name__ == "__main__":
    main()
