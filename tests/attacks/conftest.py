"""A host worth attacking: secrets in the tool's environment, hidden data, services that listen."""

import json
import os
import secrets
import selectors
import socket
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from darwin_git.ports import Command, File, Slot
from darwin_git.sandbox import container
from darwin_git.sandbox.docker import DockerRunner
from darwin_git.sandbox.leftovers import clone_id
from tests.attacks.attack import Attack
from tests.attacks.guard import Guard, container_processes, ours

FOREIGN = "somebody-else"
PERMANENT = {"clone", "volumes", "caches"}
"""What the runner keeps between commands."""


class Listener:
    """Services of this host that a program without a wall reaches."""

    def __init__(self, folder: Path) -> None:
        self.abstract = f"darwin-attack-{secrets.token_hex(8)}"
        self.unix = str(folder / "service.sock")
        self.calls: list[str] = []
        self._selector = selectors.DefaultSelector()
        self._over, self._wake = os.pipe()
        self._selector.register(self._over, selectors.EVENT_READ, "")
        tcp = self._listen("tcp", socket.AF_INET, ("0.0.0.0", 0))
        self.tcp4 = [[address, tcp.getsockname()[1]] for address in ("127.0.0.1", *_addresses())]
        self.tcp6: list[list[Any]] = []
        if socket.has_ipv6:
            tcp = self._listen("tcp6", socket.AF_INET6, ("::", 0))
            self.tcp6 = [["::1", tcp.getsockname()[1]]]
        self._listen("abstract", socket.AF_UNIX, f"\0{self.abstract}")
        self._listen("unix", socket.AF_UNIX, self.unix)
        Path(self.unix).chmod(0o777)
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def close(self) -> None:
        os.write(self._wake, b"x")
        self._thread.join()
        for key in list(self._selector.get_map().values()):
            if isinstance(key.fileobj, socket.socket):
                key.fileobj.close()
        self._selector.close()
        os.close(self._over)
        os.close(self._wake)

    def _listen(self, name: str, family: int, address: Any) -> socket.socket:
        service = socket.socket(family)
        if family == socket.AF_INET6:
            service.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        service.bind(address)
        service.listen()
        self._selector.register(service, selectors.EVENT_READ, name)
        return service

    def _serve(self) -> None:
        while True:
            for key, _ in self._selector.select():
                if not key.data:
                    return
                assert isinstance(key.fileobj, socket.socket)
                connection, _ = key.fileobj.accept()
                connection.close()
                self.calls.append(key.data)


def _addresses() -> list[str]:
    """The host's own addresses; a UDP socket that is connected sends nothing."""
    found = []
    for target in ("192.0.2.1", "172.17.0.2"):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            try:
                probe.connect((target, 9))
                found.append(probe.getsockname()[0])
            except OSError:
                continue
    return sorted(set(found))


@dataclass
class Host:
    """What a training may see of this host, and what it must not.

    Attributes:
        data: the training split.
        hidden: text that stands only in the held-out folder and in the tool's environment.
    """

    folder: Path
    listener: Listener
    data: Path
    hidden: bytes
    secrets: list[str] = field(default_factory=list)

    def command(self, attack: Attack, **changes: Any) -> Command:
        """The attack beside the training split; it knows the host's addresses and paths."""
        targets = {
            "tcp4": self.listener.tcp4,
            "tcp6": self.listener.tcp6,
            "abstract": self.listener.abstract,
            "unix": self.listener.unix,
            "secrets": [text[:8] + text[8:] for text in self.secrets],
            "hidden": self.hidden[::-1].hex(),
            "paths": [str(self.folder), str(self.data), str(Path(__file__).parents[2])],
        }
        command = attack.command(data={"data/darwin": self.data}, **changes)
        known = {**command.genome, "targets.json": File(json.dumps(targets).encode())}
        return Command(**{**vars(command), "genome": known})


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Host]:
    """Hidden data beside the training split, secrets in the environment, services that listen."""
    folder = tmp_path / "host"
    data, held = folder / "splits" / "train", folder / "splits" / "held"
    data.mkdir(parents=True)
    held.mkdir()
    # the same in every test, so that the engine holds the volume once
    (data / "train.bin").write_bytes(bytes(range(256)) * 256)
    hidden = secrets.token_hex(16).encode()
    (held / "val.bin").write_bytes(hidden * 16)
    keys = {name: f"sk-{secrets.token_hex(12)}" for name in ("OPENAI_API_KEY", "AWS_SECRET_KEY")}
    for name, value in {**keys, "DARWIN_HELD_OUT": hidden.decode()}.items():
        monkeypatch.setenv(name, value)
    listener = Listener(folder)
    try:
        yield Host(folder, listener, data, hidden, list(keys.values()))
    finally:
        listener.close()


