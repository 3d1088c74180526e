"""One `git update-ref --stdin` that stays: each transaction moves all of its references or none.

All or none holds against refusals, not against a kill: a killed child leaves `.lock` files and
perhaps half of its references moved. So each child writes into a journal which references it is
about to lock (`journal.py`). Once it is dead, exactly those locks are stale (`stale.py`); moving
the rest is `transition.py`'s matter.
"""

import contextlib
import os
import re
import subprocess
import tempfile
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import IO

from darwin_git.domain import names
from darwin_git.errors import DarwinError
from darwin_git.store import stale
from darwin_git.store.catfile import end
from darwin_git.store.children import Child, child
from darwin_git.store.git import Git, GitFailed
from darwin_git.store.journal import Journal

ZERO = "0" * 40
_OID = re.compile(r"[0-9a-f]{40}")
_NOT_WRITABLE = ("No space left", "quota exceeded", "Permission denied", "Read-only file system")
_REF = re.compile(r"[A-Za-z0-9._/-]+")


@dataclass(frozen=True)
class RefUpdate:
    """Move a reference from `old` to `new`.

    ``old`` None: it must not exist yet. ``new`` None: delete it. Both equal: only check that it
    stands there.
    """

    ref: str
    old: str | None
    new: str | None

    def command(self) -> str:
        """The line for `update-ref --stdin`."""
        if not names.is_ours(self.ref) or _REF.fullmatch(self.ref) is None:
            raise ValueError(f"not a reference of darwin-git: {self.ref!r}")
        for oid in (self.old, self.new):
            if oid is not None and (_OID.fullmatch(oid) is None or oid == ZERO):
                raise ValueError(f"not an object id: {oid!r}")
        if self.old == self.new:
            return f"verify {self.ref} {self.old or ZERO}"
        if self.new is None:
            return f"delete {self.ref} {self.old}"
        return f"update {self.ref} {self.new} {self.old or ZERO}"


class RefConflict(DarwinError):
    """A reference did not stand where the caller saw it, or is locked; nothing was moved."""

    def __init__(self, ref: str, detail: str) -> None:
        super().__init__(
            f"{ref} was changed by somebody else: {detail}",
            hint="run the command again; if a .lock file is named, no git process may be running",
        )
        self.ref = ref
        self.detail = detail


class HalfDone(DarwinError):
    """The child died while it committed: some references moved, perhaps all. An intent mends it."""

    def __init__(self, detail: str) -> None:
        super().__init__(
            f"git stopped while it moved references: {detail or 'it was killed'}",
            hint="run the command again: it finishes what was begun",
        )


class UpdateRef:
    """Transactions through one persistent child. Safe among threads."""

    def __init__(self, git: Git) -> None:
        self._git = git
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._owner = 0
        self._errors: IO[bytes] | None = None
        self._journal: Journal | None = None
        self._child: Child | None = None

    def child(self) -> Child:
        """The child that the next transaction runs in; the intent records it."""
        with self._lock:
            self._pipes()
            assert self._child is not None
            return self._child

    def transact(self, updates: Sequence[RefUpdate]) -> None:
        """Move all or none.

        Raises:
            RefConflict: refused, nothing moved; it names the reference.
            HalfDone: the child was killed after everything was prepared.
        """
        commands = [update.command() for update in updates]
        if not commands:
            return
        text = "\n".join(["start", *commands, "prepare", "commit", ""]).encode()
        with self._lock:
            try:
                answers = self._talk(text, updates)
            except BaseException:
                self._drop()
                raise
            if answers == [b"start: ok", b"prepare: ok", b"commit: ok"]:
                assert self._journal is not None
                self._journal.close_entry()
                return
            error = self._drop()
            # Killed alone (out of memory), while we live: what it locked is free at once.
            if not error and b"prepare: ok" not in answers:
                stale.release(self._git, [update.ref for update in updates], packed=False)
        self._raise(answers, error, updates)

    def close(self) -> None:
        """End the child; its journal goes with it."""
        with self._lock:
            self._drop()

    def _talk(self, text: bytes, updates: Sequence[RefUpdate]) -> list[bytes]:
        stdin, stdout = self._pipes()
        assert self._journal is not None
        self._journal.open_entry(
            [update.ref for update in updates], deletes=any(u.new is None for u in updates)
        )
        with contextlib.suppress(BrokenPipeError):  # refused half-way: the answer says why
            stdin.write(text)
            stdin.flush()
        answers = []
        for _ in range(3):
            line = stdout.readline()
            if not line:
                break
            answers.append(line.strip())
        return answers

    def _raise(self, answers: list[bytes], error: str, updates: Sequence[RefUpdate]) -> None:
        if b"prepare: ok" in answers:
            raise HalfDone(error)
        if not error.startswith("fatal:"):
            raise GitFailed(["update-ref", "--stdin"], 128, error.encode())
        # Longest first: "…/a2-on-a1" must not be named for "…/a2-on-a1.2".
        by_length = sorted((update.ref for update in updates), key=len, reverse=True)
        suspects = (*by_length, "packed-refs")
        ref = next((ref for ref in suspects if ref in error), updates[0].ref)
        if any(reason in error for reason in _NOT_WRITABLE):
            raise DarwinError(
                f"git cannot write {ref}: {error.removeprefix('fatal:').strip()}",
                hint="free disk space, or give yourself write permission on the .git folder",
            )
        raise RefConflict(ref, error.removeprefix("fatal:").strip())

    def _pipes(self) -> tuple[IO[bytes], IO[bytes]]:
        process = self._process
        if process is None or self._owner != os.getpid() or process.poll() is not None:
            self._drop()
            self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - as long as the child
            process = subprocess.Popen(
                self._git.argv("update-ref", "--no-deref", "--stdin"),
                cwd=self._git.git_dir,
                env=self._git.env,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._errors,  # a file, no pipe: nobody has to empty it
                start_new_session=True,  # Ctrl-C reaches Python only, never a transaction
            )
            self._process, self._owner = process, os.getpid()
            self._child = child(process.pid)
            self._journal = Journal(self._git, self._child)
        assert process.stdin is not None and process.stdout is not None
        return process.stdin, process.stdout

    def _drop(self) -> str:
        """End the child, remove its journal if it ended by itself; what it said on stderr."""
        process, self._process = self._process, None
        if process is None:
            return ""
        end(process)
        if self._journal is not None:
            # A killed child's journal stays: it tells of the locks that the child left. After a
            # fork, child and journal are the parent's.
            self._journal.end(keep=process.returncode < 0 or self._owner != os.getpid())
            self._journal = None
        error = ""
        if self._errors is not None:
            self._errors.seek(0)
            error = self._errors.read().decode(errors="replace").strip()
            self._errors.close()
            self._errors = None
        return error
