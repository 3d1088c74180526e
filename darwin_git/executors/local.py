"""This machine as an executor: a thread per slot, each call alone on its slot."""

import os
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

from darwin_git.ports import Slot

T = TypeVar("T")


def usable_cpus() -> tuple[int, ...]:
    """The CPU numbers that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return tuple(sorted(os.sched_getaffinity(0)))
    return tuple(range(os.cpu_count() or 1))  # macOS has no affinity


def plan_slots(
    cpus: Sequence[int] | None = None,
    gpus: Sequence[str] = (),
    threads_per_slot: int = 1,
    most: int | None = None,
) -> tuple[Slot, ...]:
    """One slot per GPU, or per `threads_per_slot` cores where there is none; at least one.

    Args:
        cpus: CPU numbers, by default those this process may use.
        gpus: ids as CUDA_VISIBLE_DEVICES takes them; the cores are dealt out evenly.
        threads_per_slot: cores per slot without GPUs.
        most: at most this many slots.
    """
    usable = tuple(usable_cpus() if cpus is None else cpus)
    if gpus:
        chosen = tuple(gpus)[:most]
        share = max(1, len(usable) // len(chosen))
        # With fewer cores than GPUs the last slots share the last core: not exclusive.
        dealt = [usable[n * share : (n + 1) * share] or usable[-1:] for n in range(len(chosen))]
        exclusive = len(usable) >= len(chosen)
        return tuple(
            Slot(number, part, gpu, exclusive)
            for number, (part, gpu) in enumerate(zip(dealt, chosen, strict=True))
        )
    size = max(1, min(threads_per_slot, len(usable)))
    count = max(1, len(usable) // size)
    if most is not None:
        count = max(1, min(count, most))
    return tuple(Slot(n, usable[n * size : (n + 1) * size]) for n in range(count))


class LocalExecutor:
    """An Executor over threads: the work is done by processes or containers that they wait for.

    Args:
        slots: what may run at once.
        on_cancel: called by ``close(cancel=True)`` so that running commands die at once; the
            runner's ``cancel`` belongs here.
    """

    def __init__(self, slots: Sequence[Slot], on_cancel: Sequence[Callable[[], None]] = ()) -> None:
        if not slots:
            raise ValueError("an executor needs a slot")
        self._count = len(slots)
        self._slots = tuple(slots)
        self._busy: set[int] = set()
        self._held: Counter[int] = Counter()
        self._cancelled = False
        self._changed = threading.Condition()
        self._on_cancel = tuple(on_cancel)
        self._pool = ThreadPoolExecutor(self._count, thread_name_prefix="slot")

    @property
    def slots(self) -> int:
        """How many calls run at once."""
        return self._count

    def submit(self, call: Callable[[Slot], T]) -> Future[T]:
        """Queue a call; it is given the slot it runs on, alone for as long as it runs."""
        return self._pool.submit(self._on_a_slot, call)

    @contextmanager
    def hold(self, gpu: str | None) -> Iterator[None]:
        """Keep a GPU's slots empty: wait for what runs there, let nothing start; None holds none.

        Several may hold one GPU at once.
        """
        mine = {slot.number for slot in self._slots if gpu is not None and slot.gpu == gpu}
        with self._changed:
            self._held.update(mine)  # at once: else the next training would always be faster
            self._changed.wait_for(lambda: self._cancelled or not mine & self._busy)
        try:
            if self._cancelled and mine:
                raise CancelledError  # nobody waits for the answer any more
            yield
        finally:
            with self._changed:
                self._held.subtract(mine)
                self._held = +self._held  # who is held by nobody is forgotten
                self._changed.notify_all()

    def close(self, *, cancel: bool) -> None:
        """Wait for what runs, or cancel: queued calls dropped, running commands killed."""
        if cancel:
            self._pool.shutdown(wait=False, cancel_futures=True)
            with self._changed:
                self._cancelled = True
                self._changed.notify_all()
            for kill in self._on_cancel:
                kill()
        self._pool.shutdown(wait=True, cancel_futures=cancel)

    def _on_a_slot(self, call: Callable[[Slot], T]) -> T:
        slot = self._take()
        try:
            return call(slot)
        finally:
            with self._changed:
                self._busy.remove(slot.number)
                self._changed.notify_all()

    def _take(self) -> Slot:
        """The first free slot; as many slots as threads, so only a held one is waited for."""
        with self._changed:
            while True:
                for slot in self._slots:
                    if slot.number not in self._busy | self._held.keys():
                        self._busy.add(slot.number)
                        return slot
                if self._cancelled:
                    raise CancelledError
                self._changed.wait()
