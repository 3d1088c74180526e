"""The docker runner's parts, with values: what is sent, what is heard, what an error means."""

import io
import json
import random
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from darwin_git.ports import Command, File, Limits, Slot
from darwin_git.sandbox import boot, container, parcel
from darwin_git.sandbox.engine import Engine, address
from darwin_git.sandbox.heard import FLOOD_BYTES, Heard, read_log, verdict
from darwin_git.sandbox.parcel import Parcel

Script = Callable[..., Command]
IMAGE = container.Image(
    "sha256:1", "python3", {"PYTHONPATH": "/site", "SECRET": "x", "NVIDIA_X": "1"}, ("/var/data",)
)


def described(slot: Slot, **changes: Any) -> dict[str, Any]:
    given = {
        "input_bytes": 1000,
        "input_files": 2,
        "largest_input": 600,
        "data": ["d0"],
        "out": "o",
        "keeper": "k",
        "runtime": "",
    }
    limits = Limits(10.0, 1 << 30, 16 << 20)
    return container.job(IMAGE, "SOURCE", "{}", slot, limits, {}, **(given | changes))


def test_every_wall_stands() -> None:
    host = described(Slot(0, (2, 3)))["HostConfig"]
    assert host["NetworkMode"] == "none" and host["ReadonlyRootfs"] is True
    assert host["CapDrop"] == ["ALL"] and "CapAdd" not in host
    assert host["SecurityOpt"] == ["no-new-privileges"]
    assert host["Memory"] == host["MemorySwap"] == (1 << 30) + 1000 + 2 * 4096
    assert host["PidsLimit"] == 512 and host["CpusetCpus"] == "2,3"
    assert host["PidMode"] == "container:k" and host["IpcMode"] == "private"
    assert {one["Name"]: one["Hard"] for one in host["Ulimits"]}["fsize"] == 16 << 20
    assert [one["ReadOnly"] for one in host["Mounts"]] == [True, False]
    assert all(one["Type"] == "volume" for one in host["Mounts"])
    assert host["Tmpfs"]["/var/data"].endswith("size=1m")  # an image's volumes are no loophole
    assert "DeviceRequests" not in host and "Privileged" not in host and "Binds" not in host
    alone = described(Slot(0, ()), out="", keeper="")["HostConfig"]
    assert alone["PidMode"] == "" and alone["Init"] is True
    assert alone["LogConfig"]["Type"] == "none"


def test_a_gpu_is_asked_for_by_its_id_and_the_others_stay_hidden() -> None:
    with_gpu, without = described(Slot(0, (), gpu="3")), described(Slot(0, ()))
    (asked,) = with_gpu["HostConfig"]["DeviceRequests"]
    assert asked["DeviceIDs"] == ["3"] and asked["Capabilities"] == [["gpu"]]
    assert with_gpu["Env"] == ["NVIDIA_VISIBLE_DEVICES=3"]
    assert without["Env"] == ["NVIDIA_VISIBLE_DEVICES=void"]


def test_the_image_says_where_its_packages_are_and_nothing_else(script: Script) -> None:
    command = script("", argv=("{python}", "{tools}/x={genome}", "{out}"))
    spec = json.loads(container.boot_spec(command, Slot(0, (0, 1)), IMAGE, {}, talk=False))
    assert spec["argv"] == ["python3", "../tools/x=.", "../out"]
    assert spec["env"]["PYTHONPATH"] == "/site" and "SECRET" not in spec["env"]
    assert spec["env"]["OMP_NUM_THREADS"] == "2" and spec["env"]["CUDA_VISIBLE_DEVICES"] == ""
    on_gpu = container.environment(command, Slot(0, (), gpu="7"), IMAGE)
    assert on_gpu["CUDA_VISIBLE_DEVICES"] == "0"


def test_a_parcel_is_as_long_as_it_says(tmp_path: Path) -> None:
    draw = random.Random(1)
    big = tmp_path / "big"
    big.write_bytes(draw.randbytes(3_000_001))
    goods = Parcel()
    goods.add("genome/" + "long/" * 60 + "näme.py", b"x" * 513, executable=True)
    goods.add("tools/big", big)
    goods.add("tools/empty", b"")
    stream = b"".join(goods.framed())
    assert int.from_bytes(stream[:8], "little") == len(stream) - 8 == goods.length
    with tarfile.open(fileobj=io.BytesIO(stream[8:])) as tar:
        members = tar.getmembers()
        assert [one.size for one in members] == [513, 3_000_001, 0]
        assert [bool(one.mode & 0o100) for one in members] == [True, False, False]
        file = tar.extractfile("tools/big")
        assert file and file.read() == big.read_bytes()
    assert goods.largest == 3_000_001
    big.write_bytes(b"shorter")
    with pytest.raises(OSError, match="shorter"):
        b"".join(goods.framed())


@pytest.mark.parametrize("path", ["../x", "/etc/passwd", ".git/config", "a/../../b", "", "a\0b"])
def test_what_leaves_the_checkout_is_no_parcel(script: Script, path: str) -> None:
    command = script("")
    bad = Command(**{**vars(command), "genome": {path: File(b"")}})
    if path:  # "genome/" is refused as a file by boot.py
        with pytest.raises(ValueError, match="leaves"):
            parcel.pack(bad)
    with pytest.raises(ValueError, match="leaves"):
        parcel.links(Command(**{**vars(command), "data": {f"../{path}/..": Path("/")}}))


