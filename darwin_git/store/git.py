"""Running git: scrubbed environment, list arguments, no hooks, never the user's index or files."""

import os
import re
import subprocess
from collections.abc import Iterable, Iterator
from functools import cached_property
from pathlib import Path

from darwin_git.errors import DarwinError

MINIMUM = (2, 38)  # merge-tree --write-tree

# What of the caller's GIT_* stays: who commits and when, and where configuration comes from.
# GIT_DIR, GIT_INDEX_FILE, GIT_WORK_TREE … (set in every hook) would send us somewhere else.
_KEPT = re.compile(r"GIT_(AUTHOR_|COMMITTER_|CONFIG_|EXEC_PATH$|CEILING_DIRECTORIES$)")

# Hooks of the user's repository never run for our bookkeeping; the ledger is the log of what moved.
SETTINGS = (
    "core.hooksPath=/dev/null",
    "core.logAllRefUpdates=false",
    "core.warnAmbiguousRefs=false",
    "core.fsmonitor=false",
    "color.ui=false",
    "gc.auto=0",
    "maintenance.auto=false",
)


class GitFailed(Exception):
    """A git command of ours failed in a way nobody expected: a bug, or a broken repository."""

    def __init__(self, args: Iterable[str], code: int, stderr: bytes) -> None:
        self.code = code
        self.stderr = stderr.decode(errors="replace").strip()
        super().__init__(f"git {' '.join(args)}: exit {code}: {self.stderr}")


def scrubbed_environment() -> dict[str, str]:
    """The caller's environment for a git of ours."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("GIT_") or _KEPT.match(name)
    }
    kept.pop("LANGUAGE", None)
    return kept | {
        "LC_ALL": "C",
        "GIT_NO_REPLACE_OBJECTS": "1",  # what is measured is what the commit says
        "GIT_OPTIONAL_LOCKS": "0",
        "GIT_TERMINAL_PROMPT": "0",
    }


def run_git(
    args: Iterable[str],
    *,
    cwd: Path | str,
    env: dict[str, str] | None = None,
    input: bytes | None = None,
    check: bool = True,
) -> "subprocess.CompletedProcess[bytes]":
    """One git process. Raises GitFailed on a non-zero exit if `check`, DarwinError without git."""
    argv = ["git", *(word for setting in SETTINGS for word in ("-c", setting)), *args]
    try:
        done = subprocess.run(
            argv,
            cwd=cwd,
            env=env if env is not None else scrubbed_environment(),
            input=input,
            stdin=subprocess.DEVNULL if input is None else None,
            capture_output=True,
            check=False,
        )
    except FileNotFoundError as error:
        if error.filename not in (None, "git"):
            raise
        raise DarwinError("git is not installed", hint="install git 2.38 or later") from error
    if check and done.returncode != 0:
        raise GitFailed(args, done.returncode, done.stderr)
    return done


def parse_version(text: str) -> tuple[int, int]:
    """(2, 39) of ``git version 2.39.5 (Apple Git-154)``."""
    found = re.search(r"(\d+)\.(\d+)", text)
    return (int(found[1]), int(found[2])) if found else (0, 0)


class Git:
    """One repository's git: where it lies, and how to run a command in it.

    Attributes:
        git_dir: of this work tree (``.git``, or ``.git/worktrees/x``).
        common_dir: shared by all work trees: objects, references, our lock.
        env: the scrubbed environment of every child.
    """

    def __init__(self, git_dir: Path, common_dir: Path) -> None:
        self.git_dir = git_dir
        self.common_dir = common_dir
        self.env = scrubbed_environment()

    @property
    def private_dir(self) -> Path:
        """``<common dir>/darwin``: lock, journals, large corpora. Made on the first write."""
        return self.common_dir / "darwin"

    @cached_property
    def version(self) -> tuple[int, int]:
        """(major, minor)."""
        return parse_version(run_git(["version"], cwd="/", env=self.env).stdout.decode())

    def require_version(self) -> None:
        """Refuse a git that lacks `merge-tree --write-tree`."""
        if self.version < MINIMUM:
            have, need = (".".join(map(str, v)) for v in (self.version, MINIMUM))
            raise DarwinError(f"git {have} is too old", hint=f"install git {need} or later")

    def argv(self, *args: str) -> list[str]:
        """The whole command line, for persistent children."""
        settings = (word for setting in SETTINGS for word in ("-c", setting))
        return ["git", f"--git-dir={self.git_dir}", *settings, *args]

    def run(self, *args: str, input: bytes | None = None, check: bool = True) -> bytes:
        """Standard output of one git command in this repository.

        It runs in the git directory, so no file of a work tree (.gitattributes) has a say.
        """
        return self.call(*args, input=input, check=check).stdout

    def call(
        self, *args: str, input: bytes | None = None, check: bool = True
    ) -> "subprocess.CompletedProcess[bytes]":
        """Like `run`, with the exit code."""
        return run_git(
            [f"--git-dir={self.git_dir}", *args],
            cwd=self.git_dir,
            env=self.env,
            input=input,
            check=check,
        )

    def batch(self, oids: Iterable[str]) -> Iterator[tuple[str, bytes]]:
        """(oid, content) of many objects by `cat-file --batch`, 5 000 at a time."""
        wanted = list(oids)
        for start in range(0, len(wanted), 5000):
            chunk = wanted[start : start + 5000]
            out = self.run(
                "cat-file", "--batch", "--buffer", input=("\n".join(chunk) + "\n").encode()
            )
            at = 0
            for oid in chunk:
                end = out.index(b"\n", at)
                header = out[at:end].split()
                if header[-1] == b"missing":
                    raise GitFailed(["cat-file", "--batch", oid], 1, b"missing object")
                size = int(header[2])
                yield oid, out[end + 1 : end + 1 + size]
                at = end + 2 + size

    def for_each_ref(self, fields: str, *prefixes: str) -> Iterator[list[str]]:
        """`fields` separated by spaces of every reference under the prefixes, one process."""
        out = self.run("for-each-ref", f"--format={fields}", "--", *prefixes)
        for line in out.decode(errors="surrogateescape").splitlines():
            yield line.split(" ")
