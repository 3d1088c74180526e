"""Slots of this machine, each given to one call at a time."""

import threading
import time
from concurrent.futures import CancelledError
from pathlib import Path

import pytest

from darwin_git.executors.local import LocalExecutor, plan_slots, usable_cpus
from darwin_git.ports import Command, File, Limits, Slot
from darwin_git.sandbox.process import ProcessRunner


@pytest.mark.parametrize(
    ("cpus", "gpus", "threads", "most", "expected"),
    [
        ([0, 1, 2, 3], [], 1, None, [((0,), None), ((1,), None), ((2,), None), ((3,), None)]),
        ([0, 1, 2, 3, 4], [], 2, None, [((0, 1), None), ((2, 3), None)]),
        ([7], [], 4, None, [((7,), None)]),
        ([0, 1, 2, 3], ["0", "GPU-b"], 1, None, [((0, 1), "0"), ((2, 3), "GPU-b")]),
        ([0], ["0", "1"], 1, None, [((0,), "0"), ((0,), "1")]),
        ([0, 1, 2], [], 1, 2, [((0,), None), ((1,), None)]),
    ],
)
def test_slots_are_planned(
    cpus: list[int],
    gpus: list[str],
    threads: int,
    most: int | None,
    expected: list[tuple[tuple[int, ...], str | None]],
) -> None:
    slots = plan_slots(cpus, gpus, threads, most)
    assert [(slot.cpus, slot.gpu) for slot in slots] == expected
    assert [slot.number for slot in slots] == list(range(len(slots)))
    assert all(slot.exclusive for slot in slots) == (len(cpus) >= len(gpus))


def test_this_machine_has_a_slot() -> None:
    assert plan_slots()[0].cpus == usable_cpus()[:1]


def test_no_two_calls_share_a_slot() -> None:
    executor = LocalExecutor(plan_slots([0, 1, 2]))
    busy: set[int] = set()
    guard = threading.Lock()

    def call(slot: Slot) -> int:
        with guard:
            assert slot.number not in busy
            busy.add(slot.number)
        time.sleep(0.01)
        with guard:
            busy.remove(slot.number)
        return slot.number

    futures = [executor.submit(call) for _ in range(30)]
    assert {future.result() for future in futures} == {0, 1, 2}
    executor.close(cancel=False)


def test_an_exception_frees_the_slot_and_reaches_the_caller() -> None:
    executor = LocalExecutor(plan_slots([0]))

    def fail(_: Slot) -> None:
        raise RuntimeError("a bug")

    with pytest.raises(RuntimeError, match="a bug"):
        executor.submit(fail).result()
    assert executor.submit(lambda slot: slot.number).result() == 0
    executor.close(cancel=False)


def test_a_held_gpu_is_empty_and_its_neighbour_goes_on() -> None:
    executor = LocalExecutor(plan_slots([0, 1], gpus=("0", "1")))
    running: dict[str | None, int] = {"0": 0, "1": 0}
    during: list[str | None] = []
    guard, holding = threading.Lock(), threading.Event()

    def train(slot: Slot) -> None:
        with guard:
            assert not (holding.is_set() and slot.gpu == "0"), "it trains where a model proposes"
            running[slot.gpu] += 1
            if holding.is_set():
                during.append(slot.gpu)
        time.sleep(0.02)
        with guard:
            running[slot.gpu] -= 1

    futures = [executor.submit(train) for _ in range(60)]
    time.sleep(0.05)
    with executor.hold("0"):
        holding.set()
        assert running["0"] == 0
        time.sleep(0.2)
        holding.clear()
    with executor.hold(None):
        pass
    for future in futures:
        future.result(10)
    assert len(during) >= 3 and set(during) == {"1"}
    executor.close(cancel=False)


def test_cancel_does_not_wait_for_who_holds_the_only_gpu() -> None:
    executor = LocalExecutor(plan_slots([0], gpus=("0",)))
    with executor.hold("0"):
        waiting = executor.submit(lambda slot: slot.gpu)
        time.sleep(0.05)
        began = time.monotonic()
        executor.close(cancel=True)
        assert time.monotonic() - began < 2
    with pytest.raises(CancelledError):
        waiting.result(1)


def test_cancel_kills_running_commands_and_drops_the_queue(tmp_path: Path) -> None:
    runner = ProcessRunner(tmp_path)
    executor = LocalExecutor(plan_slots(most=1), on_cancel=[runner.cancel])
    sleep = Command(
        "sleep",
        True,
        {"main.py": File(b"import time; time.sleep(600)")},
        {},
        ("{python}", "main.py"),
        Limits(600.0, 1 << 30, 1 << 20),
        {},
        {},
    )
    running = executor.submit(lambda slot: runner.run(sleep, slot))
    queued = executor.submit(lambda slot: runner.run(sleep, slot))
    time.sleep(0.5)
    began = time.monotonic()
    executor.close(cancel=True)
    assert time.monotonic() - began < 3
    assert running.result().cause == "infra"
    running.result().outputs.discard()
    with pytest.raises(CancelledError):
        queued.result()


def test_who_waits_for_a_gpu_asks_nobody_after_the_end() -> None:
    executor = LocalExecutor(plan_slots([0], ["0"]))
    running, release = threading.Event(), threading.Event()
    asked: list[str] = []

    def train(slot: Slot) -> None:
        running.set()
        release.wait(10)

    def ask() -> None:
        with executor.hold("0"):
            asked.append("a question that would be paid for")

    def refused() -> None:
        with pytest.raises(CancelledError):
            ask()

    executor.submit(train)
    assert running.wait(10)
    thread = threading.Thread(target=refused)
    thread.start()
    time.sleep(0.05)
    threading.Timer(0.2, release.set).start()
    executor.close(cancel=True)
    thread.join(10)
    assert not thread.is_alive()
    assert asked == []
