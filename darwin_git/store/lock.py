"""The session lock: one command at a time writes; the message says who holds it, since when."""

import contextlib
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

from darwin_git.errors import DarwinError
from darwin_git.store.git import Git


@contextlib.contextmanager
def session_lock(git: Git, command: str, wait_s: float) -> Iterator[None]:
    """Hold ``<common dir>/darwin/lock``. A dead holder's lock is free: the kernel drops it.

    Raises:
        DarwinError: somebody else holds it for longer than `wait_s` seconds.
    """
    from filelock import FileLock, Timeout  # 44 ms, and readers need no lock

    path = git.private_dir / "lock"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(path, thread_local=False)
        lock.acquire(timeout=max(wait_s, 0), poll_interval=0.05)
    except Timeout:
        raise DarwinError(
            f"another darwin-git command works in this repository: {_holder(path)}",
            hint="wait for it (--wait SECONDS), or end it; an interrupted step is resumed",
        ) from None
    except PermissionError as error:
        raise DarwinError(
            f"{path.parent} cannot be written", hint="give yourself write permission on it"
        ) from error
    holder = _holder_file(path)
    try:
        holder.write_text(
            json.dumps({"pid": os.getpid(), "command": command, "since": int(time.time())})
        )
        yield
    finally:
        holder.unlink(missing_ok=True)
        lock.release()


def _holder_file(path: Path) -> Path:
    return path.with_name("lock.json")


def _holder(path: Path) -> str:
    try:
        info = json.loads(_holder_file(path).read_text())
        since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(info["since"]))
        return f"“{info['command']}”, process {info['pid']}, since {since}"
    except (OSError, ValueError, KeyError, TypeError):
        return "it did not say which"
