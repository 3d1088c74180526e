"""The keeper of one attempt: ``python3 -I -S -c SOURCE SECONDS LIFETIME`` inside a container.

It keeps the out volume mounted, so that its files outlive the job, and is process 1 of the PID
namespace that the job joins: another user with one capability, which the job can neither stop nor
signal. Where the tool died, it ends what has run for SECONDS since the first foreign process was
seen. SIGUSR1 does so at once: nobody writes while the files are read. After LIFETIME it ends, and
with it everything else.
"""

import os
import signal
import sys
import time

POLL_SECONDS = 1.0


def others() -> bool:
    """Somebody else lives in this PID namespace."""
    return any(name.isdigit() and name != "1" for name in os.listdir("/proc"))  # noqa: PTH208


def end(*_: object) -> bool:
    """Kill everybody else, who forks meanwhile in the next round; True: nobody is left."""
    for _round in range(200):
        try:
            os.kill(-1, signal.SIGKILL)
        except OSError:
            return True
        time.sleep(0.005)
    return False


def main() -> None:
    """Keep."""
    seconds, lifetime = (float(text) for text in sys.argv[1:3])
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # orphans leave no zombies
    signal.signal(signal.SIGUSR1, end)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: os._exit(0))
    began, first, over = time.monotonic(), None, False
    while time.monotonic() - began < lifetime:
        if first is None and others():
            first = time.monotonic()
        if not over and first is not None and time.monotonic() - first > seconds:
            over = end()  # who comes now comes from outside, to read
        time.sleep(POLL_SECONDS)


if __name__ == "__main__":
    main()
