"""boot.py for real: as a process of this machine, and as the first process of a container."""

import ast
import hashlib
import io
import json
import os
import struct
import subprocess
import sys
import tarfile
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from darwin_git.sandbox import boot

SOURCE = Path(boot.__file__).read_text()
NATIVE = os.uname().machine
EPERM, ENOSYS, ALLOW = 0x50000 | 1, 0x50000 | 38, 0x7FFF0000

linux = pytest.mark.skipif(
    sys.platform != "linux" or NATIVE not in boot.MACHINES, reason="no filter for this machine"
)


def pack(files: Mapping[str, bytes], mode: int = 0o644) -> bytes:
    """A tar as boot.py takes it, length first."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(content), mode
            tar.addfile(info, io.BytesIO(content))
    return framed(buffer.getvalue())


def framed(raw: bytes) -> bytes:
    return struct.pack("<Q", len(raw)) + raw


def spec(root: str, argv: list[str], **changes: Any) -> str:
    environment = {"PATH": os.environ["PATH"], "ONLY": "this"}
    values = {"root": root, "links": {}, "argv": argv, "cwd": f"{root}/genome"}
    return json.dumps({**values, "env": environment, "talk": False, "ready": 2, **changes})


def run(
    root: Path, argv: list[str], stdin: bytes, **changes: Any
) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-I", "-S", "-c", SOURCE, spec(str(root), argv, **changes)]
    return subprocess.run(command, input=stdin, capture_output=True, timeout=60)


def python(source: str) -> list[str]:
    return [sys.executable, "-I", "-c", source]


def test_the_source_fits_an_argument_and_python_3_9() -> None:
    assert len(SOURCE) < 12_000
    ast.parse(SOURCE, feature_version=(3, 9))


@linux
def test_the_command_finds_its_place(tmp_path: Path) -> None:
    files = {
        "genome/train.py": b"print(1)",
        "genome/data": b"a file where the link's folder must be",
        f"genome/{'d' * 90}/{'é' * 60}.py": b"long",
        "tools/launch.py": b"tool",
    }
    links = {"genome/data/darwin": "/darwin/data/0", "judge": "/darwin/data/1"}
    source = """
import json, os, sys
print(json.dumps({
    "cwd": os.getcwd(), "env": dict(os.environ), "files": sorted(os.listdir("..")),
    "train": open("train.py").read(), "link": os.readlink("data/darwin"),
    "judge": os.readlink("../judge"), "stdin": sys.stdin.read(),
    "null": os.readlink("/proc/self/fd/0"),
    "open": [fd for fd in os.listdir("/proc/self/fd") if int(fd) > 3],
    "long": open(os.path.join("d" * 90, "é" * 60 + ".py")).read(),
    "mode": [os.access(path, os.X_OK) for path in ("train.py", "../tools/launch.py")],
}))
"""
    done = run(tmp_path, python(source), pack(files), links=links)
    assert (done.returncode, done.stderr) == (0, f"{boot.READY}\n".encode())
    said = json.loads(done.stdout)
    assert said["cwd"] == str(tmp_path / "genome")
    assert said["env"].keys() - {"LC_CTYPE"} == {"PATH", "ONLY"}
    assert said["files"] == ["cache", "genome", "home", "judge", "out", "tmp", "tools"]
    assert (said["link"], said["judge"]) == ("/darwin/data/0", "/darwin/data/1")
    assert (said["train"], said["long"], said["stdin"]) == ("print(1)", "long", "")
    assert said["null"] == "/dev/null"
    assert said["open"] == []


@linux
def test_not_a_byte_of_the_dialogue_is_lost(tmp_path: Path) -> None:
    source = "import sys; sys.stdout.buffer.write(sys.stdin.buffer.read())"
    words = os.urandom(300_000)
    done = run(tmp_path, python(source), pack({"genome/a": b"x" * 3000}) + words, talk=True)
    assert (done.returncode, done.stdout) == (0, words)


@linux
@pytest.mark.parametrize(
    ("stdin", "said"),
    [
        (b"", "the inputs ended 8 bytes early"),
        (framed(b"")[:-1], "the inputs ended 1 bytes early"),
        (pack({"genome/a": b"x" * 5000})[:-9000], "the inputs ended 9000 bytes early"),
        (framed(b"no tar at all" * 100), "invalid header"),
        (pack({"../evil": b"x"}), "the inputs leave"),
        (pack({"genome/../../evil": b"x"}), "the inputs leave"),
    ],
)
def test_broken_inputs_are_our_own_fault(tmp_path: Path, stdin: bytes, said: str) -> None:
    done = run(tmp_path / "root", python("print('ran')"), stdin)
    assert (done.returncode, done.stdout) == (125, b"")
    line = done.stderr.decode()
    assert line.startswith("darwin-git boot: ") and said in line and line.count("\n") == 1
    assert not (tmp_path / "evil").exists()


@linux
def test_links_in_the_inputs_are_refused(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        info = tarfile.TarInfo("genome/link")
        info.type, info.linkname = tarfile.SYMTYPE, "/etc"
        tar.addfile(info)
    done = run(tmp_path, python("print('ran')"), framed(buffer.getvalue()))
    assert (done.returncode, done.stdout) == (125, b"")
    assert b"no regular file" in done.stderr


@linux
def test_a_command_that_cannot_start_is_not_our_fault(tmp_path: Path) -> None:
    done = run(tmp_path / "a", ["no-such-program"], pack({}))
    assert done.returncode == 127
    assert done.stderr.decode() == f"{boot.READY}\nno-such-program: No such file or directory\n"
    done = run(tmp_path / "b", ["./plain"], pack({"genome/plain": b"#!/bin/sh\n"}))
    assert (done.returncode, done.stderr.decode().splitlines()[0]) == (126, boot.READY)


@linux
def test_the_limit_of_processor_time_ends_a_loop(tmp_path: Path) -> None:
    began = time.monotonic()
    done = run(tmp_path, python("while True: pass"), pack({}), cpu_seconds=1)
    assert done.returncode == -9
    assert time.monotonic() - began < 30


@linux
def test_the_filter_holds_in_the_command_and_its_children(tmp_path: Path) -> None:
    source = """
