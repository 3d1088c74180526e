"""Which runner a run gets, and how many slots: said aloud, and never changed silently."""

import socket
import time
from pathlib import Path
from typing import Any

import pytest

from darwin_git.config import Config
from darwin_git.domain.population import Champion, State
from darwin_git.errors import DarwinError
from darwin_git.machinery import GIB, runner_of, slots_of
from darwin_git.ports import Machine
from darwin_git.wiring import refuse_changed


class Told(list[str]):
    """A listener that remembers notes."""

    def __call__(self, what: str, **facts: Any) -> None:
        assert what == "note"
        self.append(facts["text"])


def measured_with(**measured: str) -> State:
    """A population whose baseline was measured like this."""
    return State("island", "protocol", measured, "0" * 40, {}, 0.1, {}, Champion("", ""))


def config(**sandbox: Any) -> Config:
    return Config(sandbox=sandbox)


def test_without_an_engine_auto_says_why_and_takes_processes(tmp_path: Path) -> None:
    told = Told()
    chosen = config(engine=f"unix://{tmp_path}/nowhere.sock")
    assert runner_of(chosen, tmp_path, None, told)[0].kind == "process"
    assert len(told) == 1
    assert "nowhere.sock" in told[0] and "Cure:" in told[0]


def test_an_engine_that_hangs_does_not_hold_up_auto(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(tmp_path / "s"))
        silent.listen(8)
        told, began = Told(), time.monotonic()
        chosen = config(engine=f"unix://{tmp_path}/s")
        assert runner_of(chosen, tmp_path, None, told)[0].kind == "process"
        assert time.monotonic() - began < 4
        assert "does not answer in 2 s" in told[0]


def test_docker_that_was_asked_for_is_never_replaced(tmp_path: Path) -> None:
    chosen = config(runner="docker", engine=f"unix://{tmp_path}/nowhere.sock")
    with pytest.raises(DarwinError, match=r"nowhere\.sock") as error:
        runner_of(chosen, tmp_path, None, Told())
    assert error.value.hint


def test_a_run_in_containers_does_not_fall_back(tmp_path: Path) -> None:
    told = Told()
    chosen = config(engine=f"unix://{tmp_path}/nowhere.sock")
    with pytest.raises(DarwinError, match="baseline was measured in containers") as error:
        runner_of(chosen, tmp_path, measured_with(runner="docker"), told)
    assert error.value.hint and "process" not in error.value.hint
    assert told == []


def test_a_run_in_processes_stays_there(tmp_path: Path, engine_image: str) -> None:
    told = Told()
    chosen = config(image=engine_image)
    assert runner_of(chosen, tmp_path, measured_with(runner="process"), told)[0].kind == "process"
    assert told == []
    taken, there = runner_of(chosen, tmp_path, None, told)
    assert taken.kind == "docker"
    assert taken.environment()["image"].startswith("sha256:")
    assert there.cpus and there.memory_bytes > GIB and there.name
    taken.close()
    assert told == []


def test_an_image_that_is_missing_names_how_to_make_it(tmp_path: Path, engine_image: str) -> None:
    told = Told()
    assert runner_of(config(image="no-such:image"), tmp_path, None, told)[0].kind == "process"
    assert "no-such:image" in told[0] and "image build" in told[0]
    with pytest.raises(DarwinError, match="no-such:image") as error:
        runner_of(config(image="no-such:image", runner="docker"), tmp_path, None, told)
    assert "image build" in error.value.hint


@pytest.mark.parametrize(
    ("was", "now", "cure"),
    [
        (
            {"runner": "docker", "image": "sha256:old"},
            {"runner": "docker", "image": "sha256:new"},
            'sandbox.image = "sha256:old"',
        ),
        ({"runner": "docker", "image": "i"}, {"runner": "process"}, 'sandbox.runner = "docker"'),
        ({"runner": "process"}, {"runner": "process", "torch": "2"}, "restore it"),
    ],
)
def test_a_changed_image_or_runner_is_named(
    was: dict[str, str], now: dict[str, str], cure: str
) -> None:
    with pytest.raises(DarwinError, match="measurement changed") as error:
        refuse_changed(measured_with(**was), now, "another")
    changed = next(key for key in ("image", "runner", "torch") if was.get(key) != now.get(key))
    assert f"{changed}: {was.get(changed)!r} at the baseline" in error.value.message
    assert cure in error.value.hint


def machine(cpus: int = 8, memory: float = 64.0, gpus: int = 0) -> Machine:
    found = {str(n): "NVIDIA H200" for n in range(gpus)}
    return Machine(tuple(range(cpus)), int(memory * GIB), found, "a processor")


@pytest.mark.parametrize(
    ("there", "memory_gb", "count", "says"),
    [
        (machine(4, 64.0), 8.0, 4, ""),
        (machine(8, 31.2), 8.0, 4, "4 of 8 slots"),
        (machine(2, 15.5), 8.0, 2, ""),  # sold with 16
        (machine(1, 4.0), 8.0, 1, "memory_gb = 8"),
        (machine(1, 8.0), 8.0, 1, ""),
    ],
)
def test_slots_are_as_many_as_the_memory_takes(
    there: Machine, memory_gb: float, count: int, says: str
) -> None:
    told = Told()
    slots = slots_of(config(memory_gb=memory_gb), there, told)
    assert len(slots) == count
    assert len(told) == bool(says)
    assert not says or says in told[0]


def test_slots_that_were_asked_for_are_refused_where_they_do_not_fit() -> None:
    asked = Config(executor={"slots": 4}, sandbox={"memory_gb": 8.0})
    with pytest.raises(
        DarwinError, match=r"4 slots of 8 GiB do not fit into .* 16\.0 GiB"
    ) as error:
        slots_of(asked, machine(8, 16.0), Told())
    assert "memory_gb to at most 4.2" in error.value.hint
    assert "slots to at most 2" in error.value.hint
    assert len(slots_of(asked, machine(8, 32.0), Told())) == 4


def test_each_gpu_is_a_slot_with_its_share_of_the_cores() -> None:
    cuda = Config(genome={"device": "cuda"}, executor={"threads": 2})
    slots = slots_of(cuda, machine(16, 128.0, gpus=4), Told())
    assert [(slot.gpu, len(slot.cpus)) for slot in slots] == [(str(n), 4) for n in range(4)]
    assert len({cpu for slot in slots for cpu in slot.cpus}) == 16
    assert all(slot.exclusive for slot in slots)
    few = slots_of(cuda, machine(2, 128.0, gpus=4), Told())
    assert not any(slot.exclusive for slot in few)
    assert slots_of(Config(), machine(4, 64.0, gpus=4), Told())[0].gpu is None
