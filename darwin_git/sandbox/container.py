"""What a container is created with, as the engine's API takes it: pure functions of plain values.

Every limit here was measured against an attack; see tests/attacks.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from darwin_git.ports import Command, Limits, Slot

USER = "10001:10001"
ROOT = "/darwin"
OUT = "/out"
"""Where the keeper sees the out volume."""
FILL = "/fill"

CLONE = "darwin-git.clone"
ROLE = "darwin-git.role"
ATTEMPT = "darwin-git.attempt"
DEADLINE = "darwin-git.deadline"

KEEPER_LIFETIME = 14 * 24 * 3600
GRACE_SECONDS = 60.0
"""Between our deadline and the keeper's."""
SCRATCH_BYTES = 512 << 20
LOG = {"Type": "json-file", "Config": {"max-size": "1m", "max-file": "2"}}
NO_LOG = {"Type": "none", "Config": {}}
READY_ON = 2

# Runtimes that put two containers into one PID namespace; those with a kernel of their own cannot.
SHARING = frozenset({"runc", "crun", "youki", "nvidia", "io.containerd.runc.v2"})

# What an image's environment may tell a command: where CUDA and Python's packages lie.
_IMAGE_VARIABLES = ("PATH", "LD_LIBRARY_PATH", "PYTHONPATH", "CUDA_HOME", "CUDA_VERSION")
_DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True)
class Image:
    """What is needed to know of an image.

    Attributes:
        id: content address, sha256:…
        python: its interpreter.
        environment: of its configuration.
        volumes: paths that its author declared as volumes; they would be writable without limit.
    """

    id: str
    python: str
    environment: Mapping[str, str]
    volumes: tuple[str, ...]

    @classmethod
    def of(cls, found: Mapping[str, Any]) -> "Image":
        """From the engine's description."""
        config = found.get("Config") or {}
        pairs = [entry.partition("=") for entry in config.get("Env") or ()]
        labels = config.get("Labels") or {}
        return cls(
            found["Id"],
            labels.get("darwin-git.python") or "python3",
            {name: value for name, _, value in pairs},
            tuple(config.get("Volumes") or ()),
        )


def boot_spec(
    command: Command,
    slot: Slot,
    image: Image,
    links: Mapping[str, str],
    *,
    talk: bool,
    cpu_seconds: float | None = None,
) -> str:
    """The argument of boot.py."""
    spec = {
        "root": ROOT,
        "links": dict(links),
        "argv": [_place(word, image.python) for word in command.argv],
        "cwd": f"{ROOT}/genome",
        "env": environment(command, slot, image),
        "talk": talk,
        "ready": READY_ON,
    }
    if cpu_seconds is not None:
        spec["cpu_seconds"] = int(cpu_seconds)
    return json.dumps(spec)


def environment(command: Command, slot: Slot, image: Image) -> dict[str, str]:
    """What the command sees of the world: nothing of the person's, little of the image's."""
    threads = str(max(1, len(slot.cpus)))
    kept = {name: image.environment[name] for name in _IMAGE_VARIABLES if name in image.environment}
    kept |= {n: v for n, v in image.environment.items() if n.startswith("NVIDIA_")}
    cache = cache_folder(command)
    return {
        "PATH": _DEFAULT_PATH,
        **kept,
        "HOME": f"{ROOT}/home",
        "TMPDIR": "/tmp",
        "LANG": "C.UTF-8",
        "USER": "darwin",
        "LOGNAME": "darwin",
        "OMP_NUM_THREADS": threads,
        "MKL_NUM_THREADS": threads,
        "OPENBLAS_NUM_THREADS": threads,
        # the one GPU that the container was given is number 0 inside
        "CUDA_VISIBLE_DEVICES": "" if slot.gpu is None else "0",
        "NVIDIA_VISIBLE_DEVICES": _visible(slot),
        "PYTHONHASHSEED": "0",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONUNBUFFERED": "1",
        "PYTHONNOUSERSITE": "1",
        "TORCHINDUCTOR_CACHE_DIR": f"{cache}/inductor",
        "TRITON_CACHE_DIR": f"{cache}/triton",
    }