import ctypes, errno, os, socket, subprocess, sys
libc = ctypes.CDLL(None, use_errno=True)
def number(n, *a):
    return errno.errorcode[ctypes.get_errno()] if libc.syscall(n, *a) < 0 else "done"
def family(f, k):
    try:
        socket.socket(f, k).close()
    except OSError as error:
        return errno.errorcode[error.errno]
    return "done"
print(number(425, 1, None), number(435, None, 0), family(40, 1), family(38, 5), family(17, 3))
print(family(1, 1), family(2, 1), socket.socketpair() and "done")
if len(sys.argv) < 2:
    sys.stdout.flush()
    subprocess.run([sys.executable, "-I", "-c", open("me").read(), "again"])
    os.waitpid(os.posix_spawn("/bin/true", ["true"], {}), 0)
"""
    done = run(tmp_path, python(source), pack({"genome/me": source.encode()}))
    rows = done.stdout.decode().splitlines()
    assert rows == ["EPERM ENOSYS EPERM EPERM EPERM", "done done done"] * 2, done.stderr


def simulate(machine: str, arch: int, number: int, argument: int = 0) -> int:
    """What the kernel does with the filter's program for one system call."""
    data = struct.pack(
        "<iIQ6Q", number - (1 << 32 if number >> 31 else 0), arch, 0, *[argument] * 6
    )
    steps, at, value = boot.program(machine), 0, 0
    while True:
        code, yes, no, operand = steps[at]
        if code == 0x20:
            (value,) = struct.unpack_from("<I", data, operand)
        elif code == 0x06:
            return operand
        else:
            tests = {0x15: value == operand, 0x35: value >= operand, 0x45: bool(value & operand)}
            at += yes if tests[code] else no
        at += 1