@pytest.fixture
def guard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Guard:
    """Watches the host, and a folder for temporary files that is all ours."""
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    return Guard((temporary,))


@pytest.fixture
def slot() -> Slot:
    """One CPU of those that we have."""
    return Slot(0, (min(os.sched_getaffinity(0)),))


@pytest.fixture(scope="session")
def foreign(engine_client: Any, engine_image: str) -> Iterator[str]:
    """A container and a volume of somebody else; they must live through everything."""
    name = f"foreign-{secrets.token_hex(6)}"
    volume = engine_client.volumes.create(name, labels={"owner": FOREIGN})
    sleeper = engine_client.containers.create(
        engine_image,
        ["python3", "-c", "import time; time.sleep(7200)"],
        name=name,
        network_mode="none",
        init=True,
        labels={"owner": FOREIGN},
        volumes={name: {"bind": "/mine", "mode": "rw"}},
    )
    try:
        sleeper.start()
        started = engine_client.api.inspect_container(name)["State"]["StartedAt"]
        yield name
        state = engine_client.api.inspect_container(name)["State"]
        assert (state["Running"], state["StartedAt"]) == (True, started)
        assert engine_client.volumes.get(name)
    finally:
        sleeper.remove(force=True)
        volume.remove(force=True)


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the container runner keeps its attempts."""
    return tmp_path_factory.mktemp("clone") / "attempts"


@pytest.fixture(scope="session")
def label(base: Path) -> str:
    """What everything of that runner carries in the engine."""
    return f"{container.CLONE}={clone_id(base)}"


@pytest.fixture(scope="session")
def walls(base: Path, label: str, engine_client: Any, engine_image: str) -> Iterator[DockerRunner]:
    """One runner for all attacks, as in a run; at the end nothing of it is in the engine."""
    runner = DockerRunner(base, engine_image)
    yield runner
    kept = ours(engine_client.api, label)
    assert all(one.startswith("volume") and "-data-" in one for one in kept), kept
    runner.clean()
    runner.close()
    assert ours(engine_client.api, label) == []


@pytest.fixture(scope="session")
def made(label: str, engine_client: Any) -> Iterator["Made"]:
    """Which containers the runner made."""
    listening = Made(label)
    yield listening
    listening.close()


@pytest.fixture
def docker_runner(
    walls: DockerRunner, base: Path, label: str, engine_client: Any, foreign: str, made: "Made"
) -> Iterator[DockerRunner]:
    """The walls; whatever the test did, nothing of it is left in the engine or as a process."""
    before = len(made.ids)
    yield walls
    walls.close()
    kept = ours(engine_client.api, label)
    assert [one for one in kept if "-data-" not in one] == []
    assert made.orphans(before) == []
    assert left(base) == []
    assert engine_client.api.inspect_container(foreign)["State"]["Running"]


def left(base: Path) -> list[str]:
    """Files that attempts left on the host."""
    return [path.name for path in base.glob("*") if path.name not in PERMANENT]


class Made:
    """Ids of all containers that are made with a label, as the engine reports them."""

    def __init__(self, label: str) -> None:
        import docker

        self.ids: list[str] = []
        self._client = docker.from_env()
        wanted = {"type": "container", "event": "create", "label": label}
        self._events = self._client.events(decode=True, filters=wanted)
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        for event in self._events:
            self.ids.append(event["id"])

    def orphans(self, first: int) -> list[int]:
        """Living processes of the containers made since the `first`."""
        deadline = time.monotonic() + 10.0
        while len(self.ids) <= first and time.monotonic() < deadline:
            time.sleep(0.05)  # the report is on its way
        assert len(self.ids) > first, "the attack made no container"
        ids = set(self.ids[first:])
        for _ in range(20):
            if not (found := [pid for pid, one in container_processes().items() if one in ids]):
                return []
            time.sleep(0.1)  # the kernel takes a moment to bury them
        return found

    def close(self) -> None:
        self._events.close()
        self._thread.join(5.0)
        self._client.close()
