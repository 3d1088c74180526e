"""The container engine's API: found, connected, its faults in words that a person can act on."""

import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from darwin_git.errors import DarwinError

DEFAULT_SOCKET = "/var/run/docker.sock"
TIMEOUT_SECONDS = 60.0
PING_SECONDS = 5.0
HURRY_SECONDS = 20.0
"""The patience of each call once everything is given up: a removal takes one at most."""
PATIENCE_SECONDS = 30.0
"""How long a lost engine is awaited where a command is under way."""
MIN_API = (1, 40)
"""Device requests; Docker 19.03, Podman 3."""

# What the engine says, what it means, the cure. The first that matches counts.
_SAYINGS: tuple[tuple[str, str, str], ...] = (
    (
        "could not select device driver",
        "the engine cannot hand out a GPU: it has no driver for one",
        "install the NVIDIA container toolkit on the engine's machine, or set device = "
        '"cpu" under [genome]',
    ),
    (
        "nvidia-container-cli",
        "the engine's GPU driver failed",
        "see that `nvidia-smi` works on the engine's machine and that the GPU's number exists",
    ),
    (
        "unresolvable CDI devices",
        "the engine does not know that GPU",
        "run `nvidia-ctk cdi generate` on the engine's machine",
    ),
    (
        "no space left on device",
        "the engine's disk is full",
        "make room: `docker system df` shows what takes it, `darwin-git image clean` drops ours",
    ),
    (
        "exec format error",
        "the image was made for another processor",
        "build it on the engine's own architecture with `darwin-git image build`",
    ),
    (
        "runtime",
        "the engine does not have that runtime",
        "check `runtime` under [sandbox]; `docker info` lists those it has",
    ),
    (
        "executable file not found",
        "the image has no python3",
        "build one with `darwin-git image build`",
    ),
    (
        "CPUs are not available",
        "the engine's machine does not have those CPUs",
        "lower [executor] slots and threads",
    ),
)
_RUNTIMES = ("unknown or invalid runtime", "unknown runtime", "invalid runtime", "default runtime")


def faults() -> tuple[type[Exception], ...]:
    """What a call of the docker SDK raises where the engine cannot or will not."""
    import docker.errors
    import requests
    import urllib3.exceptions

    return (
        docker.errors.DockerException,
        requests.RequestException,
        urllib3.exceptions.HTTPError,
        OSError,
    )


def address(engine: str = "", environment: Mapping[str, str] = os.environ) -> str:
    """Where the engine listens: the setting, DOCKER_HOST, or the first socket that is there."""
    if named := engine or environment.get("DOCKER_HOST", ""):
        return named
    own = environment.get("XDG_RUNTIME_DIR", "")
    sockets = [
        DEFAULT_SOCKET,
        *([f"{own}/docker.sock", f"{own}/podman/podman.sock"] if own else []),
    ]
    return f"unix://{next((one for one in sockets if Path(one).exists()), DEFAULT_SOCKET)}"


