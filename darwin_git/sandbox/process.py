"""The runner without a container engine: a process with limits, for code that we wrote ourselves.

It keeps a training within its share of the machine and leaves nothing behind. It does not keep a
malicious one from reading the person's files or using the network, so it refuses what is not
trusted (design: who is trusted).
"""

import contextlib
import json
import os
import selectors
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import Literal

from darwin_git.domain.quoting import hidden
from darwin_git.errors import DarwinError
from darwin_git.ports import Command, DialogueEnded, Finished, Machine, Slot
from darwin_git.sandbox.attempt import Attempt, Occupied, reap
from darwin_git.sandbox.caches import Caches
from darwin_git.sandbox.dialogue import ProcessDialogue, close
from darwin_git.sandbox.family import MARKER, Family
from darwin_git.sandbox.log import Lines, Tail
from darwin_git.sandbox.machine import this_machine
from darwin_git.sandbox.shelf import Shelf, not_run
from darwin_git.sandbox.watch import Cause, Watch

WALL = Path(__file__).with_name("wall.py")
POLL_SECONDS = 0.05
ERROR_BYTES = 1 << 14
FREE_BYTES = 1 << 20
"""With less free than this a command that fails is not to blame."""
PIPE_READS = 16
"""Of 64 KiB each: no pipe holds more than a megabyte."""


class NotStarted(Exception):
    """The command never ran: our fault, not its."""


class ProcessRunner:
    """Runs commands as processes of this user.

    Args:
        base: folder for attempts, private to this clone.
        allow_unsandboxed: run also what is not trusted; the person said so in darwin.toml.
    """

    kind = "process"

    def __init__(self, base: Path, *, allow_unsandboxed: bool = False) -> None:
        self._base = base
        self._allow = allow_unsandboxed
        self._running: set[Family] = set()
        self._shelf = Shelf(base)
        self._caches = Caches(base)
        self._guard = threading.Lock()
        self._cancelled = False

    def environment(self) -> Mapping[str, str]:
        """Versions of python, torch and numpy."""
        version = ".".join(map(str, sys.version_info[:3]))
        return {"python": version, **{name: _version(name) for name in ("torch", "numpy")}}

    def machine(self, *, gpus: bool) -> Machine:
        """This one."""
        return this_machine(gpus=gpus)

    def run(self, command: Command, slot: Slot) -> Finished:
        """Run to the end or to the deadline; a kept result of the same key is taken instead."""
        self._check(command)
        try:
            with self._shelf.attempt(command) as attempt:
                if known := self._shelf.known(command, attempt):
                    return known
                attempt.build(command)
                if command.cache:
                    self._caches.lend(command.cache, attempt.folder / "cache")
                finished = self._run(command, slot, attempt)
                if command.fills_cache and finished.exit_code == 0:
                    self._caches.take(command.cache, attempt.folder / "cache")
                self._shelf.keep(command, attempt, finished)
                return finished
        except (OSError, Occupied, NotStarted) as error:
            return not_run(error)

    @contextmanager
    def converse(self, command: Command, slot: Slot) -> Iterator["ProcessDialogue"]:
        """Start a command and talk to it; leaving the context kills it."""
        self._check(command)
        try:
            attempt = Attempt.claim(self._base, "", command.limits.output_bytes)
        except OSError as error:
            raise DialogueEnded("infra") from error
        try:
            try:
                attempt.build(command)
                process, family = self._start(command, slot, attempt, talking=True)
            except (OSError, NotStarted) as error:
                raise DialogueEnded("infra") from error
            watch = Watch(family, command.limits, attempt.folder, time.monotonic())
            dialogue = ProcessDialogue(process, family, watch, lambda: self._cancelled)
            try:
                yield dialogue
            finally:
                dialogue.end()
                self._forget(family)
        finally:
            attempt.discard()

    def cancel(self) -> None:
        """Kill everything that runs and start nothing more; for LocalExecutor's on_cancel."""
        self._cancelled = True
        with self._guard:
            families = list(self._running)
        for family in families:
            family.kill()

    def reap(self, scored: Collection[str] = ()) -> int:
        """Remove what dead owners left, but for results that can still be taken."""
        self._caches.reap()
        return len(reap(self._base, scored))

    def close(self) -> None:
        """Nothing to do: each command removes what it made."""

    def _check(self, command: Command) -> None:
        if not command.trusted and not self._allow:
            raise DarwinError(
                f"{command.label} was not written by this clone's own catalogue, and the process "
                "runner has no wall that holds against foreign code",
                hint='containers have one: sandbox.runner = "docker" in darwin.toml; if you trust '
                "everyone who wrote it, set sandbox.allow_unsandboxed = true",
            )

    def _run(self, command: Command, slot: Slot, attempt: Attempt) -> Finished:
        process, family = self._start(command, slot, attempt, talking=False)
        began = time.monotonic()
        watch = Watch(family, command.limits, attempt.folder, began)
        lines, errors = Lines(command.limits.log_bytes), Tail(ERROR_BYTES)
        try:
            cause = self._pump(process, watch, lines, errors, began)
            seconds = time.monotonic() - began
        finally:
            family.kill()
            process.wait()
            self._forget(family)
        _drain(process, lines, errors, seconds)
        ended: Literal["exit", "deadline", "memory", "output", "processes", "infra"]
        # What ended well just before it would have been killed was paid for.
        broken = self._cancelled and process.returncode != 0
        # What a training says is kept in notes, which others fetch: where it ran is left out.
        here = f"{attempt.folder}/"
        text = "cancelled" if broken else hidden(errors.finish().replace(here, ""))
        if process.returncode != 0 and shutil.disk_usage(self._base).free < FREE_BYTES:
            broken, text = True, "the disk is full"
        ended = "infra" if broken else cause or "exit"
        code = None if broken else process.returncode
        said = tuple(
            replace(line, text=line.text.replace(here, "")) if here in line.text else line
            for line in lines.finish(seconds)
        )
        return Finished(ended, code, seconds, said, text, attempt.outputs())

    def _start(
        self, command: Command, slot: Slot, attempt: Attempt, *, talking: bool
    ) -> tuple[subprocess.Popen[bytes], Family]:
        if self._cancelled:
            raise NotStarted("cancelled")
        argv = [_place(word) for word in command.argv]
        read_end, write_end = os.pipe()
        spec = {
            "parent": os.getpid(),
            "report": write_end,
            "cpus": list(slot.cpus),
            "file_bytes": command.limits.output_bytes,
        }
        try:
            process = subprocess.Popen(
                [sys.executable, "-I", "-S", str(WALL), json.dumps(spec), *argv],
                cwd=attempt.folder / "genome",
                env=_environment(command, attempt, slot),
                stdin=subprocess.PIPE if talking else subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL if talking else subprocess.PIPE,
                pass_fds=(write_end,),
                start_new_session=True,
                bufsize=0,
            )
        finally:
            os.close(write_end)
        family = Family(process.pid, attempt.marker)
        with self._guard:
            self._running.add(family)
        with os.fdopen(read_end, "rb") as report:
            fault = report.read(1000)  # ends when the command has started
        if fault or self._cancelled:
            family.kill()
            process.communicate()
            self._forget(family)
            raise NotStarted(fault.decode("utf-8", "replace") or "cancelled")
        return process, family

    def _pump(
        self,
        process: subprocess.Popen[bytes],
        watch: Watch,
        lines: Lines,
        errors: Tail,
        began: float,
    ) -> Cause | None:
        """Read both streams until the leader ends or the watch says why it must."""
        assert process.stdout and process.stderr
        with selectors.DefaultSelector() as selector:
            selector.register(process.stdout, selectors.EVENT_READ, lines)
            selector.register(process.stderr, selectors.EVENT_READ, errors)
            while process.poll() is None:
                if cause := watch.check():
                    return cause
                if not selector.get_map():  # both closed: it ends, or runs on in silence
                    with contextlib.suppress(subprocess.TimeoutExpired):
                        process.wait(POLL_SECONDS)
                    continue
                for key, _ in selector.select(POLL_SECONDS):
                    data = os.read(key.fd, 1 << 16)
                    if not data:
                        selector.unregister(key.fileobj)
                    elif key.data is lines:
                        lines.feed(data, time.monotonic() - began)
                    else:
                        errors.feed(data)
        return None

    def _forget(self, family: Family) -> None:
        with self._guard:
            self._running.discard(family)


