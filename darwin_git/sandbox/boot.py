"""Becomes the hostile command inside a container: ``python3 -I -S -c SOURCE SPEC``.

The image holds none of our code, so this file travels as source in the container's arguments. It
runs as the command's own user without capabilities; standard library only, python 3.9 or newer.

Standard input begins with 8 bytes, little-endian, and as many bytes of an uncompressed tar with the
checkout, the tools and the artifacts. Not a byte beyond them is read: what follows is the dialogue.

SPEC is a JSON object::

    root         the folder everything lies in, a sized tmpfs ("/darwin")
    links        path below the root -> target, in place of what the tar had there
    argv         the command; argv[0] is looked up in env's PATH
    cwd, env     where and with what it runs; nothing else of the environment is passed on
    talk         keep standard input; otherwise it becomes /dev/null
    cpu_seconds  optional RLIMIT_CPU of each process, for an owner that died
    ready        optional: descriptor (1 or 2) on which the line READY is written right before the
                 command starts. Nothing hostile ran before, so what comes before it is ours, and
                 what comes after it is the command's, whatever it looks like.

Faults of ours end with exit code 125 and one line on standard error, before READY. A command that
cannot be started is no fault of ours: 127 where it is missing, 126 otherwise, after READY.
"""

import json
import os
import sys
from contextlib import suppress

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

READY = "darwin-git boot: ready"
FOLDERS = ("genome", "tools", "home", "tmp", "out", "cache")
CHUNK = 1 << 20

EPERM, ENOSYS = 1, 38
PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 38, 22, 2
NAMESPACES = 0x7E020000  # all CLONE_NEW* flags of clone(2)
AF_VSOCK = 40
FAMILIES = (1, 2, 10, 16)  # unix, inet, inet6, netlink: what loopback and DataLoader workers need

# Which audit architecture, then the numbers (asm/unistd_64.h, asm-generic/unistd.h). The engine's
# own profile refuses most of it: this holds where an engine runs without one, too.
# fmt: off
MACHINES = {
    "x86_64": (
        0xC000003E,
        {"socket": 41, "socketpair": 53, "clone": 56},
        # ptrace, process_vm_*, kcmp; unshare, setns, mount, umount2, pivot_root, chroot;
        # *_handle_at, fanotify_init; *_module, kexec_*; *key*, bpf, perf_event_open, userfaultfd
        (101, 310, 311, 312, 272, 308, 165, 166, 155, 161,
         303, 304, 300, 175, 313, 176, 246, 320, 248, 249, 250, 321, 298, 323),
    ),
    "aarch64": (
        0xC00000B7,
        {"socket": 198, "socketpair": 199, "clone": 220},
        (117, 270, 271, 272, 97, 268, 40, 39, 41, 51,
         264, 265, 262, 105, 273, 106, 104, 294, 217, 218, 219, 280, 241, 282),
    ),
}
# fmt: on
CLONE3, IO_URING_SETUP = 435, 425
# Numbers from 424 on are the same everywhere: io_uring_*, open_tree, move_mount, fs*, pidfd_getfd,
# mount_setattr.
REFUSED = (425, 426, 427, 428, 429, 430, 431, 432, 433, 438, 442)


class Fault(Exception):
    """The command never started, and that is not its fault."""


class Bounded:
    """Standard input up to a number of bytes, as tarfile reads it."""

    def __init__(self, left: int) -> None:
        self.left = left

    def read(self, size: int) -> bytes:
        """At most `size` bytes, fewer only at the end."""
        parts = []
        size = min(size, self.left)
        while size:
            part = os.read(0, min(size, CHUNK))
            if not part:
                raise Fault(f"the inputs ended {self.left} bytes early")
            parts.append(part)
            size -= len(part)
            self.left -= len(part)
        return b"".join(parts)


def unpack(root: str) -> None:
    """Regular files and folders of the tar on standard input, below the root."""
    import tarfile

    stream: Any = Bounded(8)
    stream = Bounded(int.from_bytes(stream.read(8), "little"))
    with tarfile.open(fileobj=stream, mode="r|", bufsize=CHUNK) as tar:
        for member in tar:
            parts = member.name.strip("/").split("/")
            if parts in (["."], [""]):
                continue
            if {"", ".", ".."} & set(parts):
                raise Fault(f"the inputs leave {root}: {member.name!r}")
            path = os.path.join(root, *parts)
            if member.isdir():
                os.makedirs(path, exist_ok=True)
                continue
            if not member.isreg():
                raise Fault(f"{member.name!r} in the inputs is no regular file")
            os.makedirs(os.path.dirname(path), exist_ok=True)
            mode = 0o755 if member.mode & 0o100 else 0o644
            out = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
            file = tar.extractfile(member)
            assert file  # it is a regular one
            with open(out, "wb") as copy:
                while data := file.read(CHUNK):
                    copy.write(data)
    while stream.left:
        stream.read(CHUNK)


def link(root: str, path: str, target: str) -> None:
    """A link at path below the root; whatever stands in its way goes."""
    *parents, name = path.split("/")
    place = root
    for parent in parents:
        place = os.path.join(place, parent)
        if not os.path.isdir(place) or os.path.islink(place):
            remove(place)
            os.mkdir(place)
    place = os.path.join(place, name)
    remove(place)
    os.symlink(target, place)


