"""Living on after the end: processes, files, secrets and hidden data."""

from tests.attacks.attack import Attack

ATTACKS = (
    Attack(
        "double-fork",
        """
        for _ in range(8):
            if os.fork() == 0:
                os.setsid()
                if os.fork():
                    os._exit(0)
                for number in (1, 2, 13, 15):
                    signal.signal(number, signal.SIG_IGN)
                os.chdir("/")
                while True:
                    time.sleep(600)
        open(OUT + "/ckpt.pt", "wb").write(b"x")
        """,
        process="exit 0",
        kept=True,
    ),
    Attack(
        "child-holds-the-pipes",
        """
        if os.fork() == 0:
            os.setsid()
            time.sleep(600)
        print("the parent goes", flush=True)
        """,
        process="exit 0",
        says=("the parent goes",),
    ),
    Attack(
        "child-outlives-the-deadline",
        """
        for _ in range(4):
            if os.fork() == 0:
                os.setsid()
                for number in (1, 2, 13, 15):
                    signal.signal(number, signal.SIG_IGN)
                while True:
                    time.sleep(600)
        time.sleep(600)
        """,
        expect="deadline",
        process="deadline",
        limits={"wall_seconds": 3.0},
    ),
    Attack(
        "child-with-an-empty-environment",
        """
        if os.fork() == 0:
            os.setsid()
            if os.fork():
                os._exit(0)
            os.closerange(0, 100)
            os.execve("/bin/sleep", ["[kworker/0:1]", "600"], {})
        time.sleep(1)
        """,
    ),
    Attack(
        "stopped-children",
        """
        for _ in range(4):
            if os.fork() == 0:
                os.setsid()
                os.kill(os.getpid(), signal.SIGSTOP)
                time.sleep(600)
        time.sleep(0.3)
        """,
        process="exit 0",
    ),
    Attack(
        "pids-used-up-to-stop-the-harvest",
        """
        open(OUT + "/ckpt.pt", "wb").write(b"paid for")
        def breed():
            while True:
                try:
                    if os.fork() == 0:
                        os.setsid()
                except OSError:
                    time.sleep(0.01)
        if os.fork() == 0:
            breed()
        time.sleep(1.0)
        os._exit(0)
        """,
        kept=True,
    ),
    Attack(
        "secrets-of-the-tool",
        """
        words = json.load(open("targets.json"))["secrets"]
        text = "\\0".join(f"{k}={v}" for k, v in os.environ.items())
        for name in os.listdir("/proc"):
            for part in ("environ", "cmdline"):
                try:
                    text += open(f"/proc/{name}/{part}", errors="replace").read()
                except OSError:
                    pass
        attempt("environment", lambda: [w for w in words if w in text])
        attempt("names", lambda: [k for k in os.environ if "KEY" in k or "TOKEN" in k or
                                  k.startswith(("OPENAI", "DOCKER", "DARWIN", "AWS"))])
        """,
        refused=("environment", "names"),
    ),
    Attack(
        "hidden-data-anywhere",
        """
        # every file and every process that can be read at all, for a text that only stands in
        # what this training must not see
        held = json.load(open("targets.json"))["hidden"]
        marker = bytes.fromhex(held)[::-1]  # never the text itself: it would find itself
        hits, count, size = [], 0, 0
        me = os.path.realpath("main.py")
        for top, folders, files in os.walk("/"):
            folders[:] = [f for f in folders if top != "/" or f not in ("proc", "sys", "dev")]
            for name in files:
                path = os.path.join(top, name)
                try:
                    if os.path.islink(path) or not os.path.isfile(path):
                        continue
                    with open(path, "rb") as file:
                        while block := file.read(1 << 24):
                            size += len(block)
                            if marker in block:
                                hits.append(path)
                    count += 1
                except OSError:
                    pass
        for name in os.listdir("/proc"):
            for part in ("environ", "cmdline", "mountinfo", "mem"):
                try:
                    if name != str(os.getpid()):
                        with open(f"/proc/{name}/{part}", "rb") as file:
                            if marker in file.read(1 << 20):
                                hits.append(f"/proc/{name}/{part}")
                except (OSError, ValueError):
                    pass
        print("searched", count > 1000 and size > 10_000_000, count, size)
        attempt("hidden", lambda: hits)
        attempt("blind", lambda: open("data/darwin/train.bin", "rb").read() == b"")
        """,
        refused=("hidden", "blind"),
        says=("searched True .*",),
        limits={"wall_seconds": 120.0},
    ),
    Attack(
        "paths-of-the-host",
        """
        paths = json.load(open("targets.json"))["paths"]
        for path in paths:
            attempt("list", lambda: os.path.lexists(path))
        text = open("/proc/self/mountinfo").read() + open("/proc/mounts").read()
        attempt("mounts", lambda: [path for path in paths if path in text])
        """,
        refused=("list", "mounts"),
    ),
    Attack(
        "modules-in-the-checkout",
        """
        print("main ran")
        """,
        says=("main ran",),
        genome={
            name: 'print("GOT imported by the boot")\nraise SystemExit(125)\n'
            for name in ("tarfile.py", "ctypes.py", "sitecustomize.py", "usercustomize.py")
            if name != "ctypes.py"
        },
    ),
)
