"""From a command to its containers: everything is made, nothing of the command's runs yet."""

import re
import secrets
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from darwin_git.ports import Command, Slot
from darwin_git.sandbox import container, parcel
from darwin_git.sandbox.job import Job

BOOT = Path(__file__).with_name("boot.py")
_UNNAMEABLE = re.compile(r"[^A-Za-z0-9_.-]+")


def stem(label: str) -> str:
    """Of the names of a command's containers and volume; never the same twice."""
    readable = _UNNAMEABLE.sub("-", label)[:40].strip("-._") or "job"
    return f"darwin-{readable}-{secrets.token_hex(6)}"


def create(
    job: Job,
    command: Command,
    slot: Slot,
    image: container.Image,
    ours: container.Image,
    goods: parcel.Parcel,
    data: list[str],
    labels: Callable[[str], Mapping[str, str]],
    *,
    runtime: str,
    podman: bool,
) -> None:
    """Make a job's containers and volume; raises what the engine raises.

    Args:
        image: what the command sees.
        ours: what its keeper runs on.
        goods: what will be handed in.
        data: volumes, in the order of command.data.
        labels: by role.
    """
    limits = command.limits
    talk = not job.kept
    cpu_seconds = None
    if not job.sharing:  # the backup for a dead owner, where no keeper can kill
        cpu_seconds = limits.wall_seconds * max(1, len(slot.cpus)) + container.GRACE_SECONDS
    spec = container.boot_spec(
        command, slot, image, parcel.links(command), talk=talk, cpu_seconds=cpu_seconds
    )
    deadline = {container.DEADLINE: str(int(time.time() + limits.wall_seconds))}
    described = container.job(
        image,
        BOOT.read_text(encoding="utf-8"),
        spec,
        slot,
        limits,
        {**labels("job"), **deadline},
        input_bytes=goods.content_bytes,
        input_files=goods.files,
        largest_input=goods.largest,
        data=data,
        out="" if talk else job.volume,
        keeper=job.keeper if job.sharing else "",
        runtime=runtime,
        network=command.network,
    )
    keeper: dict[str, Any] | None = None
    volume: dict[str, Any] | None = None
    if job.kept:
        keeper = container.keeper(ours, job.volume, limits.wall_seconds, labels("keeper"), runtime)
        volume = container.out_volume(job.volume, limits, labels("out"), podman=podman)
    job.create(described, keeper, volume)
