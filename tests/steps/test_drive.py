"""The driver: results are durable before a trial goes on, also when something breaks."""

import os
import signal
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from darwin_git.executors.local import LocalExecutor, plan_slots
from darwin_git.steps.drive import Call, Steps, drive


def numbers(kept: list[int], *values: int) -> Steps[int]:
    total = 0
    for value in values:
        results = yield [Call(lambda slot, v=value: v, kept.append)]
        assert results[0] in kept, "kept before the trial goes on"
        total += results[0]
    return total


@pytest.fixture
def executor() -> Any:
    made = LocalExecutor(plan_slots(cpus=(0, 1)))
    yield made
    made.close(cancel=True)


def test_many_trials_run_at_once_and_outcomes_keep_their_order(executor: Any) -> None:
    kept: list[int] = []
    trials = {f"t{n}": numbers(kept, n, n + 1, n + 2) for n in range(10)}
    outcomes = drive(trials, executor)
    assert list(outcomes) == [f"t{n}" for n in range(10)]
    assert outcomes == {f"t{n}": 3 * n + 3 for n in range(10)}
    assert len(kept) == 30


def test_calls_of_one_yield_run_together_and_return_in_order(executor: Any) -> None:
    meet = threading.Barrier(2, timeout=10)

    def both() -> Steps[list[str]]:
        def one(name: str, wait: float) -> Call:
            def run(slot: object) -> str:
                meet.wait()
                time.sleep(wait)
                return name

            return Call(run)

        return (yield [one("slow", 0.1), one("fast", 0.0)])

    assert drive({"t": both()}, executor)["t"] == ["slow", "fast"]


def test_a_trial_may_ask_for_nothing(executor: Any) -> None:
    def idle() -> Steps[str]:
        results: Sequence[Any] = yield []
        return f"{len(results)} results"

    assert drive({"t": idle()}, executor) == {"t": "0 results"}


def test_an_error_flies_and_what_ended_is_kept(executor: Any) -> None:
    kept: list[str] = []
    started = threading.Event()

    def good() -> Steps[None]:
        def run(slot: object) -> str:
            started.set()
            return "good"

        yield [Call(run, kept.append)]

    def bad() -> Steps[None]:
        def run(slot: object) -> None:
            started.wait(10)
            time.sleep(0.1)
            raise ValueError("a bug")

        yield [Call(run)]

    with pytest.raises(ValueError, match="a bug"):
        drive({"bad": bad(), "good": good()}, executor)
    assert kept == ["good"]
    with pytest.raises(ValueError, match="a bug"):
        drive({"again": bad()}, executor)


def test_proposals_run_in_order_and_never_block_slots(executor: Any) -> None:
    order: list[str] = []

    def propose(name: str) -> Steps[None]:
        yield [Call(lambda slot: order.append(name), pool="proposers")]

    drive({name: propose(name) for name in "abcdef"}, executor)
    assert order == list("abcdef")


@pytest.mark.parametrize("when", ["before", "after"])
def test_ctrl_c_while_a_result_is_kept_keeps_it_once(executor: Any, when: str) -> None:
    kept: list[str] = []

    def keep(result: str) -> None:
        if when == "before":
            os.kill(os.getpid(), signal.SIGINT)
        kept.append(result)
        os.kill(os.getpid(), signal.SIGINT)

    def one(name: str, keep: Callable[[str], None]) -> Steps[None]:
        yield [Call(lambda slot: name, keep)]
        raise AssertionError("it went on after Ctrl-C")

    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        drive({"a": one("a", keep)}, executor)
    assert kept == ["a"]
    assert signal.getsignal(signal.SIGINT) is handler


def test_ctrl_c_between_two_results_keeps_both_once(executor: Any) -> None:
    kept: list[str] = []
    both = threading.Barrier(2, timeout=10)

    def waits(name: str) -> Steps[None]:
        def run(slot: object) -> str:
            both.wait()
            return name

        def keep(result: str) -> None:
            if not kept:
                time.sleep(0.2)  # the other one has ended, too
                os.kill(os.getpid(), signal.SIGINT)
            kept.append(result)

        yield [Call(run, keep)]

    with pytest.raises(KeyboardInterrupt):
        drive({"a": waits("a"), "b": waits("b")}, executor)
    assert sorted(kept) == ["a", "b"]


def test_a_result_whose_record_failed_is_not_recorded_again(executor: Any) -> None:
    tried: list[str] = []

    def keep(result: str) -> None:
        tried.append(result)
        raise BrokenPipeError

    def one() -> Steps[None]:
        yield [Call(lambda slot: "one", keep)]

    with pytest.raises(BrokenPipeError):
        drive({"a": one()}, executor)
    assert tried == ["one"]
