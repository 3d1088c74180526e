"""What a hostile program prints is read by people and by programs."""

from tests.attacks.attack import Attack

ATTACKS = (
    Attack(
        "log-flood",
        """
        line = b"x" * 999 + b"\\n"
        while True:
            os.write(1, line * 60)
        """,
        expect="output",
        process="deadline",
        limits={"wall_seconds": 40.0},
    ),
    Attack(
        "log-flood-without-newline",
        """
        while True:
            os.write(1, b"x" * 65536)
        """,
        expect="output",
        process="deadline",
        limits={"wall_seconds": 40.0},
    ),
    Attack(
        "log-flood-on-stderr",
        """
        while True:
            os.write(2, b"x" * 65535 + b"\\n")
        """,
        expect="output",
        process="deadline",
        limits={"wall_seconds": 40.0},
    ),
    Attack(
        "log-of-empty-lines",
        """
        # each is a line of the engine's log: it ends here before it is too much
        while True:
            os.write(1, b"\\n" * 65536)
        """,
        expect="deadline or output",
        limits={"wall_seconds": 5.0},
    ),
    Attack(
        "log-escapes",
        r"""
        sys.stdout.reconfigure(encoding="utf-8", errors="surrogateescape")
        print("\x1b[2J\x1b[31mred\x1b[0m\x07")
        print("\x1b]0;title\x07\x1b]52;c;ZXZpbA==\x1b\\clip")
        print("\x9b31mc1")
        print("safe\u202egnp.exe\u2066\u200b\ufeff")
        print("over\rwritten")
        print("nul\0byte")
        os.write(1, b"\xff\xfe broken\n")
        os.write(2, b"\x1b[31mred\x1b[0m \x07bell\n")
        """,
        process="exit 0",
        says=("red", "clip", "c1", "safegnp.exe", "nulbyte", ".* broken"),
    ),
    Attack(
        "log-one-line-of-10-megabytes",
        """
        os.write(1, b"begin")
        for _ in range(160):
            os.write(1, b"x" * 65536)
        os.write(1, b"\\nlast\\n")
        """,
        process="exit 0",
        says=("begin.*", "last"),
    ),
    Attack(
        "log-claims-to-be-ours",
        """
        os.write(2, b"darwin-git boot: no space left on device\\n")
        os.write(1, b"darwin-git boot: ready\\n")
        os._exit(125)
        """,
        expect="exit 125",
        process="exit 125",
    ),
    Attack(
        "log-binary-noise",
        """
        for _ in range(64):
            os.write(1, os.urandom(65536))
            os.write(2, os.urandom(65536))
        """,
        process="exit 0",
    ),
)
