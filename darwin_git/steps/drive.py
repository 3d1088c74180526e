"""Run many trials at once, each written as if it ran alone.

A trial is a generator that yields calls and is sent their results. The driver runs calls on slots
and hands every result to `keep` in the main thread before the trial goes on: what was measured is
durable first, and only the main thread writes to git.
"""

import signal
import threading
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from darwin_git.errors import DarwinError
from darwin_git.ports import Executor, Slot

R = TypeVar("R")


@dataclass(frozen=True)
class Call:
    """Work, and what makes its result durable.

    ``slots`` takes a share of this machine. ``proposers`` is our own thinking, one at a time.
    ``models`` waits for somebody else's machine: all at once, and an interrupt leaves it behind.
    """

    run: Callable[[Slot], Any]
    keep: Callable[[Any], None] = lambda result: None
    pool: Literal["slots", "proposers", "models"] = "slots"


Steps = Generator[Sequence[Call], list[Any], R]
"""A trial: yields calls, is sent their results in order, returns its outcome."""


Pending = dict[Future[Any], tuple[str, int, Call]]
"""What runs: the trial's name, the call's place in its yield, the call."""


@dataclass
class _Trial:
    steps: Steps[Any]
    results: list[Any]
    waiting: int = 0


def drive(
    trials: Mapping[str, Steps[R]],
    executor: Executor,
    tell: Callable[[int], None] = lambda running: None,
) -> dict[str, R]:
    """Drive all trials to their ends; outcomes by name, in the order of `trials`.

    Our own proposals run one after another in the order of `trials`, so that each knows the ideas
    drawn before it and a plan repeats itself; models are asked all at once. On an exception,
    KeyboardInterrupt included, calls that have ended are still kept; the rest is the executor's to
    cancel. Only a DarwinError, such as an engine that is gone, waits for what runs: a training on
    another slot may be hours old.

    Args:
        tell: told how many calls are waited for after a DarwinError.
    """
    outcomes: dict[str, R] = {}
    pending: Pending = {}
    proposers = ThreadPoolExecutor(max_workers=1, thread_name_prefix="propose")
    nobody = Slot(number=-1, cpus=())
    running: dict[str, _Trial] = {}

    def submit(name: str, calls: Sequence[Call]) -> None:
        trial = running[name]
        trial.results, trial.waiting = [None] * len(calls), len(calls)
        for index, call in enumerate(calls):
            if call.pool == "slots":
                future = executor.submit(call.run)
            elif call.pool == "proposers":
                future = proposers.submit(call.run, nobody)
            else:
                future = _aside(call.run, nobody)
            pending[future] = name, index, call

    def advance(name: str, results: list[Any] | None) -> None:
        """Send results until the trial waits for a call, or ends."""
        trial = running[name]
        try:
            while True:
                calls = trial.steps.send(results) if results is not None else next(trial.steps)
                if calls:
                    submit(name, calls)
                    return
                results = []
        except StopIteration as stop:
            outcomes[name] = stop.value
            del running[name]

    def keep(future: Future[Any]) -> None:
        name, index, _ = pending[future]
        result = future.result()
        _keep_once(future, pending)
        trial = running[name]
        trial.results[index] = result
        trial.waiting -= 1
        if trial.waiting == 0:
            advance(name, trial.results)

    try:
        for name, steps in trials.items():
            running[name] = _Trial(steps, [])
            advance(name, None)
        while pending:
            done, _ = wait(pending, return_when=FIRST_COMPLETED)
            for future in sorted(done, key=lambda f: pending[f][:2]):
                keep(future)
    except DarwinError:
        _await_what_runs(pending, tell)
        raise
    except BaseException:
        _keep_what_ended(pending)
        raise
    finally:
        proposers.shutdown(wait=False, cancel_futures=True)
    return {name: outcomes[name] for name in trials}


def _aside(call: Callable[[Slot], Any], slot: Slot) -> Future[Any]:
    """Run a call on a thread that no exit waits for: an answer may take minutes."""
    future: Future[Any] = Future()

    def run() -> None:
        try:
            future.set_result(call(slot))
        except BaseException as error:  # handed to the main thread, as executors do
            future.set_exception(error)

    future.set_running_or_notify_cancel()
    threading.Thread(target=run, name="model", daemon=True).start()
    return future


def _await_what_runs(pending: Pending, tell: Callable[[int], None]) -> None:
    """Drop what waits for a slot, keep what runs on one; an interrupt leaves the rest."""
    running = [future for future in pending if not (future.cancel() or future.done())]
    try:
        if running:
            tell(len(running))
            wait(running)
    finally:
        _keep_what_ended(pending)


def _keep_what_ended(pending: Pending) -> None:
    for future in list(pending):
        if future.done() and not future.cancelled() and future.exception() is None:
            _keep_once(future, pending)


def _keep_once(future: Future[Any], pending: Pending) -> None:
    """Keep a result and forget the future: a second record of one training would look like two.

    Where `keep` fails it is not tried again: it may have failed after the record was durable.
    """
    with _uninterrupted():
        try:
            pending[future][2].keep(future.result())
        finally:
            del pending[future]


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Ctrl-C and SIGTERM wait until the block has ended."""
    if threading.current_thread() is not threading.main_thread():
        yield  # signals are handled in the main thread only
        return
    came: list[int] = []
    before = {
        number: signal.signal(number, lambda number, frame: came.append(number))
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if came:
            signal.raise_signal(came[0])