def cache_folder(command: Command) -> str:
    """Where the command's compile cache lies; what fills one writes where it can be fetched."""
    return f"{ROOT}/out/.cache" if command.fills_cache else f"{ROOT}/cache"


def job(
    image: Image,
    boot: str,
    spec: str,
    slot: Slot,
    limits: Limits,
    labels: Mapping[str, str],
    *,
    input_bytes: int,
    input_files: int,
    largest_input: int,
    data: Sequence[str],
    out: str,
    keeper: str,
    runtime: str,
    network: bool = False,
) -> dict[str, Any]:
    """The container of one command.

    Args:
        input_bytes, input_files, largest_input: what enters over standard input; its memory is not
            on the command's account.
        data: volumes, mounted read-only at /darwin/data/<n>.
        out: the out volume; empty: a folder that dies with the container.
        keeper: container whose PID namespace is joined; empty: one of its own.
        network: the engine's default network in place of none; every other wall stands.
    """
    inputs = input_bytes + 4096 * input_files
    room = inputs + SCRATCH_BYTES + (0 if out else limits.output_bytes)
    memory = limits.memory_bytes + inputs
    temporary = min(1 << 30, limits.memory_bytes)
    mounts = [_volume(name, f"{ROOT}/data/{n}", readonly=True) for n, name in enumerate(data)]
    if out:
        mounts.append(_volume(out, f"{ROOT}/out"))
    host = _walls(runtime) | {
        "PidsLimit": limits.processes,
        "Memory": memory,
        "MemorySwap": memory,
        "CpusetCpus": ",".join(map(str, slot.cpus)),
        "ShmSize": temporary,
        "OomScoreAdj": 500,
        "Tmpfs": {
            "/tmp": f"rw,nosuid,nodev,exec,size={temporary},nr_inodes=50000,mode=1777",
            ROOT: f"rw,nosuid,nodev,exec,size={room},nr_inodes={input_files + 50_000},"
            f"mode=0755,uid={USER.split(':')[0]},gid={USER.split(':')[1]}",
            **dict.fromkeys(image.volumes, "rw,nosuid,nodev,size=1m"),
        },
        "Ulimits": [
            _ulimit("core", 0),
            _ulimit("nofile", 16384),
            _ulimit("fsize", max(limits.output_bytes, largest_input)),
        ],
        "Mounts": mounts,
        "LogConfig": LOG if out else NO_LOG,
        "PidMode": f"container:{keeper}" if keeper else "",
        "Init": not keeper,
    }
    if network:
        host["NetworkMode"] = "default"
    if slot.gpu is not None:
        host["DeviceRequests"] = [gpu_request([slot.gpu])]
    return {
        "Image": image.id,
        "Entrypoint": [image.python, "-I", "-S", "-c", boot, spec],
        "Cmd": [],
        "User": USER,
        "WorkingDir": "/",
        "Env": [f"NVIDIA_VISIBLE_DEVICES={_visible(slot)}"],
        "AttachStdin": True,
        "AttachStdout": True,
        "AttachStderr": True,
        "OpenStdin": True,
        "StdinOnce": True,
        "Healthcheck": {"Test": ["NONE"]},
        "Labels": dict(labels),
        "HostConfig": host,
    }