def test_what_is_heard_before_ready_is_ours_and_after_it_is_the_commands() -> None:
    ready = f"{boot.READY}\n".encode()
    for cut in range(1, len(ready) + 4):
        heard = Heard(1 << 16)
        said = ready + b"darwin-git boot: no space\n"
        heard.feed(2, said[:cut], 1.0)
        heard.feed(2, said[cut:], 2.0)
        heard.feed(1, b"line\n", 3.5)
        state = {"ExitCode": 125, "OOMKilled": False}
        ended = verdict(None, state, 9.0, heard, cancelled=False)
        assert (ended.cause, ended.exit_code) == ("exit", 125)
        assert ended.errors == "darwin-git boot: no space\n"
        assert ended.lines[0].at == (2.5 if cut >= len(ready) else 1.5)
    never = Heard(1 << 16)
    never.feed(2, b"darwin-git boot: no space\n", 1.0)
    ended = verdict(None, {"ExitCode": 125}, 9.0, never, cancelled=False)
    assert ended.cause == "infra" and ended.errors.endswith("did not start: no space")


@pytest.mark.parametrize(
    ("killed", "code", "oom", "cause", "exit_code"),
    [
        (None, 0, False, "exit", 0),
        (None, 137, False, "exit", -9),
        (None, 137, True, "memory", -9),
        (None, 0, True, "exit", 0),
        (None, 1, True, "memory", 1),
        ("deadline", 137, False, "deadline", -9),
        ("deadline", 0, False, "exit", 0),  # it ended well just before the kill
        ("deadline", 3, False, "exit", 3),
        ("output", 137, False, "output", -9),
        (None, 255, False, "exit", 255),
    ],
)
def test_what_an_end_is_called(
    killed: Any, code: int, oom: bool, cause: str, exit_code: int
) -> None:
    heard = Heard(1 << 16)
    heard.feed(2, f"{boot.READY}\n".encode(), 0.0)
    ended = verdict(killed, {"ExitCode": code, "OOMKilled": oom}, 1.0, heard, cancelled=False)
    assert (ended.cause, ended.exit_code) == (cause, exit_code)
    if code:
        state = {"ExitCode": code, "OOMKilled": oom}
        assert verdict(killed, state, 1.0, heard, cancelled=True).cause == "infra"


class Written:
    """An engine's log of both streams."""

    def __init__(self, stdout: bytes, stderr: bytes) -> None:
        self._said = stdout, stderr

    def logs(self, container: str, *, stdout: bool = True, **_: bool) -> bytes:
        return self._said[0] if stdout else self._said[1]


def test_a_commands_own_text_is_no_time_of_the_engines() -> None:
    at = b"2026-01-01T00:00:0%d.5Z "
    ready = at % 1 + f"{boot.READY}\n".encode()
    out = at % 4 + b"bar\r2020-01-01T00:00:00Z false\n" + at % 5 + b"end"
    heard = Heard(1 << 16)
    read_log(Written(out, ready), "", heard)
    lines = heard.lines(9.0)
    assert heard.whole and [line.at for line in lines] == [3.0, 9.0]
    assert lines[0].text == "bar 2020-01-01T00:00:00Z false" and lines[1].text == "end"
    rotated = Heard(1 << 16)
    read_log(Written(out, at % 3 + b"warning\n"), "", rotated)
    assert not rotated.whole


def test_a_flood_of_newlines_is_a_flood() -> None:
    heard = Heard(1 << 16)
    heard.feed(2, f"{boot.READY}\n".encode(), 0.0)
    for _ in range(20):
        heard.feed(1, b"\n" * (1 << 16), 1.0)
    assert heard.bytes > FLOOD_BYTES
    assert len(heard.lines(2.0)) < 5000


def test_where_the_engine_is_looked_for(tmp_path: Path) -> None:
    assert address("tcp://a:1", {"DOCKER_HOST": "tcp://b:1"}) == "tcp://a:1"
    assert address("", {"DOCKER_HOST": "tcp://b:1"}) == "tcp://b:1"
    assert address("", {}).startswith("unix:///")


@pytest.mark.parametrize(
    ("said", "message", "cure"),
    [
        ('could not select device driver "" with capabilities: [[gpu]]', "GPU", "toolkit"),
        ("mkdir /var/lib/docker/x: no space left on device", "disk is full", "make room"),
        ("Unknown runtime specified runsc", "runtime", "runtime"),
        ("Requested CPUs are not available - requested 9, available: 0-1", "CPUs", "slots"),
        ('exec: "python3": executable file not found in $PATH', "python3", "image build"),
        ("exec user process caused: exec format error", "processor", "image build"),
        ("something nobody has seen", "refused", "doctor"),
    ],
)
def test_what_the_engine_says_is_explained(said: str, message: str, cure: str) -> None:
    import docker.errors

    explained = Engine("unix:///x").explain(docker.errors.APIError("500", explanation=said))
    assert message in explained.message and cure in explained.hint


def test_who_may_not_use_the_engine_is_told_how() -> None:
    import docker.errors

    error = docker.errors.DockerException("('Connection aborted.', PermissionError(13, 'Permission "
                                          "denied'))")  # fmt: skip
    explained = Engine("unix:///x").explain(error)
    assert "may not use" in explained.message and "docker group" in explained.hint
