"""The container runner: every command behind a wall that holds against hostile code.

Only the engine's API is used, so that it may run on another machine: inputs enter over standard
input, data folders through volumes, and what a command left is copied out after its death.
"""

import threading
import time
from collections.abc import Collection, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

from darwin_git.errors import DarwinError
from darwin_git.ports import Command, DialogueEnded, Finished, Machine, Slot
from darwin_git.sandbox import attempt as attempts
from darwin_git.sandbox import birth, container, hardware, harvest, leftovers, parcel, reaper
from darwin_git.sandbox.attempt import Attempt, Occupied
from darwin_git.sandbox.engine import PATIENCE_SECONDS, Engine, faults
from darwin_git.sandbox.heard import Ended, infra
from darwin_git.sandbox.job import Job
from darwin_git.sandbox.premises import Premises, is_our_disk
from darwin_git.sandbox.shelf import Shelf, not_run
from darwin_git.sandbox.talk import ContainerDialogue

CACHE_BYTES = 256 << 20
IN_FLIGHT_SECONDS = 0.5
"""An engine may still create what a dead tool asked for."""


class DockerRunner:
    """Runs commands in containers of this clone.

    Args:
        base: folder for attempts, private to this clone.
        image: name or id of the training image.
        engine: the engine's address; empty for DOCKER_HOST, else the usual socket.
        runtime: of the containers; empty for the engine's default.
        patience: seconds that a lost engine is awaited where a command is under way.

    Every method but `close` and `cancel` raises DarwinError with the cure where the engine or its
    image is not to be had; what goes wrong while a command is under way is its cause ``infra``.
    """

    kind = "docker"

    def __init__(
        self,
        base: Path,
        image: str,
        *,
        engine: str = "",
        runtime: str = "",
        patience: float = PATIENCE_SECONDS,
    ) -> None:
        self._base = base
        self._engine = Engine(engine, patience=patience)
        self._premises = Premises(self._engine, base, image, runtime)
        self._shelf = Shelf(base)
        self._removals = leftovers.Removals()
        self._running: set[Job] = set()
        self._guard = threading.Lock()
        self._cancelled = False
        self._reaped: frozenset[str] | None = None

    # --- what it is ----------------------------------------------------------------------------

    def environment(self) -> Mapping[str, str]:
        """The image's content address and the runtime."""
        return {"image": self._premises.image().id, "runtime": self._premises.runtime_name()}

    def machine(self, *, gpus: bool) -> Machine:
        """The engine's; raises DarwinError where `gpus` are asked for and there are none."""
        image = self._premises.image()
        attempt = Attempt.claim(self._base, "", 0)  # so that reap finds what a kill leaves
        labels = self._premises.labels(attempt.name, "probe")
        try:
            return hardware.of(self._engine, image, labels, self._premises.runtime, gpus=gpus)
        finally:
            attempt.discard()

    @property
    def engine(self) -> Engine:
        """The connection."""
        return self._engine

    # --- commands --------------------------------------------------------------------------------

    def run(self, command: Command, slot: Slot) -> Finished:
        """Run to the end or to the deadline; what a dead owner ran under the key is taken over."""
        try:
            with self._shelf.attempt(command) as attempt:
                known = self._shelf.known(command, attempt)
                return known or self._run(command, slot, attempt)
        except (OSError, Occupied) as error:
            return not_run(error)

    @contextmanager
    def converse(self, command: Command, slot: Slot) -> Iterator[ContainerDialogue]:
        """Start a command and talk to it; leaving the context kills it."""
        image = self._premises.image()
        try:
            attempt = Attempt.claim(self._base, "", command.limits.output_bytes)
        except OSError as error:
            raise DialogueEnded("infra") from error
        try:
            with _our_disk_is_infra():
                job = self._created(command, slot, attempt, image, talk=True)
            try:
                with self._registered(job), self._dialogue(job, command) as dialogue:
                    yield dialogue
            finally:
                self._removals.add(job.remove)
        finally:
            attempt.discard()

    @contextmanager
    def _dialogue(self, job: Job, command: Command) -> Iterator[ContainerDialogue]:
        if job.cancelled:
            raise DialogueEnded("infra")
        with _our_disk_is_infra(), self._premises.refusals():
            job.start(self._parcel(command))
        if job.cancelled:
            raise DialogueEnded("infra")
        dialogue = ContainerDialogue(job, command.limits)
        try:
            yield dialogue
        finally:
            dialogue.end()

    def cancel(self) -> None:
        """Kill everything that runs and start nothing more; for LocalExecutor's on_cancel."""
        self._cancelled = True
        self._engine.hurry()
        with self._guard:
            jobs = list(self._running)
        if jobs:
            with ThreadPoolExecutor(min(16, len(jobs))) as pool:
                list(pool.map(Job.cancel, jobs))

    def reap(self, scored: Collection[str] = ()) -> int:
        """Remove what dead owners left, but for what can still be taken; others' stays.

        What an owner asked for at the moment of its death may appear a little later: where there
        was a dead one, it is looked for twice here and once more by `close`.
        """
        gone, spared = self._reap_once(scored)
        if gone:
            time.sleep(IN_FLIGHT_SECONDS)
            late, spared = self._reap_once(scored)
            gone |= late
            self._reaped = frozenset(scored)
        self._premises.forget_caches()
        return len(gone - spared)

    def _reap_once(self, scored: Collection[str]) -> tuple[set[str], set[str]]:
        try:
            gone, spared = reaper.reap(self._engine.api, self._premises.clone(), self._base, scored)
        except faults() as error:
            raise self._engine.explain(error) from error
        return gone | set(attempts.reap(self._base, scored)), spared

    def clean(self) -> int:
        """Remove cached data volumes and compile caches; how many. Nothing may run."""
        self._premises.data().forget()
        try:
            count = reaper.clean(self._engine.api, self._premises.clone())
        except faults() as error:
            raise self._engine.explain(error) from error
        return count + self._premises.forget_caches(older_than=0.0)

    def close(self) -> None:
        """Wait until everything that ended is removed, give up the connection."""
        self._removals.wait()
        if self._reaped is not None:
            with suppress(DarwinError):  # an engine that is gone by now has nothing of ours
                self._reap_once(self._reaped)
            self._reaped = None
        self._engine.close()

    # --- parts of a run --------------------------------------------------------------------------

    def _run(self, command: Command, slot: Slot, attempt: Attempt) -> Finished:
        image = self._premises.image()
        job, ended = self._adopted(command, attempt) if command.key else (None, None)
        if job is None or ended is None:
            job, ended = self._fresh(command, slot, attempt, image)
        try:
            finished = self._taken(job, ended, command, image, attempt)
            if finished.cause != "infra":
                job.lost = False  # all that was wanted of it is here
            self._shelf.keep(command, attempt, finished)  # before the containers go
        finally:
            self._dismiss(job, command)
        return finished

    def _adopted(self, command: Command, attempt: Attempt) -> tuple[Job | None, Ended | None]:
        """What a dead owner left running, or run, under the same key."""
        with self._premises.refusals():
            stem = reaper.adoptable(self._engine.api, self._premises.clone(), attempt.name)
            if stem is None:
                reaper.remove(self._engine.api, self._premises.clone(), attempt.name)
                return None, None
        job = Job(self._engine, stem, kept=True, sharing=self._premises.shares())
        with self._registered(job), self._premises.refusals():
            attempt.empty()
            ended = job.adopt(command.limits)
            if ended is None:
                job.remove()
        return job, ended

    def _fresh(
        self, command: Command, slot: Slot, attempt: Attempt, image: container.Image
    ) -> tuple[Job, Ended]:
        attempt.empty()
        job = self._created(command, slot, attempt, image, talk=False)
        try:
            with self._registered(job):
                if job.cancelled:
                    return job, infra("cancelled")
                with self._premises.refusals():
                    job.start(self._parcel(command))
                return job, job.follow(command.limits)
        except BaseException:
            self._removals.add(job.remove)
            raise

    def _created(
        self,
        command: Command,
        slot: Slot,
        attempt: Attempt,
        image: container.Image,
        *,
        talk: bool,
    ) -> Job:
        """Containers and volume of a command, nothing of it started but the keeper."""
        theirs = self._premises.image(command.image)
        stem, sharing = birth.stem(command.label), self._premises.shares() and not talk
        job = Job(self._engine, stem, kept=not talk, sharing=sharing)
        fill = self._premises.labels(attempt.name, "fill")
        try:
            with self._premises.refusals():
                data = [self._premises.data().of(one, image, fill) for one in command.data.values()]
                birth.create(
                    job,
                    command,
                    slot,
                    theirs,
                    image,
                    self._parcel(command),
                    data,
                    lambda role: self._premises.labels(attempt.name, role),
                    runtime=self._premises.runtime,
                    podman=self._engine.podman,
                )
        except BaseException:
            self._removals.add(job.remove)
            raise
        return job

    def _taken(
        self, job: Job, ended: Ended, command: Command, image: container.Image, attempt: Attempt
    ) -> Finished:
        """Copy what was asked for to the host; the containers may go then."""
        try:
            if ended.cause != "infra":
                harvest.collect(self._engine, image, job, command, attempt.folder / "out")
            if command.cache and command.fills_cache and ended.exit_code == 0:
                target = self._premises.cache(command.cache)
                folder = f"{container.OUT}/.cache"
                harvest.fetch_folder(self._engine.api, job.keeper, folder, CACHE_BYTES, target)
        except faults() as error:
            job.lost = True  # it was paid for: the next try may fetch it
            ours = is_our_disk(error)
            ended = infra(str(error) if ours else self._engine.explain(error).message)
        return Finished(
            ended.cause,
            ended.exit_code,
            ended.seconds,
            ended.lines,
            ended.errors,
            attempt.outputs(),
        )

    def _parcel(self, command: Command) -> parcel.Parcel:
        cache = self._premises.cache(command.cache) if command.cache else None
        return parcel.pack(command, cache if cache and cache.exists() else None)

    # --- bookkeeping -----------------------------------------------------------------------------

    @contextmanager
    def _registered(self, job: Job) -> Iterator[None]:
        self._remember(job)
        try:
            yield
        finally:
            self._forget(job)

    def _dismiss(self, job: Job, command: Command) -> None:
        """Its containers may go; those that a lost engine may still hold are adopted later."""
        if command.key and job.lost and not job.cancelled:
            job.let_go()
        else:
            self._removals.add(job.remove)

    def _remember(self, job: Job) -> None:
        with self._guard:
            self._running.add(job)
        job.cancelled = job.cancelled or self._cancelled

    def _forget(self, job: Job) -> None:
        with self._guard:
            self._running.discard(job)


@contextmanager
def _our_disk_is_infra() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise DialogueEnded("infra") from error