def keeper(
    image: Image, out: str, deadline_seconds: float, labels: Mapping[str, str], runtime: str
) -> dict[str, Any]:
    """The container that holds an out volume and ends the job where the tool died."""
    source = Path(__file__).with_name("keeper.py").read_text(encoding="utf-8")
    times = [str(deadline_seconds + GRACE_SECONDS), str(KEEPER_LIFETIME)]
    host = _walls(runtime) | {
        "CapAdd": ["KILL"],
        "PidsLimit": 16,
        "Memory": 128 << 20,
        "MemorySwap": 128 << 20,
        "Tmpfs": dict.fromkeys(image.volumes, "rw,size=1m"),
        "Mounts": [_volume(out, OUT)],
        "Ulimits": [_ulimit("core", 0), _ulimit("nofile", 1024)],
        "LogConfig": NO_LOG,
    }
    return {
        "Image": image.id,
        "Entrypoint": [image.python, "-I", "-S", "-c", source, *times],
        "Cmd": [],
        "User": "0:0",
        "WorkingDir": "/",
        "Env": ["NVIDIA_VISIBLE_DEVICES=void"],
        "Healthcheck": {"Test": ["NONE"]},
        "Labels": dict(labels),
        "HostConfig": host,
    }


def probe(
    image: Image, argv: Sequence[str], labels: Mapping[str, str], *, gpus: bool, runtime: str
) -> dict[str, Any]:
    """A container for one question of ours."""
    host = _walls(runtime) | {"PidsLimit": 64, "Memory": 256 << 20, "MemorySwap": 256 << 20}
    host["LogConfig"] = LOG
    if gpus:
        host["DeviceRequests"] = [gpu_request(None)]
    return {
        "Image": image.id,
        "Entrypoint": list(argv),
        "Cmd": [],
        "User": USER,
        "Healthcheck": {"Test": ["NONE"]},
        "Labels": dict(labels),
        "HostConfig": host,
    }


def fill(image: Image, volume: str, labels: Mapping[str, str]) -> dict[str, Any]:
    """A container that is never started: files are put through it into a volume."""
    return {
        "Image": image.id,
        "Entrypoint": ["true"],
        "Cmd": [],
        "Labels": dict(labels),
        "HostConfig": {"NetworkMode": "none", "Mounts": [_volume(volume, FILL)]},
    }


def out_volume(
    name: str, limits: Limits, labels: Mapping[str, str], *, podman: bool
) -> dict[str, Any]:
    """A sized folder in memory that lives as long as somebody has it mounted."""
    user, group = USER.split(":")
    size = f"size={limits.output_bytes}"
    if podman:  # which takes `size` for a quota of its own; its pages may be larger than that
        size = f"nr_blocks={-(-limits.output_bytes // 4096)}"
    options = f"{size},nr_inodes=10000,uid={user},gid={group},mode=0700"
    return {
        "Name": name,
        "Driver": "local",
        "DriverOpts": {"type": "tmpfs", "device": "tmpfs", "o": f"{options},nosuid,nodev"},
        "Labels": dict(labels),
    }


def gpu_request(ids: Sequence[str] | None) -> dict[str, Any]:
    """Some GPUs by id, or all of them."""
    which = {"Count": -1} if ids is None else {"DeviceIDs": list(ids)}
    return {"Driver": "", "Capabilities": [["gpu"]], **which}


def _walls(runtime: str) -> dict[str, Any]:
    return {
        "NetworkMode": "none",
        "ReadonlyRootfs": True,
        "CapDrop": ["ALL"],
        "SecurityOpt": ["no-new-privileges"],
        "IpcMode": "private",
        "Runtime": runtime,
        "RestartPolicy": {"Name": "no"},
    }


def _volume(name: str, target: str, *, readonly: bool = False) -> dict[str, Any]:
    return {
        "Type": "volume",
        "Source": name,
        "Target": target,
        "ReadOnly": readonly,
        "VolumeOptions": {"NoCopy": True},
    }


def _ulimit(name: str, value: int) -> dict[str, Any]:
    return {"Name": name, "Soft": value, "Hard": value}


def _visible(slot: Slot) -> str:
    # Else an engine whose default runtime is NVIDIA's hands out every GPU of the machine.
    return "void" if slot.gpu is None else slot.gpu


def _place(word: str, python: str) -> str:
    # relative to the checkout, as in process.py
    for name, path in (("genome", "."), ("tools", "../tools"), ("out", "../out")):
        word = word.replace(f"{{{name}}}", path)
    return word.replace("{python}", python)
