"""The other side of a scoring dialogue lies, drips, drowns us or says nothing."""

from dataclasses import dataclass, replace

from darwin_git.ports import Command
from tests.attacks.attack import Attack

SECONDS = 4.0


@dataclass(frozen=True)
class Talk(Attack):
    """An attack on `converse`: it is asked for 8 bytes, told some, then asked for 1 MiB.

    `expect` is the cause with which the dialogue ends, `answers` where nothing is wrong yet.

    Attributes:
        told: bytes.
    """

    told: int = 8

    def command(self, **changes: object) -> Command:
        command = super().command(**{"argv": ("{python}", "main.py", "."), "keep": (), **changes})
        limits = {"wall_seconds": SECONDS, **self.limits}
        return replace(command, limits=replace(command.limits, **limits))  # type: ignore[arg-type]


ATTACKS = (
    Talk(
        "dialogue-silence",
        "time.sleep(600)",
        expect="deadline",
        process="deadline",
    ),
    Talk(
        "dialogue-slow-drip",
        """
        while True:
            os.write(1, b"x")
            time.sleep(0.5)
        """,
        expect="deadline",
        process="deadline",
    ),
    Talk(
        "dialogue-too-few-bytes",
        'os.write(1, b"1234567")',
        expect="exit",
        process="exit",
    ),
    Talk(
        "dialogue-ends-while-a-child-holds-the-pipe",
        """
        if os.fork() == 0:
            os.setsid()
            time.sleep(600)
        os.write(1, b"123")
        os._exit(0)
        """,
        expect="exit or deadline",
        process="exit or deadline",
    ),
    Talk(
        "dialogue-never-reads",
        """
        os.write(1, b"12345678")
        time.sleep(600)
        """,
        told=64 << 20,
        expect="deadline",
        process="deadline",
    ),
    Talk(
        "dialogue-closes-its-output",
        """
        os.close(1)
        time.sleep(600)
        """,
        expect="deadline or exit",
        process="deadline or exit",
    ),
    Talk(
        "dialogue-too-many-bytes",
        """
        while True:
            os.write(1, b"x" * 65536)
        """,
        expect="answers",
        process="answers",
    ),
    Talk(
        "dialogue-floods-stderr",
        """
        def flood():
            while True:
                os.write(2, b"e" * 65535 + b"\\n")
        threading.Thread(target=flood, daemon=True).start()
        os.write(1, b"12345678" + b"x" * (1 << 20))
        time.sleep(600)
        """,
        expect="answers or output",
        process="answers or output",
    ),
    Talk(
        "dialogue-speaks-before-it-is-asked",
        """
        os.write(1, b"darwin-git boot: ready\\n")
        os.write(1, b"x" * (1 << 20))
        time.sleep(600)
        """,
        expect="answers",
        process="answers",
    ),
    Talk(
        "dialogue-memory-hog",
        """
        os.write(1, b"12345678")
        hog = []
        while True:
            hog.append(b"x" * (16 << 20))
        """,
        expect="memory",
        process="memory",
    ),
    Talk(
        "dialogue-fork-bomb",
        """
        os.write(1, b"12345678")
        while True:
            try:
                os.fork()
            except OSError:
                pass
        """,
        expect="deadline or processes",
    ),
    Talk(
        "dialogue-stops-everybody",
        """
        os.write(1, b"12345678")
        try:
            os.kill(-1, signal.SIGSTOP)  # everybody but the caller
        except OSError:
            pass
        os.kill(os.getpid(), signal.SIGSTOP)
        """,
        expect="deadline",
    ),
    Talk(
        "dialogue-killed-init",
        """
        attempts = [1, os.getppid()]
        for pid in attempts:
            for number in (signal.SIGSTOP, signal.SIGKILL):
                try:
                    os.kill(pid, number)
                except OSError:
                    pass
        time.sleep(600)
        """,
        expect="deadline or exit",
    ),
)
