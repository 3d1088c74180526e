"""Runs the person's program in the checkout: ``judge.py SEED SPLIT COMMAND...``.

What the program prints is handed on in base64, byte by byte as it was printed: nothing that the
genome writes into the same pipe can hide a part of it. The genome runs as the same user, so this
process closes its own memory and descriptors to it first.
"""

import base64
import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import threading

SAID = "darwin-git: said"
"""What stands before each piece; the pieces fit into a line of a log."""
PIECE = 1500
MOST = 1 << 16
"""Bytes of standard output; more are cut, which the other side sees by the length."""
PR_SET_DUMPABLE = 4


def close_to_others() -> None:
    """No process of this user may open our descriptors or memory (prctl(2), ptrace(2))."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)


class Printed(threading.Thread):
    """Reads a pipe beside the program, which may end while others hold the pipe open."""

    def __init__(self, descriptor: int, too_much: "subprocess.Popen[bytes]") -> None:
        super().__init__(daemon=True)
        self.data = b""
        self._descriptor, self._program = descriptor, too_much

    def run(self) -> None:
        """Read to the end, or to more than is taken."""
        while piece := os.read(self._descriptor, 1 << 16):
            self.data += piece
            if len(self.data) > MOST:
                self._program.kill()
                return


def main() -> None:
    """Start the program, hand on what it printed, end as it ended."""
    close_to_others()
    seed, split, *command = sys.argv[1:]
    environment = {**os.environ, "DARWIN_SEED": seed, "DARWIN_SPLIT": split}
    try:
        program = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, env=environment, bufsize=0
        )
    except OSError as error:
        sys.exit(f"{command[0]} cannot be started: {error.strerror}")
    assert program.stdout is not None
    printed = Printed(program.stdout.fileno(), program)
    printed.start()
    code = program.wait()
    printed.join(1.0)  # what it left running may hold the pipe open
    said = printed.data[: MOST + 1]
    text = base64.b64encode(said).decode()
    for at in range(0, len(text), PIECE):
        print(SAID, text[at : at + PIECE], flush=True)
    if len(said) > MOST:
        code = 0  # cut by us; the other side says what is wrong
    if code < 0:
        with contextlib.suppress(ValueError):
            print(f"the judge was killed by {signal.Signals(-code).name}", file=sys.stderr)
        code = 128 - code
    sys.stdout.flush()
    os._exit(code)  # the reading thread may still wait


if __name__ == "__main__":
    main()