class Engine:
    """A connection, made by the first call.

    Args:
        engine: address; empty for DOCKER_HOST, else the usual socket.
        patience: seconds that a lost engine is awaited where a command is under way.
    """

    def __init__(self, engine: str = "", *, patience: float = PATIENCE_SECONDS) -> None:
        self._patience = patience
        self.address = address(engine)
        self._named = bool(engine)
        self._api: Any = None
        self._info: dict[str, Any] | None = None

    @property
    def api(self) -> Any:
        """The SDK's low-level client; raises DarwinError with the cure where none answers."""
        if self._api is None:
            self._api = self._connect()
        return self._api

    def info(self) -> dict[str, Any]:
        """What the engine says of itself, asked once."""
        if self._info is None:
            try:
                self._info = dict(self.api.info())
            except faults() as error:
                raise self.explain(error) from error
        return self._info

    @property
    def local(self) -> bool:
        """The engine's machine is this one, as far as that can be told."""
        return self.address.startswith("unix://") and self.info().get("Name") == os.uname().nodename

    @property
    def podman(self) -> bool:
        """It is Podman behind Docker's API."""
        return "BuildahVersion" in self.info()

    def image(
        self, name: str, cure: str = "make it with `darwin-git image build`"
    ) -> dict[str, Any]:
        """What the engine knows of an image; raises DarwinError where it lacks or does not fit.

        Args:
            cure: what to do where it lacks.
        """
        import docker.errors

        try:
            found: dict[str, Any] = self.api.inspect_image(name)
        except docker.errors.ImageNotFound:
            raise DarwinError(
                f"the engine at {self.address} has no image {name}",
                hint=cure,
            ) from None
        except faults() as error:
            raise self.explain(error) from error
        ours, its = (
            _architecture(one) for one in (self.info()["Architecture"], found["Architecture"])
        )
        if its and ours != its:
            raise DarwinError(
                f"image {name} was made for {its}, the engine at {self.address} runs {ours}",
                hint="build it there with `darwin-git image build`",
            )
        return found

    def await_back(self, given_up: Callable[[], bool] = lambda: False) -> bool:
        """Wait until a lost engine answers again; False: it does not in time, or we gave up."""
        deadline = time.monotonic() + self._patience
        while True:
            if self._answers():
                return True
            if given_up() or time.monotonic() >= deadline:
                return False
            time.sleep(0.2)

    def hurry(self) -> None:
        """Everything is given up: from now on no call waits long for an engine that hangs."""
        if self._api is not None:
            self._api.timeout = HURRY_SECONDS

    def close(self) -> None:
        """Give up the connection; the next call makes a new one."""
        if self._api is not None:
            self._api.close()
            self._api = None

    def explain(self, error: Exception, doing: str = "") -> DarwinError:
        """The person's words for an SDK exception."""
        import docker.errors
        import requests

        said = str(getattr(error, "explanation", None) or error)
        lower = said.lower()
        where = f"the container engine at {self.address}"
        if "permission denied" in lower and not isinstance(error, docker.errors.APIError):
            return DarwinError(
                f"you may not use {where}",
                hint="add yourself to the docker group (that is as good as root), or use rootless "
                "Docker or Podman and name its socket as `engine` under [sandbox]",
            )
        if "sslerror" in type(error).__name__.lower() or "ssl" in lower or "tls" in lower:
            return DarwinError(
                f"{where} and this tool do not agree on TLS: {_short(said)}",
                hint="set DOCKER_TLS_VERIFY=1 and DOCKER_CERT_PATH to the folder with ca.pem, "
                "cert.pem and key.pem",
            )
        if isinstance(error, docker.errors.APIError):
            for saying, means, cure in _SAYINGS:
                if saying == "runtime" and not any(one in lower for one in _RUNTIMES):
                    continue
                if saying.lower() in lower:
                    return DarwinError(f"{means} ({_short(said)})", hint=cure)
            return DarwinError(
                f"{where} refused{f' to {doing}' if doing else ''}: {_short(said)}",
                hint="`darwin-git doctor` checks the engine; `darwin-git image check` the image",
            )
        if isinstance(error, (docker.errors.InvalidArgument, ValueError)) or (
            "invalid" in lower and ("url" in lower or "address" in lower)
        ):
            return self._bad_address(said)
        if "paramiko" in lower:
            return DarwinError(
                f"{where} is reached over ssh, for which a package is missing",
                hint="pip install paramiko, beside darwin-git; or name a tcp:// or unix:// address",
            )
        if "name or service not known" in lower or "failed to resolve" in lower:
            return self._bad_address(said)
        if isinstance(error, requests.Timeout) or "timed out" in lower:
            return DarwinError(
                f"{where} does not answer in time",
                hint="see whether `docker ps` does; restart the engine where it hangs",
            )
        return DarwinError(
            f"{where} does not answer ({_short(_innermost(error))})",
            hint="start it (`systemctl start docker`), or name another as `engine` under "
            "[sandbox] or in DOCKER_HOST",
        )

    def _bad_address(self, said: str) -> DarwinError:
        source = "`engine` under [sandbox]" if self._named else "DOCKER_HOST"
        return DarwinError(
            f"{self.address} is no address of a container engine ({_short(said)})",
            hint=f"correct {source}: unix:///run/docker.sock, tcp://host:2376 or ssh://user@host",
        )

    def _connect(self) -> Any:
        try:
            client = self._client("auto", TIMEOUT_SECONDS)
        except faults() as error:
            raise self.explain(error) from error
        except ValueError as error:
            raise self._bad_address(str(error)) from None
        spoken = client.api_version
        if tuple(int(part) for part in spoken.split(".")[:2]) < MIN_API:
            client.close()
            raise DarwinError(
                f"the engine at {self.address} speaks API {spoken}, and 1.40 is needed",
                hint="update it: Docker 19.03 or Podman 3 and later do",
            )
        return client

    def _client(self, version: str, timeout: float) -> Any:
        import docker
        import docker.utils

        settings = docker.utils.kwargs_from_env()
        if not self.address.startswith(("tcp://", "https://")):
            settings.pop("tls", None)
        settings["base_url"] = self.address
        over_ssh = self.address.startswith("ssh://")
        return docker.APIClient(
            version=version, timeout=timeout, use_ssh_client=over_ssh, **settings
        )

    def _answers(self) -> bool:
        try:
            client = self._client(self.api.api_version, PING_SECONDS)
        except (DarwinError, ValueError):
            return False
        except faults():
            return False
        try:
            return bool(client.ping())
        except faults():
            return False
        finally:
            client.close()


def _architecture(name: str) -> str:
    return {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm"}.get(name, name)


def _innermost(error: BaseException) -> str:
    """What the operating system said; the outer ones only wrap it."""
    inner = next((one for one in error.args if isinstance(one, BaseException)), None)
    inner = inner or error.__cause__ or error.__context__
    while inner is not None:
        error = inner
        nested = next((one for one in error.args if isinstance(one, BaseException)), None)
        inner = nested or error.__cause__ or error.__context__
    return str(error)


def _short(text: str) -> str:
    return " ".join(text.split())[:300]
