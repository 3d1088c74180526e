"""One command in its container, with a keeper beside it: started, followed, ended."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

from darwin_git.ports import Limits
from darwin_git.sandbox import container
from darwin_git.sandbox.attach import Attached
from darwin_git.sandbox.engine import Engine, faults
from darwin_git.sandbox.heard import (
    FLOOD_BYTES,
    Cause,
    Ended,
    Heard,
    infra,
    read_log,
    timestamp,
    verdict,
)
from darwin_git.sandbox.leftovers import remove_container, remove_volume
from darwin_git.sandbox.parcel import Parcel

LOOK_SECONDS = 15.0
"""How often the engine is asked though its stream is silent and open."""


class Job:
    """Names of one command's containers and volume, and what is heard of it.

    Args:
        stem: of the names; they serve as ids.
        kept: it has a keeper and an out volume.
        sharing: the keeper is process 1 of the command's PID namespace.
    """

    def __init__(self, engine: Engine, stem: str, *, kept: bool, sharing: bool) -> None:
        self._engine = engine
        self.name, self.keeper, self.volume = f"{stem}-job", f"{stem}-keeper", f"{stem}-out"
        self.kept, self.sharing = kept, sharing
        self.attached: Attached | None = None
        self.cancelled = False
        self.lost = False
        """The engine went away for a while, or the job is another tool's: it may have."""
        self._news = threading.Event()
        self._over = threading.Event()
        self._over_at = 0.0
        self._thread: threading.Thread | None = None

    def create(
        self, job: dict[str, Any], keeper: dict[str, Any] | None, volume: dict[str, Any] | None
    ) -> None:
        """Make all of it and start the keeper; raises what the engine raises."""
        api = self._engine.api
        if not keeper or not volume:
            api.create_container_from_config(job, self.name)
            return
        api.create_volume(volume["Name"], volume["Driver"], volume["DriverOpts"], volume["Labels"])

        # the engine wants to know the keeper when it is named as the PID namespace's owner
        api.create_container_from_config(keeper, self.keeper)
        with ThreadPoolExecutor(1) as beside:  # each takes a tenth of a second
            started = beside.submit(api.start, self.keeper)
            try:
                api.create_container_from_config(job, self.name)
            finally:
                started.result()

    def start(self, parcel: Parcel) -> None:
        """Start it and hand in what it needs; raises what the engine raises."""
        self.attached = Attached.to(self._engine.api, self.name)
        self._engine.api.start(self.name)
        # Where it ends before it has read everything, it says why.
        with suppress(OSError):
            self.attached.send(parcel.framed())

    def kill(self) -> None:
        """SIGKILL to everything of it; raises what the engine raises, but where it is dead."""
        import docker.errors

        try:
            self._engine.api.kill(self.name)
        except docker.errors.APIError as error:
            if error.status_code not in (404, 409):
                raise

    def cancel(self) -> None:
        """Kill it from another thread."""
        self.cancelled = True
        self._news.set()
        try:
            self.kill()
        except faults():  # an engine that hangs: whoever reads or writes must not
            if self.attached:
                self.attached.hang_up()

    def state(self, patience: float) -> dict[str, Any]:
        """The engine's view at the end, or after `patience` seconds; raises what it raises."""
        return self._awaited(time.monotonic() + patience)

    def silence(self) -> None:
        """Nobody of it writes any more; for the moment before its files are read."""
        if self.sharing:
            with suppress(*faults()):
                self._engine.api.kill(self.keeper, "SIGUSR1")

    def let_go(self) -> None:
        """Leave it to itself, its keeper, and whoever adopts it."""
        if self.attached:
            self.attached.close()

    def remove(self) -> None:
        """Remove all of it; raises what the engine raises."""
        self.let_go()
        api = self._engine.api
        remove_container(api, self.name)
        if self.kept:
            remove_container(api, self.keeper)
            remove_volume(api, self.volume)

    # --- to the end --------------------------------------------------------------------------

    def follow(self, limits: Limits) -> Ended:
        """Read its streams until it ends, or end it."""
        assert self.attached
        heard, sent = Heard(limits.log_bytes), time.monotonic()
        self._thread = threading.Thread(target=self._listen, args=(heard,), daemon=True)
        self._thread.start()
        cause: Cause | None = None
        look = sent + LOOK_SECONDS
        try:
            while not self._over.is_set():
                now = time.monotonic()
                began = heard.began
                deadline = (
                    sent + container.GRACE_SECONDS if began is None else began
                ) + limits.wall_seconds
                if cause is None:
                    if now >= deadline:
                        cause = "deadline"
                    elif heard.bytes > FLOOD_BYTES:
                        cause = "output"
                    if cause or self.cancelled:
                        self.kill()
                        cause = cause or "infra"
                        look = now + 1.0
                elif now > look:
                    break
                if now >= look:
                    look = now + LOOK_SECONDS
                    if not self._state()["Running"]:
                        break
                self._news.wait(max(0.0, min(deadline, look) - now) if cause is None else 0.2)
                self._news.clear()
        except faults():
            return self._lost(sent + limits.wall_seconds, limits, heard)
        began = heard.began
        deadline = (sent if began is None else began) + limits.wall_seconds
        return self._ended(cause, deadline, limits, heard)

    def _listen(self, heard: Heard) -> None:
        assert self.attached
        try:
            while piece := self.attached.read():
                stream, data = piece
                began = heard.began
                heard.feed(stream, bytes(data), time.monotonic())
                if heard.began != began or heard.bytes > FLOOD_BYTES:
                    self._news.set()
        except (OSError, ValueError):
            pass  # the connection is lost: whoever waits finds out what that means
        finally:
            self._over_at = time.monotonic()
            self._over.set()
            self._news.set()

    def _ended(self, cause: Cause | None, deadline: float, limits: Limits, heard: Heard) -> Ended:
        """The stream has ended: the container has, or soon will, or the engine is gone."""
        try:
            state = self._awaited(deadline)
            if state["Running"] and not (cause or self.cancelled) and time.monotonic() < deadline:
                # it closed its streams, or they broke: the engine's log knows the rest
                self.lost = True
                return self._lost(deadline, limits, heard, lost=False)
            while state["Running"]:
                if self.cancelled or time.monotonic() >= deadline:
                    cause = cause or ("infra" if self.cancelled else "deadline")
                    self.kill()
                state = self._awaited(deadline)
            if not cause and self._fell(state):
                return infra("the engine ended it")
        except faults():
            return self._lost(deadline, limits, heard)
        ended_at = time.monotonic()
        if 0 < ended_at - self._over_at < 1.0:
            ended_at = self._over_at  # the engine takes a moment to see it
        if self._thread:
            self._thread.join(5.0)
        seconds = max(0.0, ended_at - heard.began) if heard.began else 0.0
        return verdict(cause, state, seconds, heard, cancelled=self.cancelled)

    def _awaited(self, deadline: float) -> dict[str, Any]:
        """The state at the end, or at the deadline, or a moment later."""
        left = min(10.0, max(0.5, deadline - time.monotonic()))
        with suppress(*faults()):  # a timeout looks like a lost engine: the state tells them apart
            self._engine.api.wait(self.name, timeout=left)
        return self._state()

    def adopt(self, limits: Limits) -> Ended | None:
        """Await what another tool started; None where its command never started.

        The deadline is the one it was started with.
        """
        from docker.errors import NotFound

        try:
            labels = self._engine.api.inspect_container(self.name)["Config"]["Labels"]
        except NotFound:
            return None  # it was listed a moment ago, and was being removed
        left = float(labels[container.DEADLINE]) - time.time()
        self.lost = True
        ended = self._lost(time.monotonic() + left, limits, Heard(limits.log_bytes), lost=False)
        return None if ended.cause == "infra" and not self.cancelled else ended

    def _lost(self, deadline: float, limits: Limits, heard: Heard, *, lost: bool = True) -> Ended:
        """Nothing is heard any more: ask from time to time, read the engine's log at the end."""
        if self.attached:
            self.attached.hang_up()
        if self._thread:
            self._thread.join(5.0)
        cause: Cause | None = None
        give_up = max(deadline, time.monotonic()) + 2 * container.GRACE_SECONDS
        try:
            while True:
                if self.cancelled:
                    return infra("cancelled")
                try:
                    state = self._awaited(min(deadline, time.monotonic() + 2.0))
                    if not state["Running"]:
                        break
                    if time.monotonic() >= deadline:
                        cause = "deadline"
                        self.kill()
                    if time.monotonic() >= give_up:
                        return infra("the engine cannot end it")
                except faults() as error:
                    if _is_gone(error):
                        return infra("its container is gone from the engine")
                    if time.monotonic() >= give_up:
                        return infra(self._engine.explain(error).message)
                    self.lost = lost = True
                    if not self._engine.await_back(lambda: self.cancelled):
                        return infra(self._engine.explain(error).message)
                    time.sleep(0.2)  # it may answer, and refuse this again and again
            written = Heard(limits.log_bytes)
            read_log(self._engine.api, self.name, written)
            finished = timestamp(state["FinishedAt"])
            began = written.began or finished
            if not written.whole and heard.whole:
                # a rotated log; what was heard is by another clock
                written, began = heard, timestamp(state["StartedAt"])
            elif not written.whole and written.began is not None:
                return infra("the engine's log has lost its beginning")
            seconds = max(0.0, finished - began)
            if (lost and state["ExitCode"] != 0) or (not cause and self._fell(state)):
                return infra("the engine was lost while it ran")
            if not cause and seconds >= limits.wall_seconds:
                cause = "deadline"  # the keeper's, where it was killed
            return verdict(cause, state, seconds, written, cancelled=self.cancelled)
        except faults() as error:
            return infra(self._engine.explain(error).message)

    def _fell(self, state: dict[str, Any]) -> bool:
        """It ended badly, and so did its keeper, which no command can touch: not its own doing."""
        if state["ExitCode"] == 0 or not self.kept:
            return False
        return not self._engine.api.inspect_container(self.keeper)["State"]["Running"]

    def _state(self) -> dict[str, Any]:
        state: dict[str, Any] = self._engine.api.inspect_container(self.name)["State"]
        return state


def _is_gone(error: Exception) -> bool:
    return getattr(getattr(error, "response", None), "status_code", None) == 404
