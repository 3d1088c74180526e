"""What of this clone stands in the engine: named, removed in the background, reaped."""

import hashlib
import os
import secrets
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

from darwin_git.errors import DarwinError
from darwin_git.sandbox import container
from darwin_git.sandbox.engine import faults

VOLUME_TRIES = 20


def clone_id(base: Path) -> str:
    """Name of this clone on this machine, 16 hex digits; a copied repository has another one."""
    base.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = base / "clone"
    if not path.exists():  # at once with its content: another process may look, a kill may come
        draft = base / f"clone.{secrets.token_hex(8)}"
        draft.write_text(secrets.token_hex(16))
        with suppress(FileExistsError):
            os.link(draft, path)
        draft.unlink()
    machine = ""
    with suppress(OSError):
        machine = Path("/etc/machine-id").read_text()
    if not machine.strip():  # as in containers, which may share an engine
        machine = os.uname().nodename
    parts = (path.read_text(), str(base.resolve()), machine)
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def remove_container(api: Any, name: str) -> None:
    """Kill and remove with its anonymous volumes; one that is gone or going is fine."""
    import docker.errors

    try:
        api.remove_container(name, force=True, v=True)
    except docker.errors.NotFound:
        pass
    except docker.errors.APIError as error:
        if error.status_code != 409 or "in progress" not in str(error):
            raise


def remove_volume(api: Any, name: str) -> None:
    """Remove a volume; one that is gone is fine.

    An engine before Docker 25 that was restarted under running containers counts their mounts for
    ever: what it will not remove now is empty, and goes with the next `reap` after its restart.
    """
    import docker.errors

    for left in reversed(range(VOLUME_TRIES)):
        try:
            api.remove_volume(name, force=True)
            return
        except docker.errors.NotFound:
            return
        except docker.errors.APIError as error:
            if "active mounts" in str(error):
                return
            # a container that has it is just being removed by somebody else
            if error.status_code != 409 or not left:
                raise
            time.sleep(0.1)


class Removals:
    """Removes in the background: nobody waits for it but `wait`."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(4, thread_name_prefix="darwin-remove")
        self._pending: set[Future[None]] = set()

    def add(self, removal: Callable[[], None]) -> None:
        """Queue one; what the engine cannot do now is left to `reap`."""
        future = self._pool.submit(_quietly, removal)
        self._pending.add(future)
        future.add_done_callback(self._pending.discard)

    def wait(self) -> None:
        """Until all that was queued is done."""
        for future in list(self._pending):
            future.result()


def _quietly(removal: Callable[[], None]) -> None:
    with suppress(*faults(), DarwinError):
        removal()


def containers(api: Any, clone: str) -> list[dict[str, Any]]:
    """All of this clone's, also those that never started."""
    found: list[dict[str, Any]] = api.containers(
        all=True, filters={"label": f"{container.CLONE}={clone}"}
    )
    return found


def volumes(api: Any, clone: str) -> list[dict[str, Any]]:
    """All of this clone's."""
    found = api.volumes(filters={"label": f"{container.CLONE}={clone}"})
    return list(found["Volumes"] or [])
