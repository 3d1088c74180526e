"""The engine's machine: what there is to share out among slots."""

import os
import secrets
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from darwin_git.errors import DarwinError
from darwin_git.ports import Machine
from darwin_git.sandbox import container
from darwin_git.sandbox.engine import Engine, faults
from darwin_git.sandbox.leftovers import remove_container

PROBE_SECONDS = 120
_CPUINFO = "print(open('/proc/cpuinfo').read(200000))"


def of(
    engine: Engine, image: container.Image, labels: Mapping[str, str], runtime: str, *, gpus: bool
) -> Machine:
    """Ask the engine, and a container where it does not say; raises DarwinError."""
    info = engine.info()
    cpus = tuple(range(int(info["NCPU"])))
    if engine.local and hasattr(os, "sched_getaffinity"):
        # the person may have pinned this tool to some of them
        cpus = tuple(cpu for cpu in cpus if cpu in os.sched_getaffinity(0)) or cpus
        listing = Path("/proc/cpuinfo").read_text(errors="replace")
    else:
        argv = [image.python, "-I", "-S", "-c", _CPUINFO]
        listing = _ask(engine, image, argv, labels, runtime, gpus=False)
    found = _gpus(engine, image, labels, runtime) if gpus else {}
    return Machine(cpus, int(info["MemTotal"]), found, _model(listing, info["Architecture"]))


def _gpus(
    engine: Engine, image: container.Image, labels: Mapping[str, str], runtime: str
) -> dict[str, str]:
    argv = ["nvidia-smi", "--query-gpu=index,name", "--format=csv,noheader"]
    listing = _ask(engine, image, argv, labels, runtime, gpus=True)
    rows = [row.partition(",") for row in listing.splitlines() if "," in row]
    found = {number.strip(): name.strip() for number, _, name in rows}
    if not found:
        raise DarwinError(
            f"the engine at {engine.address} shows no GPU to a container",
            hint='see what `nvidia-smi` says on its machine, or set device = "cpu" under [genome]',
        )
    return found


def _ask(
    engine: Engine,
    image: container.Image,
    argv: list[str],
    labels: Mapping[str, str],
    runtime: str,
    *,
    gpus: bool,
) -> str:
    api, name = engine.api, f"darwin-probe-{secrets.token_hex(6)}"
    try:
        config = container.probe(image, argv, labels, gpus=gpus, runtime=runtime)
        api.create_container_from_config(config, name)
        api.start(name)
        code = api.wait(name, timeout=PROBE_SECONDS)["StatusCode"]
        said: bytes = api.logs(name)
    except faults() as error:
        if gpus and "nvidia-smi" in str(error):
            raise DarwinError(
                f"the engine at {engine.address} hands out no GPU with its tools",
                hint="install the NVIDIA container toolkit on the engine's machine",
            ) from error
        raise engine.explain(error) from error
    finally:
        with suppress(*faults(), DarwinError):
            remove_container(api, name)
    text = said.decode("utf-8", "replace")
    if code != 0:
        raise DarwinError(
            f"a question to the engine's machine failed: {text.strip()[-300:] or code}",
            hint="`darwin-git image check` says what is missing",
        )
    return text


def _model(listing: str, architecture: str) -> str:
    for line in listing.splitlines():
        name, _, value = line.partition(":")
        if name.strip() in ("model name", "Model", "Hardware") and value.strip():
            return value.strip()
    return architecture