def remove(path: str) -> None:
    """A file, link or folder that may not be there."""
    import shutil

    if os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path)
    elif os.path.lexists(path):
        os.unlink(path)


def program(machine: str) -> "list[tuple[int, int, int, int]]":
    """The filter's instructions, struct sock_filter: (code, jump if true, jump if false, value)."""
    arch, numbers, refused = MACHINES[machine]
    load, equal, above, any_of, give = 0x20, 0x15, 0x35, 0x45, 0x06
    deny, allow = (give, 0, 0, 0x50000 | EPERM), (give, 0, 0, 0x7FFF0000)
    body = [(load, 0, 0, 4), (equal, 1, 0, arch), deny]  # an ABI of 32 bits
    body += [(load, 0, 0, 0)]
    body += [(above, 0, 1, 0x40000000), deny]  # x32
    # glibc falls back to clone, whose flags a filter can read
    body += [(equal, 0, 1, CLONE3), (give, 0, 0, 0x50000 | ENOSYS)]
    for number in (*refused, *REFUSED):
        body += [(equal, 0, 1, number), deny]
    for name in ("socket", "socketpair"):
        check = [(load, 0, 0, 16)]  # the first argument's low half
        check += [(equal, len(FAMILIES) - i, 0, family) for i, family in enumerate(FAMILIES)]
        body += [(equal, 0, len(check) + 2, numbers[name]), *check, deny, allow]
    body += [(equal, 0, 4, numbers["clone"]), (load, 0, 0, 16), (any_of, 0, 1, NAMESPACES)]
    return [*body, deny, allow, allow]


def confine() -> None:
    """No new privileges, and the filter; raises Fault where either did not take effect."""
    import ctypes
    import struct

    machine = os.uname().machine
    if machine not in MACHINES or sys.maxsize < 1 << 32:
        raise Fault(f"there is no system call filter for {machine} with this python")
    code = b"".join(struct.pack("=HBBI", *step) for step in program(machine))
    space = ctypes.create_string_buffer(code, len(code))
    head = struct.pack("@HP", len(code) // 8, ctypes.addressof(space))  # struct sock_fprog
    libc = ctypes.CDLL(None, use_errno=True)
    zero, one = ctypes.c_ulong(0), ctypes.c_ulong(1)
    if libc.prctl(PR_SET_NO_NEW_PRIVS, one, zero, zero, zero):
        raise Fault(f"no_new_privs was refused: {os.strerror(ctypes.get_errno())}")
    mode = ctypes.c_ulong(SECCOMP_MODE_FILTER)
    if libc.prctl(PR_SET_SECCOMP, mode, ctypes.c_char_p(head), zero, zero):
        raise Fault(f"the system call filter was refused: {os.strerror(ctypes.get_errno())}")
    # Seen in action, since a wrong number or a lying kernel would not show otherwise.
    null = ctypes.c_void_p(None)
    if libc.syscall(ctypes.c_long(IO_URING_SETUP), zero, null) != -1 or ctypes.get_errno() != EPERM:
        raise Fault("the system call filter does not hold: io_uring_setup")
    number = ctypes.c_long(MACHINES[machine][1]["socket"])
    if libc.syscall(number, ctypes.c_long(AF_VSOCK), one, zero) != -1 or (
        ctypes.get_errno() != EPERM
    ):
        raise Fault("the system call filter does not hold: AF_VSOCK")


def prepare(spec: "dict[str, Any]") -> None:
    """Everything before the command."""
    root = spec["root"]
    os.umask(0o022)
    unpack(root)
    for name in FOLDERS:
        os.makedirs(os.path.join(root, name), exist_ok=True)
    for path, target in spec["links"].items():
        link(root, path, target)
    if not spec["talk"]:
        null = os.open(os.devnull, os.O_RDONLY)
        os.dup2(null, 0)
        os.close(null)
    if seconds := spec.get("cpu_seconds"):
        import resource

        resource.setrlimit(resource.RLIMIT_CPU, (int(seconds), int(seconds)))
    confine()
    os.chdir(spec["cwd"])
    for name in os.listdir("/proc/self/fd"):
        if int(name) > 2:
            with suppress(OSError):  # the listing's own
                os.close(int(name))


def main() -> None:
    """Prepare, then become the command."""
    spec = json.loads(sys.argv[1])
    try:
        prepare(spec)
    except Exception as error:  # one line whatever it was: there is nobody above to tell
        text = " ".join(str(error).split()) or type(error).__name__
        if isinstance(error, (ImportError, OSError)):
            text = f"{type(error).__name__}: {text}"
        os.write(2, f"darwin-git boot: {text[:900]}\n".encode("utf-8", "replace"))
        os._exit(125)
    argv, ready = spec["argv"], spec.get("ready")
    if ready:
        os.write(ready, f"{READY}\n".encode())
    try:
        os.execvpe(argv[0], argv, spec["env"])
    except OSError as error:
        os.write(2, f"{argv[0]}: {error.strerror}\n".encode("utf-8", "replace"))
        os._exit(127 if isinstance(error, FileNotFoundError) else 126)


if __name__ == "__main__":
    main()
