"""What dead owners of this clone left in the engine: adopted or removed, never somebody else's."""

import time
from collections.abc import Collection
from pathlib import Path
from typing import Any

from darwin_git.sandbox import container
from darwin_git.sandbox.attempt import owned
from darwin_git.sandbox.leftovers import containers, remove_container, remove_volume, volumes

PAUSES = (0.2, 0.5, 1.0, 3.0)
"""Seconds before a volume that is in use is tried again."""
CONFLICT = 409
KEPT_ROLES = frozenset({"data"})


def adoptable(api: Any, clone: str, attempt: str) -> str | None:
    """Stem of the names of a job that runs or has run while its keeper lives; None: there is none.

    Whoever asks owns the attempt.
    """
    by_role: dict[str, list[dict[str, Any]]] = {}
    for one in containers(api, clone):
        if one["Labels"].get(container.ATTEMPT) == attempt:
            by_role.setdefault(one["Labels"].get(container.ROLE, ""), []).append(one)
    jobs, keepers = by_role.get("job", []), by_role.get("keeper", [])
    if len(jobs) != 1 or len(keepers) != 1:
        return None
    alive = ("running", "paused")  # a person may pause one, or a snapshot of the machine
    if jobs[0]["State"] not in (*alive, "exited") or keepers[0]["State"] not in alive:
        return None
    return _name(jobs[0]).removesuffix("-job")


def remove(api: Any, clone: str, attempt: str) -> None:
    """Remove everything of an attempt that the caller owns.

    The engine may still be making a container for an owner that is dead: its volume is in use then,
    and both are looked for again.
    """
    from docker.errors import APIError

    for pause in (0.0, *PAUSES):
        time.sleep(pause)
        for one in containers(api, clone):
            if one["Labels"].get(container.ATTEMPT) == attempt:
                remove_container(api, one["Id"])
        try:
            for one in volumes(api, clone):
                if one["Labels"].get(container.ATTEMPT) == attempt:
                    remove_volume(api, one["Name"])
            return
        except APIError as error:
            if error.status_code != CONFLICT or pause == PAUSES[-1]:
                raise


def reap(api: Any, clone: str, base: Path, scored: Collection[str]) -> tuple[set[str], set[str]]:
    """Remove what no living process owns and no later run will adopt.

    Args:
        base: folder of the attempts; their locks say who lives.
        scored: keys whose results nobody will take any more.

    Returns:
        Names of the attempts that were removed, and of those that can be adopted.
    """
    names = {
        labels[container.ATTEMPT]
        for one in (*containers(api, clone), *volumes(api, clone))
        if container.ATTEMPT in (labels := one["Labels"] or {})
    }
    removed, spared = set(), set()
    for name in sorted(names):
        with owned(base, name) as ours:
            if not ours:
                continue
            # what ended well lies on the host already, and its containers may go
            saved = (base / f"{name}.json").exists()
            wanted = name.startswith("k-") and name.removeprefix("k-") not in scored and not saved
            if wanted and adoptable(api, clone, name) is not None:
                spared.add(name)
            else:
                remove(api, clone, name)
                removed.add(name)
    return removed, spared


def clean(api: Any, clone: str) -> int:
    """Remove the volumes with cached data; how many."""
    count = 0
    for one in volumes(api, clone):
        if (one["Labels"] or {}).get(container.ROLE) in KEPT_ROLES:
            remove_volume(api, one["Name"])
            count += 1
    return count


def _name(one: dict[str, Any]) -> str:
    return str(one["Names"][0]).lstrip("/")
