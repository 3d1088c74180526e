"""Every attack against the real engine, and where it applies against the process runner."""

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from darwin_git.ports import DialogueEnded, Runner, Slot
from darwin_git.sandbox.docker import DockerRunner
from darwin_git.sandbox.process import ProcessRunner
from tests.attacks.__main__ import README, table
from tests.attacks.attack import Attack
from tests.attacks.campaign import ATTACKS, DIALOGUES, ENGINE_TROUBLE, judge
from tests.attacks.conftest import Host, left
from tests.attacks.dialogues import SECONDS, Talk
from tests.attacks.guard import Guard


@pytest.fixture
def process_runner(tmp_path: Path) -> Iterator[ProcessRunner]:
    runner = ProcessRunner(tmp_path / "attempts")
    yield runner
    runner.close()
    assert left(tmp_path / "attempts") == []


def names(attack: Attack) -> str:
    return attack.name


@pytest.mark.parametrize("attack", ATTACKS, ids=names)
def test_containers(
    attack: Attack, docker_runner: DockerRunner, host: Host, guard: Guard, slot: Slot
) -> None:
    with guard.watching():
        finished = docker_runner.run(host.command(attack), slot)
        faults = judge(attack, finished, attack.expect)
        finished.outputs.discard()
        docker_runner.close()
    assert faults + guard.faults() + host.listener.calls == []


@pytest.mark.parametrize("attack", [a for a in ATTACKS if a.process], ids=names)
def test_processes(
    attack: Attack, process_runner: ProcessRunner, host: Host, guard: Guard, slot: Slot
) -> None:
    command = host.command(attack)
    limits = replace(command.limits, wall_seconds=min(4.0, command.limits.wall_seconds))
    with guard.watching():
        finished = process_runner.run(replace(command, limits=limits), slot)
        faults = judge(attack, finished, attack.process, walled=False)
        finished.outputs.discard()
    assert faults + guard.faults() == []


def talk(attack: Talk, runner: Runner, host: Host, slot: Slot) -> str:
    """How a dialogue ends; it never takes much longer than its deadline."""
    began = time.monotonic()
    try:
        with runner.converse(host.command(attack), slot) as dialogue:
            dialogue.receive(8)
            dialogue.send(b"x" * attack.told)
            dialogue.receive(1 << 20)
        return "answers"
    except DialogueEnded as ended:
        return ended.cause
    finally:
        assert time.monotonic() - began < SECONDS + ENGINE_TROUBLE


@pytest.mark.parametrize("attack", DIALOGUES, ids=names)
def test_dialogues_of_containers(
    attack: Talk, docker_runner: DockerRunner, host: Host, guard: Guard, slot: Slot
) -> None:
    with guard.watching():
        cause = talk(attack, docker_runner, host, slot)
        docker_runner.close()
    assert cause in attack.expect.split(" or ")
    assert guard.faults() == []


@pytest.mark.parametrize("attack", [a for a in DIALOGUES if a.process], ids=names)
def test_dialogues_of_processes(
    attack: Talk, process_runner: ProcessRunner, host: Host, guard: Guard, slot: Slot
) -> None:
    with guard.watching():
        cause = talk(attack, process_runner, host, slot)
    assert cause in attack.process.split(" or ")
    assert guard.faults() == []


def test_the_table_in_the_readme_is_this_campaign() -> None:
    assert README.read_text() == table(), "run python -m tests.attacks --write"
    assert len(ATTACKS) + len(DIALOGUES) >= 40
    assert len({attack.name for attack in (*ATTACKS, *DIALOGUES)}) == len(ATTACKS) + len(DIALOGUES)
