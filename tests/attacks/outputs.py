"""A checkpoint that is none: whoever reads it must not be led elsewhere, nor wait, nor drown."""

from tests.attacks.attack import Attack

ATTACKS = (
    Attack(
        "output-link-to-shadow",
        """
        os.symlink("/etc/shadow", OUT + "/ckpt.pt")
        """,
        process="exit 0",
        kept=False,
    ),
    Attack(
        "output-link-upwards",
        """
        os.symlink("../../../../../../../../etc/passwd", OUT + "/ckpt.pt")
        """,
        process="exit 0",
        kept=False,
    ),
    Attack(
        "output-link-dangling",
        """
        os.symlink("nowhere", OUT + "/ckpt.pt")
        """,
        process="exit 0",
        kept=False,
    ),
    Attack(
        "output-link-to-itself",
        """
        os.symlink("ckpt.pt", OUT + "/ckpt.pt")
        """,
        process="exit 0",
        kept=False,
    ),
    Attack(
        "output-link-to-the-keeper",
        """
        os.symlink("/proc/1/environ", OUT + "/ckpt.pt")
        """,
        process="exit 0",
        kept=False,
    ),
    Attack(
        "output-link-to-endless-device",
        """
        os.symlink("/dev/zero", OUT + "/ckpt.pt")
        """,
        process="exit 0",
        kept=False,
    ),
    Attack(
        "output-hard-link",
        """
        open(OUT + "/other", "wb").write(b"x")
        os.link(OUT + "/other", OUT + "/ckpt.pt")
        attempt("shadow", lambda: os.link("/etc/passwd", OUT + "/passwd") or 1)
        """,
        refused=("shadow",),
        kept=None,
    ),
    Attack(
        "output-pipe",
        """
        os.mkfifo(OUT + "/ckpt.pt")
        """,
        process="exit 0",
        kept=False,
    ),
    Attack(
        "output-socket",
        """
        os.chdir(OUT)
        s = socket.socket(socket.AF_UNIX)
        s.bind("ckpt.pt")
        """,
        process="exit 0",
        kept=False,
    ),
    Attack(
        "output-folder",
        """
        os.mkdir(OUT + "/ckpt.pt")
        open(OUT + "/ckpt.pt/ckpt.pt", "wb").write(b"x")
        """,
        process="exit 0",
        kept=False,
    ),
    Attack(
        "output-sparse-terabyte",
        """
        with open(OUT + "/ckpt.pt", "wb") as file:
            attempt("truncate", lambda: file.truncate(1 << 40) or 1)
        """,
        expect="exit 0 or exit -25 or exit 153",
        process="exit 0 or exit -25",
    ),
    Attack(
        "output-huge",
        """
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        fill(OUT + "/ckpt.pt", 64 << 20)
        print("written", flush=True)
        """,
        expect="exit 0 or output",
        process="exit 0 or output",
        limits={"memory_bytes": 512 << 20},
    ),
    Attack(
        "output-mode-000",
        """
        open(OUT + "/ckpt.pt", "wb").write(b"x")
        os.chmod(OUT + "/ckpt.pt", 0)
        os.mkdir(OUT + "/locked")
        open(OUT + "/locked/inside", "wb").write(b"x")
        os.chmod(OUT + "/locked", 0)
        os.chmod(OUT, 0)
        """,
        process="exit 0",
        kept=None,
    ),
    Attack(
        "output-deep-folders",
        """
        os.chdir(OUT)
        depth = 0
        try:
            while depth < 3000:
                os.mkdir("d")
                os.chdir("d")
                depth += 1
        except OSError as error:
            print("stopped", errno.errorcode[error.errno])
        open("ckpt.pt", "wb").write(b"x")
        """,
        expect="exit 0 or exit 1",
        process="exit 0 or output",
        kept=False,
    ),
    Attack(
        "output-strange-names",
        """
        for name in ("a" * 255, "new\\nline", "\\x1b[2J", "-rf", "ckpt.pt ", "é" * 100, "a\\\\b",
                     "CON", "..."):
            open(OUT + "/" + name, "wb").write(b"x")
        open(os.fsencode(OUT) + b"/\\xff\\xfe", "wb").write(b"x")
        open(OUT + "/ckpt.pt", "wb").write(b"fine")
        """,
        process="exit 0",
        kept=True,
    ),
    Attack(
        "output-written-while-killed",
        """
        block = os.urandom(1 << 16)
        while True:
            with open(OUT + "/ckpt.pt.tmp", "wb") as file:
                for _ in range(64):
                    file.write(block)
            os.replace(OUT + "/ckpt.pt.tmp", OUT + "/ckpt.pt")
        """,
        expect="deadline",
        process="deadline",
        limits={"wall_seconds": 3.0},
    ),
    Attack(
        "output-swapped-by-a-survivor",
        """
        # whoever lives on could swap the file between the reader's look and its read
        open(OUT + "/ckpt.pt", "wb").write(b"good")
        if os.fork() == 0:
            os.setsid()
            for number in (1, 13, 15):
                signal.signal(number, signal.SIG_IGN)
            while True:
                try:
                    os.symlink("/etc/shadow", OUT + "/link")
                    os.rename(OUT + "/link", OUT + "/ckpt.pt")
                    open(OUT + "/good", "wb").write(b"good")
                    os.rename(OUT + "/good", OUT + "/ckpt.pt")
                except OSError:
                    pass
        time.sleep(0.3)
        """,
        process="exit 0",
        kept=None,
    ),
    Attack(
        "output-of-a-failure",
        """
        open(OUT + "/ckpt.pt", "wb").write(b"half")
        sys.exit(3)
        """,
        expect="exit 3",
        process="exit 3",
        kept=None,
    ),
)
