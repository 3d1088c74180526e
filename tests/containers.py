"""Container engines for tests: the real one of this machine, and one that a test may kill.

Where no engine or image is to be had these fixtures skip; with DARWIN_TEST_ENGINE=1 (CI) they fail
instead. Container tests may run in parallel workers: they look at what carries their own labels
only. Whatever asks for `second_engine` runs in one worker, since it is one engine.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

import pytest

IMAGE = os.environ.get("DARWIN_TEST_IMAGE", "darwin-git/train:latest")
LABEL = "darwin-git.role"
"""On every container and volume of ours."""
START_SECONDS = 60.0


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """One worker for the second engine."""
    for item in items:
        if "second_engine" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.xdist_group("second_engine"))


def lacking(what: str) -> NoReturn:
    """Skip, or fail where an engine was promised."""
    if os.environ.get("DARWIN_TEST_ENGINE") == "1":
        pytest.fail(f"DARWIN_TEST_ENGINE=1, but {what}")
    pytest.skip(what)


def leftovers(client: Any, label: str = LABEL) -> list[str]:
    """Containers and volumes that carry a label (``key`` or ``key=value``), images never."""
    wanted = {"label": label}
    containers = client.api.containers(all=True, filters=wanted)
    volumes = client.api.volumes(filters=wanted)["Volumes"] or []
    found = [f"container {one['Names'][0]} {one['State']}" for one in containers]
    return found + [f"volume {one['Name']}" for one in volumes]


@pytest.fixture(scope="session")
def engine_client() -> Iterator[Any]:
    """A docker SDK client of the machine's own engine."""
    import docker
    from docker.errors import DockerException

    try:
        client = docker.from_env()
    except DockerException as error:
        lacking(f"no container engine answers ({error})")
    try:
        client.ping()
    except (DockerException, OSError) as error:
        client.close()
        lacking(f"no container engine answers ({error})")
    yield client
    client.close()


@pytest.fixture(scope="session")
def engine_image(engine_client: Any) -> str:
    """Name of a ready training image (torch, numpy)."""
    from docker.errors import ImageNotFound

    try:
        engine_client.images.get(IMAGE)
    except ImageNotFound:
        lacking(f"the engine has no image {IMAGE}: `darwin-git image build` makes it")
    return IMAGE


@pytest.fixture(scope="session")
def engine_network(engine_client: Any) -> None:
    """Skips where the engine has no default network: where it may not touch iptables (.ci/run)."""
    if not any(one["Driver"] == "bridge" for one in engine_client.api.networks()):
        pytest.skip("this engine was started without a network for containers")


