"""Lock files that a killed git child of ours left behind: exactly those, no others."""

import time
from collections.abc import Iterable
from pathlib import Path

from darwin_git.domain import names
from darwin_git.errors import DarwinError
from darwin_git.store import journal
from darwin_git.store.children import is_alive, wait_for_end
from darwin_git.store.git import Git

# packed-refs.lock has no owner's name and may be a `git gc` of the user's: ours is only one that
# does not change for this long (seconds).
PACKED_GRACE = 2.0
# A lock of another container's process, whose life nobody here can see (seconds).
FOREIGN_GRACE = 60.0


def clear(git: Git) -> list[Path]:
    """Remove the locks of transactions that dead children left open; the removed files.

    Raises:
        DarwinError: an orphaned child of ours is still at work after 5 seconds.
    """
    removed: list[Path] = []
    for entry in journal.entries(git):
        if not entry.open:
            if is_alive(entry.child) is False:
                entry.path.unlink(missing_ok=True)
        elif _is_over(entry):
            removed += release(git, entry.refs, packed=entry.deletes)
            entry.path.unlink(missing_ok=True)
    return removed


def release(git: Git, refs: Iterable[str], *, packed: bool) -> list[Path]:
    """Remove the `.lock` files of these references of ours; the child that made them is dead."""
    locks = [git.common_dir / f"{ref}.lock" for ref in refs if names.is_ours(ref)]
    removed = [lock for lock in locks if _unlink(lock)]
    if packed:
        removed += _release_packed(git)
    return removed


def _release_packed(git: Git) -> list[Path]:
    lock = git.common_dir / "packed-refs.lock"
    deadline = time.monotonic() + 2 * PACKED_GRACE + 1
    while lock.exists() and time.monotonic() < deadline:
        try:
            age = time.time() - lock.stat().st_mtime
        except FileNotFoundError:
            break
        if age >= PACKED_GRACE:
            removed = [path for path in (lock, lock.with_suffix(".new")) if _unlink(path)]
            return removed
        time.sleep(min(0.05, PACKED_GRACE))
    return []


def _unlink(path: Path) -> bool:
    try:
        path.unlink()
    except FileNotFoundError:
        return False
    return True


def _is_over(entry: journal.JournalEntry) -> bool:
    """Whether the child of an open journal is dead; a live one of a live parent is left alone."""
    child = entry.child
    alive = is_alive(child)
    if alive is None:
        return time.time() - entry.path.stat().st_mtime > FOREIGN_GRACE
    if not alive:
        return True
    # Either another process of ours is writing a note just now, or its parent was killed and it
    # is about to read end of input: both are over in milliseconds.
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        if not entry.unchanged():
            return False
        if wait_for_end(child, 0.02):
            return True
    raise DarwinError(
        f"git process {child.pid} still holds references of this repository",
        hint=f"wait for it, or end it: kill {child.pid}",
    )
