"""Getting more rights, or at the kernel, the engine and the keeper."""

from tests.attacks.attack import Attack

ATTACKS = (
    Attack(
        "become-root",
        """
        for name, action in (
            ("setuid", lambda: os.setuid(0) or 1),
            ("setresuid", lambda: os.setresuid(0, 0, 0) or 1),
            ("setgid", lambda: os.setgid(0) or 1),
            ("setgroups", lambda: os.setgroups([0]) or 1),
            ("chown", lambda: os.chown(OUT, 0, 0) or 1),
        ):
            attempt(name, action)
        held = [line.split()[1] for line in open("/proc/self/status") if line.startswith("Cap")]
        attempt("capabilities", lambda: [c for c in held if int(c, 16)])
        class Head(ctypes.Structure):
            _fields_ = [("version", ctypes.c_uint32), ("pid", ctypes.c_int)]
        everything = (ctypes.c_uint32 * 6)(*[0xFFFFFFFF] * 6)
        head = Head(0x20080522, 0)
        attempt("capset", lambda: function("capset", ctypes.byref(head), everything))
        attempt("ambient", lambda: function("prctl", 47, 2, 21, 0, 0))
        attempt("uid", lambda: os.getuid() == 0 or os.geteuid() == 0)
        """,
        refused=(
            *("setuid", "setresuid", "setgid", "setgroups", "chown"),
            *("capabilities", "capset", "ambient", "uid"),
        ),
    ),
    Attack(
        "setuid-programs",
        """
        import shutil, stat
        found = []
        for top, folders, files in os.walk("/"):
            folders[:] = [f for f in folders if top != "/" or f not in ("proc", "sys")]
            for name in files:
                path = os.path.join(top, name)
                try:
                    state = os.lstat(path)
                except OSError:
                    continue
                if stat.S_ISREG(state.st_mode) and state.st_mode & 0o6000:
                    found.append(path)
        print("there are", len(found))
        for path in found:  # with no_new_privs the kernel ignores the bit
            def run():
                child = subprocess.Popen([path], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL,
                                         stderr=subprocess.DEVNULL)
                time.sleep(0.02)
                try:
                    rows = open(f"/proc/{child.pid}/status").read().splitlines()
                    uids = [row.split()[1:] for row in rows if row.startswith("Uid:")]
                    return uids and "0" in uids[0]
                finally:
                    child.kill(); child.wait()
            attempt("run", run)
        attempt("run", lambda: None)
        for place in ("/tmp", OUT, "."):
            path = place + "/python"
            shutil.copy(sys.executable, path)
            os.chmod(path, 0o6755)
            code = "import os; print(os.geteuid())"
            def own():
                done = subprocess.run([path, "-c", code], capture_output=True, text=True)
                return done.stdout.strip() == "0"
            attempt("own", own)
        attempt("no-new-privs", lambda: function("prctl", 39, 0, 0, 0, 0) - 1 != 1)
        attempt("undo", lambda: function("prctl", 38, 0, 0, 0, 0))
        """,
        refused=("run", "own", "no-new-privs", "undo"),
    ),
    Attack(
        "mounts",
        """
        os.makedirs("/tmp/m", exist_ok=True)
        for kind in ("tmpfs", "proc", "sysfs", "cgroup", "cgroup2", "overlay", "devtmpfs", "bpf",
                     "debugfs", "tracefs", "securityfs", "fuse", "nfs"):
            attempt("mount", lambda: function(
                "mount", kind.encode(), b"/tmp/m", kind.encode(), 0, None))
        attempt("bind", lambda: function("mount", b"/proc", b"/tmp/m", None, 4096, None))
        attempt("remount", lambda: function("mount", None, b"/", None, 32, None))
        attempt("umount", lambda: function("umount2", b"/proc/kcore", 2))
        attempt("chroot", lambda: os.chroot("/tmp/m") or 1)
        attempt("pivot", lambda: call(155 if os.uname().machine == "x86_64" else 41,
                                      ctypes.c_char_p(b"/tmp/m"), ctypes.c_char_p(b"/tmp/m")))
        attempt("fsopen", lambda: call(430, ctypes.c_char_p(b"tmpfs"), 0))
        attempt("open_tree", lambda: call(428, -100, ctypes.c_char_p(b"/"), 1))
        """,
        refused=("mount", "bind", "remount", "umount", "chroot", "pivot", "fsopen", "open_tree"),
    ),
    Attack(
        "namespaces",
        """
        flags = {"user": 0x10000000, "ns": 0x20000, "pid": 0x20000000, "net": 0x40000000,
                 "ipc": 0x08000000, "uts": 0x04000000, "cgroup": 0x02000000, "time": 0x80}
        clone = 56 if os.uname().machine == "x86_64" else 220
        for name, flag in flags.items():
            attempt("unshare", lambda: function("unshare", flag))
            def child():
                pid = call(clone, flag | signal.SIGCHLD, 0, 0, 0, 0) - 1
                if pid == 0:
                    os._exit(0)
                return pid
            if name != "time":
                attempt("clone", child)
        arguments = (ctypes.c_uint64 * 11)(0x10000000, 0, 0, 0, signal.SIGCHLD)
        def clone3():
            pid = call(435, arguments, ctypes.sizeof(arguments)) - 1
            if pid == 0:
                os._exit(0)
            return pid
        attempt("clone3", clone3)
        for pid in ("1", "self"):
            for name in ("user", "mnt", "pid", "net", "ipc", "uts", "cgroup"):
                def enter():
                    return function("setns", os.open(f"/proc/{pid}/ns/{name}", os.O_RDONLY), 0)
                attempt("setns", enter)
        """,
        refused=("unshare", "clone", "clone3", "setns"),
    ),
    Attack(
        "trace-the-keeper",
        """
        X86 = os.uname().machine == "x86_64"
        others = [int(n) for n in os.listdir("/proc") if n.isdigit() and int(n) != os.getpid()]
        print("others", len(others))
        for pid in {1, *others}:
            for request in (16, 0x4206):  # PTRACE_ATTACH, PTRACE_SEIZE
                attempt("ptrace", lambda: call(101 if X86 else 117, request, pid, 0, 0))
            vector = (ctypes.c_uint64 * 2)(ctypes.addressof(ctypes.create_string_buffer(8)), 8)
            there = (ctypes.c_uint64 * 2)(0x400000, 8)
            for number in ((310, 311) if X86 else (270, 271)):
                attempt("process_vm", lambda: call(number, pid, vector, 1, there, 1, 0))
            for name in ("mem", "environ", "maps", "root/etc", "cwd", "fd", "auxv", "syscall",
                         "stack", "map_files"):
                path = f"/proc/{pid}/{name}"
                attempt("read", lambda: os.listdir(path) if os.path.isdir(path) else readable(path))
            def take():
                held = call(434, pid, 0) - 1
                return call(438, held, 0, 0)
            attempt("pidfd_getfd", take)
            none = (ctypes.c_uint64 * 2)(0, 0)
            attempt("limits", lambda: call(302 if X86 else 261, pid, 0, none, 0))
            attempt("oom", lambda: writable(f"/proc/{pid}/oom_score_adj", b"1000"))
        # a child of our own, which we could trace anywhere
        child = os.fork()
        if child == 0:
            time.sleep(600)
        attempt("child", lambda: call(101 if X86 else 117, 16, child, 0, 0))
        os.kill(child, 9)
        """,
        refused=("ptrace", "process_vm", "read", "pidfd_getfd", "limits", "oom", "child"),
    ),
    Attack(
        "kill-the-keeper",
        """
        ours = {os.getpid(), os.getppid()}
        others = [int(n) for n in os.listdir("/proc") if n.isdigit() and int(n) != os.getpid()]
        print("others", len(others), flush=True)
        for number in (signal.SIGSTOP, signal.SIGTERM, signal.SIGKILL):
            for pid in {1, *others}:
                attempt("kill", lambda: os.kill(pid, number) or 1)
                attempt("pidfd", lambda: call(424, call(434, pid, 0) - 1, number, 0, 0))
        attempt("group", lambda: os.killpg(1, signal.SIGKILL) or 1)
        def everybody(number):
            os.kill(-1, number)  # nobody but us is there to take it, and it spares the caller
            return True
        attempt("everybody", lambda: everybody(signal.SIGKILL))
        print("still here", flush=True)
        while True:
            time.sleep(100)
        """,
        expect="deadline",
        refused=("kill", "pidfd", "group", "everybody"),
        says=("still here",),
        limits={"wall_seconds": 4.0},
    ),
    Attack(
        "proc-and-sys",
        """
        for path in ("/proc/kcore", "/dev/mem", "/dev/kmem", "/dev/port", "/proc/kallsyms",
                     "/proc/kmsg", "/dev/kmsg", "/proc/timer_list", "/proc/sched_debug",
                     "/proc/keys", "/proc/latency_stats", "/sys/firmware/dmi/tables/DMI",
                     "/sys/kernel/debug/tracing/trace", "/sys/kernel/security/lsm",
                     "/proc/vmallocinfo", "/proc/slabinfo", "/proc/1/environ"):
            def secret():
                data = readable(path)
                # addresses are shown as zeros to who has no rights
                return data if set(data.replace(b" ", b"")) - {0x30, 0x0A} and (
                    path != "/proc/kallsyms" or data[:16] != b"0" * 16) else None
            attempt("read", secret)
        for path in ("/proc/sysrq-trigger", "/proc/sys/kernel/core_pattern",
                     "/proc/sys/kernel/modprobe", "/proc/sys/vm/overcommit_memory",
                     "/proc/sys/kernel/hostname", "/proc/sys/kernel/randomize_va_space",
                     "/proc/sys/fs/binfmt_misc/register", "/proc/irq/0/smp_affinity",
                     "/sys/kernel/uevent_helper", "/sys/power/state", "/proc/acpi/wakeup",
                     "/sys/kernel/mm/transparent_hugepage/enabled",
                     "/sys/module/kernel/parameters/panic", "/proc/1/oom_score_adj",
                     "/proc/mtrr", "/dev/cpu/0/msr"):
            attempt("write", lambda: writable(path))
        # every file below that says it can be written
        seen = 0
        for base in ("/sys", "/proc/sys", "/proc/fs", "/proc/irq", "/proc/bus"):
            for top, folders, files in os.walk(base):
                folders[:] = [f for f in folders if not os.path.islink(os.path.join(top, f))]
                for name in files:
                    seen += 1
                    path = os.path.join(top, name)
                    if os.access(path, os.W_OK):
                        attempt("open", lambda: os.close(os.open(path, os.O_WRONLY)) or path)
        attempt("open", lambda: seen < 100)
        """,
        refused=("read", "write", "open"),
        limits={"wall_seconds": 60.0},
    ),
    Attack(
        "cgroups",
        """
        seen = 0
        for top, folders, files in os.walk("/sys/fs/cgroup"):
            for name in ("release_agent", "notify_on_release", "devices.allow", "cgroup.procs",
                         "memory.limit_in_bytes", "pids.max", "memory.max", "tasks",
                         "cgroup.subtree_control", "cpuset.cpus", "cgroup.kill"):
                path = os.path.join(top, name)
                if os.path.exists(path):
                    seen += 1
                    attempt("write", lambda: os.close(os.open(path, os.O_WRONLY)) or path)
            attempt("mkdir", lambda: os.mkdir(top + "/ours") or top)
        attempt("write", lambda: open("/sys/fs/cgroup/release_agent", "w"))
        """,
        refused=("write", "mkdir"),
    ),
    Attack(
        "devices",
        """
        import stat
        for name, mode, device in (("sda", stat.S_IFBLK, os.makedev(8, 0)),
                                   ("vda", stat.S_IFBLK, os.makedev(254, 0)),
                                   ("mem", stat.S_IFCHR, os.makedev(1, 1)),
                                   ("fuse", stat.S_IFCHR, os.makedev(10, 229))):
            for place in ("/tmp", OUT, "/dev", "/dev/shm"):
                path = f"{place}/{name}"
                attempt("mknod", lambda: os.mknod(path, 0o666 | mode, device) or 1)
        usual = {"null", "zero", "full", "random", "urandom", "tty", "console", "ptmx"}
        def strange():
            found = []
            for top, folders, files in os.walk("/dev"):
                for name in files:
                    path = os.path.join(top, name)
                    state = os.lstat(path).st_mode
                    if stat.S_ISBLK(state) or (stat.S_ISCHR(state) and name not in usual
                                               and not top.startswith("/dev/pts")):
                        found.append(path)
            return found
        attempt("devices", strange)
        import fcntl
        attempt("tiocsti", lambda: fcntl.ioctl(os.open("/dev/tty", os.O_RDWR), 0x5412, b"x"))
        """,
        refused=("mknod", "devices", "tiocsti"),
    ),
    Attack(
        "kernel-calls",
        """
        X86 = os.uname().machine == "x86_64"
        blank = ctypes.create_string_buffer(256)
        word = ctypes.c_char_p
        numbers = {
            "bpf": (321, 280, (0, blank, 72)),
            "perf": (298, 241, (blank, 0, -1, -1, 0)),
            "keyctl": (250, 219, (0, -3, 1)),
            "add_key": (248, 217, (word(b"user"), word(b"a"), word(b"b"), 1, -3)),
            "request_key": (249, 218, (word(b"user"), word(b"a"), None, -3)),
            "userfaultfd": (323, 282, (1,)),
            "kexec": (246, 104, (0, 0, None, 0)),
            "kexec_file": (320, 294, (0, 0, 0, None, 0)),
            "init_module": (175, 105, (blank, 8, word(b""))),
            "finit_module": (313, 273, (0, word(b""), 0)),
            "delete_module": (176, 106, (word(b"loop"), 0)),
            "open_by_handle": (304, 265, (-100, blank, 0)),
            "name_to_handle": (303, 264, (-100, word(b"/"), blank, blank, 0)),
            "fanotify": (300, 262, (0, 0)),
            "kcmp": (312, 272, (1, 1, 0, 0, 0)),
            "reboot": (169, 142, (0xFEE1DEAD, 672274793, 0)),
            "swapon": (167, 224, (word(b"/tmp"), 0)),
            "acct": (163, 89, (word(b"/tmp/a"),)),
            "syslog": (103, 116, (3, blank, 256)),
            "sethostname": (170, 161, (word(b"evil"), 4)),
            "setdomainname": (171, 162, (word(b"evil"), 4)),
            "vhangup": (153, 58, ()),
            "quotactl": (179, 60, (0x800007 << 8, word(b"/"), 0, blank)),
            "mount_setattr": (442, 442, (-100, word(b"/"), 0, blank, 32)),
            "iopl": (172, 172, (3,)),
        }
        for name, (intel, arm, arguments) in numbers.items():
            if name != "iopl" or X86:
                attempt("call", lambda: (name, call(intel if X86 else arm, *arguments)))
        """,
        refused=("call",),
    ),
    Attack(
        "foreign-system-calls",
        """
        def guarded(code):
            # in a child: a kernel without that ABI kills who tries
            read_end, write_end = os.pipe()
            child = os.fork()
            if child == 0:
                result = code()
                os.write(write_end, struct.pack("=q", result))
                os._exit(0)
            os.close(write_end)
            os.waitpid(child, 0)
            data = os.read(read_end, 8)
            if not data or (result := struct.unpack("=q", data)[0]) < 0:
                raise PermissionError(1, "refused")
            return result + 1
        def int80(number):
            space = mmap.mmap(-1, 4096, prot=7)
            rest = b"\\x31\\xdb\\x31\\xc9\\xcd\\x80\\xc3"
            space.write(b"\\xb8" + struct.pack("=I", number) + rest)
            kind = ctypes.CFUNCTYPE(ctypes.c_int)
            return kind(ctypes.addressof((ctypes.c_char * 4096).from_buffer(space)))
        if os.uname().machine == "x86_64":
            for number in (20, 24, 359, 102):  # getpid, getuid, socket, socketcall
                attempt("i386", lambda: guarded(int80(number)))
            for number in (39, 102, 41):
                attempt("x32", lambda: guarded(lambda: libc.syscall(0x40000000 + number, 1, 1, 0)))
        else:
            attempt("i386", lambda: None)
            attempt("x32", lambda: None)
        """,
        refused=("i386", "x32"),
    ),
    Attack(
        "filter-removed",
        """
        attempt("strict", lambda: function("prctl", 22, 0, 0, 0, 0))
        attempt("dumpable", lambda: function("prctl", 22, 99, 0, 0, 0))
        fields = dict(line.split(":", 1) for line in open("/proc/self/status"))
        attempt("mode", lambda: fields["Seccomp"].strip() != "2")
        attempt("new-privs", lambda: fields["NoNewPrivs"].strip() != "1")
        # execve and a fresh interpreter keep it
        code = "import socket; socket.socket(40, 1)"
        attempt("exec", lambda: subprocess.run([sys.executable, "-c", code],
                                               capture_output=True).returncode == 0)
        """,
        refused=("strict", "dumpable", "mode", "new-privs", "exec"),
    ),
    Attack(
        "write-where-it-is-read-only",
        """
        import sysconfig
        places = ["/", "/etc", "/usr", "/usr/bin", "/root", "/var", "/var/tmp", "/lib", "/home",
                  "/opt", "/mnt", "/run", "/boot", sysconfig.get_path("purelib"),
                  sysconfig.get_path("stdlib"), os.path.dirname(sys.executable),
                  os.path.realpath("data/darwin")]
        places += [p for p in sys.path if p and p.startswith("/usr")]
        for place in places:
            attempt("create", lambda: open(place + "/evil", "w"))
            attempt("mkdir", lambda: os.mkdir(place + "/evil-d") or 1)
        for path in ("/etc/passwd", "/etc/ld.so.preload", sys.executable, "data/darwin/train.bin",
                     "/etc/resolv.conf", "/etc/hosts", "/.dockerenv"):
            attempt("append", lambda: open(path, "ab").write(b"x"))
            attempt("unlink", lambda: os.unlink(os.path.realpath(path)) or 1)
            attempt("chmod", lambda: os.chmod(path, 0o777) or 1)
        attempt("out", lambda: os.rename(OUT, OUT + "-moved") or 1)
        attempt("out", lambda: os.rmdir(OUT) or 1)
        """,
        refused=("create", "mkdir", "append", "unlink", "chmod", "out"),
    ),
)