def _place(word: str) -> str:
    # Relative to the checkout: nanoGPT's configurator takes an argument with "=" in its path for
    # a setting, so that no absolute path of the person's may stand here.
    for name, path in (("genome", "."), ("tools", "../tools"), ("out", "../out")):
        word = word.replace(f"{{{name}}}", path)
    return word.replace("{python}", sys.executable)


def _environment(command: Command, attempt: Attempt, slot: Slot) -> dict[str, str]:
    """What the command sees of the world: nothing of the person's but PATH."""
    threads = str(max(1, len(slot.cpus)))
    cache = str(attempt.folder / "cache")
    compiled = {
        "TORCHINDUCTOR_CACHE_DIR": f"{cache}/inductor",
        "TRITON_CACHE_DIR": f"{cache}/triton",
    }
    return {
        **(compiled if command.cache else {}),
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": str(attempt.folder / "home"),
        "TMPDIR": str(attempt.folder / "tmp"),
        "LANG": "C.UTF-8",
        "OMP_NUM_THREADS": threads,
        "MKL_NUM_THREADS": threads,
        "OPENBLAS_NUM_THREADS": threads,
        "CUDA_DEVICE_ORDER": "PCI_BUS_ID",  # as nvidia-smi counts
        "CUDA_VISIBLE_DEVICES": slot.gpu or "",
        "PYTHONHASHSEED": "0",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONUNBUFFERED": "1",
        "PYTHONNOUSERSITE": "1",
        MARKER: attempt.marker,
    }


def _drain(process: subprocess.Popen[bytes], lines: Lines, errors: Tail, seconds: float) -> None:
    """What still stands in the pipes of a dead command; nobody who holds them open is awaited."""
    assert process.stdout and process.stderr
    for stream, feed in (
        (process.stdout, lambda data: lines.feed(data, seconds)),
        (process.stderr, errors.feed),
    ):
        os.set_blocking(stream.fileno(), False)
        try:
            for _ in range(PIPE_READS):
                feed(os.read(stream.fileno(), 1 << 16))
        except BlockingIOError:
            pass
        close(stream)


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "missing"
