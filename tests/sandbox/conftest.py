"""A process runner in a folder of its own, and commands made of one script."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from darwin_git.executors.local import plan_slots
from darwin_git.ports import Command, File, Limits, Slot
from darwin_git.sandbox.process import ProcessRunner

LIMITS = Limits(wall_seconds=20.0, memory_bytes=1 << 30, output_bytes=16 << 20)


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return tmp_path / "attempts"


@pytest.fixture
def runner(base: Path) -> Iterator[ProcessRunner]:
    yield ProcessRunner(base)
    # nothing left behind, whatever the test did
    assert not list(base.glob("x-*"))


@pytest.fixture
def slot() -> Slot:
    return plan_slots(most=1)[0]


@pytest.fixture
def script() -> Callable[..., Command]:
    """A command that runs one script with Python."""

    def make(source: str, **changes: object) -> Command:
        limits = replace(LIMITS, **{k: changes.pop(k) for k in list(changes) if hasattr(LIMITS, k)})
        command = Command(
            label="test",
            trusted=True,
            genome={"main.py": File(source.encode())},
            tools={},
            argv=("{python}", "main.py", "{out}"),
            limits=limits,
            data={},
            artifacts={},
        )
        return replace(command, **changes)

    return make
