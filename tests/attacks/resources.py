"""Taking what was not given: processes, memory, disk, time."""

from tests.attacks.attack import Attack

BRIEF = {"wall_seconds": 4.0}

ATTACKS = (
    Attack(
        "fork-bomb",
        """
        while True:
            try:
                os.fork()
            except OSError:
                pass
        """,
        expect="deadline or processes",
        limits=BRIEF,
    ),
    Attack(
        "fork-until-refused",
        """
        count = 0
        try:
            while count < 5000:
                if os.fork() == 0:
                    time.sleep(600)
                    os._exit(0)
                count += 1
        except OSError as error:
            print("forks", "few" if count < 64 else "many", errno.errorcode[error.errno])
        open(OUT + "/ckpt.pt", "wb").write(b"x")
        """,
        says=("forks few EAGAIN",),
        kept=True,
    ),
    Attack(
        "thread-bomb",
        """
        count = 0
        try:
            while count < 5000:
                threading.Thread(target=time.sleep, args=(600,), daemon=True).start()
                count += 1
        except RuntimeError:
            print("threads", "few" if count < 64 else "many", flush=True)
        os._exit(0)
        """,
        says=("threads few",),
    ),
    Attack(
        "fork-chain-that-never-holds-still",
        """
        while True:  # every process lives for a moment: who kills by a list comes too late
            if os.fork():
                os._exit(0)
        """,
        expect="exit 0",
        process="exit 0",
        limits=BRIEF,
    ),
    Attack(
        "memory-hog",
        """
        hog = []
        while True:
            hog.append(b"x" * (16 << 20))
        """,
        expect="memory",
        process="memory",
    ),
    Attack(
        "memory-hog-in-a-child",
        """
        if os.fork() == 0:
            hog = []
            while True:
                hog.append(b"x" * (16 << 20))
        pid, status = os.wait()
        print("child", "was killed" if os.WIFSIGNALED(status) else "lived", flush=True)
        time.sleep(2)
        """,
        expect="memory or exit 0",
        process="memory",
    ),
    Attack(
        "memory-of-many-children",
        """
        for _ in range(16):
            if os.fork() == 0:
                hog = b"x" * (64 << 20)
                time.sleep(600)
        time.sleep(600)
        """,
        expect="memory or deadline",
        process="memory",
        limits=BRIEF,
    ),
    Attack(
        "memory-locked",
        """
        def lock():
            block = mmap.mmap(-1, 32 << 20)
            return function("mlock", (ctypes.c_char * (32 << 20)).from_buffer(block), 32 << 20)
        attempt("mlock", lock)
        """,
        refused=("mlock",),
    ),
    Attack(
        "shm-fill",
        """
        fill("/dev/shm/hog")
        """,
        expect="exit 0 or memory",
    ),
    Attack(
        "tmp-fill",
        """
        for name in ("/tmp", os.environ["TMPDIR"]):
            fill(name + "/hog")
        """,
        expect="exit 0 or memory",
    ),
    Attack(
        "out-fill",
        """
        print("wrote", "more" if fill(OUT + "/hog") > 17 << 20 else "little", flush=True)
        """,
        expect="exit 0 or output",
        process="exit 0 or output",
        limits={"memory_bytes": 512 << 20},
    ),
    Attack(
        "out-fill-by-many-files",
        """
        total = sum(fill(f"{OUT}/hog{i}", 8 << 20) for i in range(50))
        print("wrote", "more" if total > 17 << 20 else "little", flush=True)
        time.sleep(3)
        """,
        expect="exit 0 or output",
        process="output",
        limits={"memory_bytes": 512 << 20},
    ),
    Attack(
        "checkout-fill",
        """
        print("wrote", "more" if fill("hog") > 1 << 30 else "less", flush=True)
        """,
        expect="exit 0 or memory or output",
        process="exit 0 or output",
    ),
    Attack(
        "inodes",
        """
        def many(folder, most=1_000_000):
            try:
                for i in range(most):
                    os.close(os.open(f"{folder}/{i}", os.O_CREAT | os.O_WRONLY))
            except OSError as error:
                print("stopped", errno.errorcode[error.errno], i < most - 1, flush=True)
        for folder in (OUT, "/tmp", "../tmp"):
            many(folder)
        """,
        expect="exit 0 or memory or deadline or output",
    ),
    Attack(
        "a-million-small-files",
        """
        try:
            for i in range(1_000_000):
                with open(f"{OUT}/{i}", "wb") as file:
                    file.write(b"x")
        except OSError as error:
            print("stopped", errno.errorcode[error.errno], flush=True)
        """,
        expect="exit 0 or output",
        process="output or exit 0 or deadline",
        says=("stopped ENOSPC",),
    ),
    Attack(
        "descriptors",
        """
        import resource
        held = []
        try:
            while len(held) < 3_000_000:
                held.append(os.open("/dev/null", os.O_RDONLY))
        except OSError as error:
            print("stopped", errno.errorcode[error.errno], flush=True)
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        os.closerange(100, 200)
        for name, value in (("NOFILE", hard * 2), ("CORE", 1 << 30)):
            kind = getattr(resource, "RLIMIT_" + name)
            attempt(name, lambda: resource.setrlimit(kind, (value, value)) or 1)
        """,
        refused=("NOFILE", "CORE"),
        says=("stopped EMFILE",),
    ),
    Attack(
        "core-dump",
        """
        os.chdir(OUT)
        os.abort()
        """,
        expect="exit -6 or exit 134",
        process="exit -6",
    ),
    Attack(
        "endless-loop",
        """
        while True:
            pass
        """,
        expect="deadline",
        process="deadline",
        limits=BRIEF,
    ),
    Attack(
        "sleeps-for-ever",
        """
        while True:
            time.sleep(1000)
        """,
        expect="deadline",
        process="deadline",
        limits=BRIEF,
    ),
    Attack(
        "ignores-every-signal",
        """
        for number in signal.valid_signals():
            try:
                signal.signal(number, signal.SIG_IGN)
            except (OSError, ValueError):
                pass
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        while True:
            time.sleep(1000)
        """,
        expect="deadline",
        process="deadline",
        limits=BRIEF,
    ),
    Attack(
        "closes-stdio-and-runs-on",
        """
        for descriptor in (0, 1, 2):
            os.close(descriptor)
        while True:
            time.sleep(1000)
        """,
        expect="deadline",
        process="deadline",
        limits=BRIEF,
    ),
    Attack(
        "stops-itself",
        """
        os.kill(os.getpid(), signal.SIGSTOP)
        """,
        expect="deadline",
        process="deadline",
        limits=BRIEF,
    ),
    Attack(
        "clock-tricks",
        """
        time.time = time.monotonic = time.perf_counter = lambda: 0.0
        class Span(ctypes.Structure):
            _fields_ = [("s", ctypes.c_long), ("n", ctypes.c_long)]
        attempt("clock_settime", lambda: function("clock_settime", 0, ctypes.byref(Span(0, 0))))
        attempt("settimeofday", lambda: function("settimeofday", ctypes.byref(Span(9, 0)), None))
        attempt("stime", lambda: function("adjtimex", (ctypes.c_long * 32)(0x8000)))
        print("I took 0.0 seconds")
        time.sleep(2)
        """,
        refused=("clock_settime", "settimeofday", "stime"),
    ),
    Attack(
        "priority",
        """
        attempt("nice", lambda: os.nice(-5) + 100)
        attempt("setpriority", lambda: os.setpriority(os.PRIO_PROCESS, 0, -20) or 1)
        for name in ("SCHED_FIFO", "SCHED_RR"):
            kind = getattr(os, name)
            attempt(name, lambda: os.sched_setscheduler(0, kind, os.sched_param(50)) or 1)
        ours = os.sched_getaffinity(0)
        def spread():
            os.sched_setaffinity(0, range(256))
            return os.sched_getaffinity(0) - ours
        attempt("affinity", spread)
        attempt("oom", lambda: writable("/proc/self/oom_score_adj", b"-1000"))
        attempt("ionice", lambda: call(251, 1, 0, 1 << 13))
        """,
        refused=("nice", "setpriority", "SCHED_FIFO", "SCHED_RR", "affinity", "oom", "ionice"),
    ),
    Attack(
        "memory-left-in-tmpfs",
        """
        for place in ("/dev/shm", "/tmp", OUT, "../tmp", "../cache"):
            if os.path.isdir(place):
                fill(place + "/hog", 12 << 20)
        print("filled", flush=True)
        """,
        says=("filled",),
    ),
)
