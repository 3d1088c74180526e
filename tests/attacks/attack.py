"""What an attack is: a hostile program, the limits it runs under, the outcome expected of it."""

import textwrap
from collections.abc import Mapping
from dataclasses import dataclass, field

from darwin_git.ports import Command, File, Finished, Limits

PRELUDE = '''
import ctypes, errno, json, mmap, os, signal, socket, struct, subprocess, sys, threading, time

libc = ctypes.CDLL(None, use_errno=True)
OUT = sys.argv[1]


def attempt(name, action):
    """Says what came of it; only what returns something true got anywhere."""
    try:
        got = action()
    except BaseException as error:
        number = getattr(error, "errno", None)
        print("refused", name, errno.errorcode.get(number, type(error).__name__), flush=True)
    else:
        print("GOT" if got else "refused", name, repr(got)[:300], flush=True)


def call(*arguments):
    """A system call by number; 0 counts as something got."""
    values = [ctypes.c_long(a) if isinstance(a, int) else a for a in arguments]
    result = libc.syscall(*values)
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result + 1


def function(name, *arguments):
    """A function of libc; 0 counts as something got."""
    result = getattr(libc, name)(*arguments)
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result + 1


def fill(path, most=2 << 30, block=b"x" * (1 << 20)):
    """Write until the disk says no; the bytes that went in."""
    done = 0
    try:
        with open(path, "wb", buffering=0) as file:
            while done < most:
                done += file.write(block)
    except OSError as error:
        print("stopped", path, errno.errorcode[error.errno], done >> 20, flush=True)
    return done


def readable(path, size=4096):
    """The first bytes of a file, None where it has none for us."""
    with open(path, "rb") as file:
        return file.read(size)


def writable(path, data=b"x"):
    """Whether a byte could be written."""
    with open(path, "r+b", buffering=0) as file:
        return file.write(data)
'''

LIMITS = Limits(
    wall_seconds=20.0,
    memory_bytes=256 << 20,
    output_bytes=16 << 20,
    log_bytes=1 << 16,
    processes=64,
)

CHECKPOINT = "ckpt.pt"


@dataclass(frozen=True)
class Attack:
    """One attack.

    Attributes:
        name: the test's id.
        source: Python, run after PRELUDE with the out folder as its argument.
        expect: ``exit CODE``, or another cause of Finished; several joined by `` or ``.
        process: what is expected of the process runner, which is no wall: only limits, and that
            nothing is left; empty where the attack does not apply to it.
        refused: names of all attempts; none of them may get anything.
        says: lines that it must print, as regular expressions.
        limits: changes to LIMITS.
        genome: further files of the checkout.
        kept: whether the checkpoint's name gives an artifact; None where either is right.
    """

    name: str
    source: str
    expect: str = "exit 0"
    process: str = ""
    refused: tuple[str, ...] = ()
    says: tuple[str, ...] = ()
    limits: Mapping[str, float] = field(default_factory=dict)
    genome: Mapping[str, str] = field(default_factory=dict)
    kept: bool | None = None

    def command(self, **changes: object) -> Command:
        """The command that runs it."""
        files = {"main.py": PRELUDE + textwrap.dedent(self.source), **self.genome}
        values: dict[str, object] = {
            "label": self.name,
            "trusted": True,
            "genome": {path: File(text.encode()) for path, text in files.items()},
            "tools": {},
            "argv": ("{python}", "main.py", "{out}"),
            "limits": Limits(**{**vars(LIMITS), **self.limits}),
            "data": {},
            "artifacts": {},
            "keep": (CHECKPOINT,),
        }
        return Command(**{**values, **changes})  # type: ignore[arg-type]


def outcome(finished: Finished) -> str:
    """An end as `Attack.expect` writes it."""
    if finished.cause == "exit":
        return f"exit {finished.exit_code}"
    return finished.cause


def got(finished: Finished) -> list[str]:
    """What a program said it could do."""
    return [line.text for line in finished.lines if line.text.startswith("GOT")]


def refused(finished: Finished) -> set[str]:
    """Names of the attempts that got nothing."""
    return {line.text.split()[1] for line in finished.lines if line.text.startswith("refused ")}