class Engine:
    """A dockerd of its own: folder, socket and containerd are shared with nobody.

    No bridge, no iptables: containers need ``network_mode="none"`` or ``"host"``. It has a network
    namespace of its own: an engine that starts without a bridge deletes the machine's docker0.
    """

    def __init__(self, folder: Path, *, live_restore: bool = False) -> None:
        self.folder = folder
        self.address = f"unix://{folder}/engine.sock"
        self.live_restore = live_restore
        self._process: subprocess.Popen[bytes] | None = None
        self._log = folder / "dockerd.log"

    @property
    def pid(self) -> int:
        """Process id of the running dockerd."""
        assert self._process is not None
        return self._process.pid

    def client(self, **options: Any) -> Any:
        """A new docker SDK client; close it."""
        import docker

        return docker.DockerClient(base_url=self.address, **options)

    def start(self) -> None:
        """Start and wait until it answers; nothing where it runs."""
        if self._process is not None and self._process.poll() is None:
            return
        # A killed dockerd leaves its containerd, which the next one would take over: as on a
        # machine where containerd is a service.
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [
                    *("unshare", "--net", "--"),
                    "dockerd",
                    f"--data-root={self.folder}/data",
                    f"--exec-root={self.folder}/exec",
                    f"--pidfile={self.folder}/pid",
                    f"--host={self.address}",
                    f"--containerd={self._containerd()}",
                    "--bridge=none",
                    "--iptables=false",
                    "--ip6tables=false",
                    *(["--live-restore"] if self.live_restore else []),
                ],
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        deadline = time.monotonic() + START_SECONDS
        while not self._answers():
            gone = self._process.poll() is not None
            if gone or time.monotonic() > deadline:
                pytest.fail(f"the second dockerd does not start:\n{self._log.read_text()[-3000:]}")
            time.sleep(0.1)

    def stop(self) -> None:
        """SIGTERM, and wait: containers end too, unless with live_restore."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL: dockerd is gone at once, its containers run on."""
        self._end(signal.SIGKILL)
        (self.folder / "pid").unlink(missing_ok=True)

    def freeze(self) -> None:
        """SIGSTOP: it takes connections and never answers."""
        os.kill(self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """Go on after `freeze`."""
        os.kill(self.pid, signal.SIGCONT)

    def load(self, image: str, client: Any) -> None:
        """Copy an image from another engine under its name; nothing where it is here already."""
        from docker.errors import ImageNotFound

        mine = self.client(timeout=600)
        try:
            with contextlib.suppress(ImageNotFound):
                mine.images.get(image)
                return
            for _ in mine.api.load_image(client.api.get_image(image)):
                pass
        finally:
            mine.close()

    def clear(self) -> None:
        """Start it where it is down, and remove all containers and volumes."""
        from docker.errors import APIError

        with contextlib.suppress(ProcessLookupError, AssertionError):
            self.thaw()
        self.start()
        client = self.client()
        try:
            for one in client.api.containers(all=True, quiet=True):
                with contextlib.suppress(APIError):
                    client.api.remove_container(one["Id"], force=True, v=True)
            try:
                self._remove_volumes(client)
            except APIError:  # "active mounts": miscounted by a live-restore before Docker 25
                self.stop()
                self.start()
                self._remove_volumes(client)
        finally:
            client.close()

    def _remove_volumes(self, client: Any) -> None:
        for one in client.api.volumes()["Volumes"] or []:
            client.api.remove_volume(one["Name"], force=True)

    def remove(self) -> None:
        """End everything and delete the folder."""
        self.clear()
        self.stop()
        self._stop_containerd()
        mounts = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
        for mount in reversed([one for one in mounts if one.startswith(f"{self.folder}/")]):
            subprocess.run(["umount", "-l", mount], check=False)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _answers(self) -> bool:
        from docker.errors import DockerException

        try:
            client = self.client(timeout=2)
        except DockerException:
            return False
        try:
            return bool(client.ping())
        except (DockerException, OSError):
            return False
        finally:
            client.close()

    def _end(self, number: signal.Signals) -> None:
        if self._process is None or self._process.poll() is not None:
            return
        self._process.send_signal(number)
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(10)

    def _containerd(self) -> Path:
        """Socket of a containerd of our own, started where it lacks."""
        socket = self.folder / "containerd" / "containerd.sock"
        if socket.exists():
            return socket
        socket.parent.mkdir(exist_ok=True)
        settings = socket.parent / "config.toml"
        settings.write_text(
            f'version = 2\nroot = "{socket.parent}/root"\nstate = "{socket.parent}/state"\n'
            f'disabled_plugins = ["io.containerd.grpc.v1.cri"]\n[grpc]\naddress = "{socket}"\n'
        )
        with self._log.open("ab") as log:
            self._beside = subprocess.Popen(
                ["containerd", "--config", settings],
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        deadline = time.monotonic() + START_SECONDS
        while not socket.exists():
            if self._beside.poll() is not None or time.monotonic() > deadline:
                pytest.fail(f"containerd does not start:\n{self._log.read_text()[-3000:]}")
            time.sleep(0.05)
        return socket

    def _stop_containerd(self) -> None:
        beside = getattr(self, "_beside", None)
        if beside is None:
            return
        beside.terminate()
        try:
            beside.wait(20)
        except subprocess.TimeoutExpired:
            beside.kill()
            beside.wait(10)


@contextlib.contextmanager
def own_engine(*, live_restore: bool = False, disk_bytes: int = 0) -> Iterator[Engine]:
    """A second engine, running; everything of it is gone afterwards.

    Args:
        disk_bytes: size of its disk, which then lies in memory; 0: this machine's.
    """
    for program in ("dockerd", "containerd", "unshare"):
        if shutil.which(program) is None:
            lacking(f"{program} is not installed")
    if os.geteuid() != 0:
        lacking("only root can start an engine")
    # A socket's path is at most 108 bytes long: pytest's folders are too deep.
    folder = Path(tempfile.mkdtemp(prefix="darwin-engine-"))
    engine = Engine(folder, live_restore=live_restore)
    if disk_bytes:
        (folder / "data").mkdir()
        size = f"size={disk_bytes}"
        subprocess.run(["mount", "-t", "tmpfs", "-o", size, "none", folder / "data"], check=True)
    try:
        engine.start()
        yield engine
    finally:
        engine.remove()


@pytest.fixture(scope="session")
def _engine_of_our_own() -> Iterator[Engine]:
    with own_engine(live_restore=True) as engine:
        yield engine


@pytest.fixture
def second_engine(_engine_of_our_own: Engine) -> Iterator[Engine]:
    """An engine to stop, kill and freeze; running, without containers and volumes at the start.

    `load` brings images, which stay for the tests after. Containers survive `stop` and `kill`
    (live-restore), as on a machine whose daemon is upgraded.
    """
    _engine_of_our_own.clear()
    yield _engine_of_our_own
    _engine_of_our_own.clear()