@pytest.mark.parametrize("machine", boot.MACHINES)
def test_the_program_decides_as_it_should(machine: str) -> None:
    arch, names, refused = boot.MACHINES[machine]
    for number in (*refused, *boot.REFUSED):
        assert simulate(machine, arch, number) == EPERM
    assert simulate(machine, arch, boot.CLONE3) == ENOSYS
    for family in range(64):
        wanted = ALLOW if family in boot.FAMILIES else EPERM
        for name in ("socket", "socketpair"):
            assert simulate(machine, arch, names[name], family) == wanted
            assert simulate(machine, arch, names[name], family | 1 << 32) == wanted
    assert simulate(machine, arch, names["clone"], 17) == ALLOW
    thread = 0x3D0F00  # what pthread_create asks for
    assert simulate(machine, arch, names["clone"], thread) == ALLOW
    for flag in (0x20000, 0x02000000, 0x10000000, 0x40000000):
        assert simulate(machine, arch, names["clone"], flag | 17) == EPERM
    for foreign in (0x40000003, 0xC00000B7, 0xC000003E, 0x40000028):
        if foreign != arch:
            assert simulate(machine, foreign, 0) == EPERM
    for number in (0x40000000, 0x40000029, 0xFFFFFFFF):
        assert simulate(machine, arch, number) == EPERM
    others = set(range(600)) - {*refused, *boot.REFUSED, *names.values(), boot.CLONE3}
    assert {simulate(machine, arch, number) for number in others} == {ALLOW}


@pytest.fixture
def contained(engine_client: Any, engine_image: str) -> Any:
    """Runs boot.py as a container's command, hardened: (exit code, stdout, stderr)."""
    api = engine_client.api

    def start(argv: list[str], stdin: bytes, **changes: Any) -> tuple[int, bytes, bytes]:
        given = {"env": {"PATH": "/usr/local/bin:/usr/bin:/bin", "ONLY": "this"}, **changes}
        size = given.pop("size", "64m")
        container = api.create_container(
            engine_image,
            entrypoint=["python3", "-I", "-S", "-c", SOURCE, spec("/darwin", argv, **given)],
            user="10001:10001",
            stdin_open=True,
            labels={"test": "boot"},
            host_config=api.create_host_config(
                network_mode="none",
                read_only=True,
                cap_drop=["ALL"],
                security_opt=["no-new-privileges"],
                pids_limit=64,
                tmpfs={"/darwin": f"rw,exec,nosuid,nodev,size={size},uid=10001,gid=10001"},
            ),
        )["Id"]
        try:
            asked = {"stdin": 1, "stream": 1}
            wire = api.attach_socket(container, params=asked)
            api.start(container)
            with suppress(OSError):  # it gave up on its inputs
                wire._sock.sendall(stdin)
            code = api.wait(container, timeout=60)["StatusCode"]
            wire._sock.close()
            wire.close()
            texts = [api.logs(container, stdout=out, stderr=not out) for out in (True, False)]
            return code, texts[0], texts[1]
        finally:
            api.remove_container(container, force=True, v=True)

    return start


def test_it_becomes_the_command_of_a_container(contained: Any) -> None:
    source = """
import os
rows = dict(line.split(":", 1) for line in open("/proc/self/status"))
print(rows["CapEff"].split(), rows["CapBnd"].split(), rows["NoNewPrivs"].split(), os.getuid())
print(rows["Seccomp"].split(), open("a").read(), sorted(os.environ)[-2:], os.getcwd())
"""
    code, out, err = contained(["python3", "-c", source], pack({"genome/a": b"content"}))
    assert (code, err) == (0, f"{boot.READY}\n".encode())
    none = "['0000000000000000']"
    assert out.decode().splitlines() == [
        f"{none} {none} ['1'] 10001",
        "['2'] content ['ONLY', 'PATH'] /darwin/genome",
    ]


def test_inputs_larger_than_their_room_are_named(contained: Any) -> None:
    stdin = pack({"genome/large": bytes(3 << 20)})
    code, out, err = contained(["python3", "-c", "print('ran')"], stdin, size="2m")
    assert (code, out) == (125, b"")
    assert b"No space left on device" in err and boot.READY.encode() not in err


def test_many_megabytes_enter_a_container_fast(contained: Any) -> None:
    content = os.urandom(1 << 20) * 200
    source = (
        "import hashlib; print(hashlib.sha256(open('../tools/ckpt.pt','rb').read()).hexdigest())"
    )
    began = time.monotonic()
    code, out, _ = contained(
        ["python3", "-c", source], pack({"tools/ckpt.pt": content}), size="300m"
    )
    assert (code, out.decode().strip()) == (0, hashlib.sha256(content).hexdigest())
    assert time.monotonic() - began < 20
