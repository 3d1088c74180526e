"""kill -9 of the tool and of the engine: nothing stays, nothing is lost, nothing is paid twice."""

import os
import random
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from darwin_git.errors import DarwinError
from darwin_git.ports import Command, DialogueEnded, Finished, Limits, Slot
from darwin_git.sandbox.container import CLONE
from darwin_git.sandbox.docker import DockerRunner
from darwin_git.sandbox.engine import Engine as EngineApi
from darwin_git.sandbox.job import Job
from darwin_git.sandbox.leftovers import clone_id
from tests.containers import Engine, leftovers

Script = Callable[..., Command]
KILLS = int(os.environ.get("DARWIN_TEST_KILLS", "8"))

TOOL = """
import sys
from pathlib import Path
from darwin_git.ports import Command, File, Limits, Slot
from darwin_git.sandbox.docker import DockerRunner

base, image, key, data = sys.argv[1:5]
runner = DockerRunner(Path(base), image)
command = Command(
    label="to be killed", trusted=False, genome={"main.py": File(sys.argv[5].encode())}, tools={},
    argv=("{python}", "main.py"), limits=Limits(60.0, 1 << 30, 16 << 20),
    data={"data/darwin": Path(data)}, artifacts={}, key=key, keep=("at",),
)
print("ready", flush=True)
for n in range(100):
    finished = runner.run(command, Slot(0, (0,)))
    finished.outputs.discard()
"""
WRITES = "import time; open('../out/at', 'w').write(repr(time.time())); print('x'); time.sleep(1)"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "train.bin").write_bytes(os.urandom(1 << 20))
    return tmp_path / "data"


def killed_tool(base: Path, image: str, key: str, data: Path, after: float) -> None:
    """The tool, killed `after` seconds after its first run began."""
    argv = [sys.executable, "-c", TOOL, str(base), image, key, str(data), WRITES]
    with subprocess.Popen(argv, stdout=subprocess.PIPE) as tool:
        assert tool.stdout is not None
        assert tool.stdout.readline() == b"ready\n"
        time.sleep(after)
        tool.send_signal(signal.SIGKILL)


def left_over(client: Any, base: Path) -> list[str]:
    """What stands in the engine but for cached data."""
    found = leftovers(client, f"{CLONE}={clone_id(base)}")
    return [one for one in found if "-data-" not in one]


@pytest.mark.parametrize("key", ["", "k"])
def test_a_killed_tool_leaves_nothing_that_reap_does_not_find(
    base: Path, engine_image: str, engine_client: Any, data: Path, key: str
) -> None:
    draw = random.Random(f"kills {key}")
    runner = DockerRunner(base, engine_image)
    for _ in range(KILLS // 2):
        killed_tool(base, engine_image, key, data, draw.uniform(0.0, 3.5))
        # what can be adopted is spared, unless its result was taken
        runner.reap(scored=["k"])
        assert not left_over(engine_client, base)
        assert not list(base.glob("[kx]-*"))
    assert runner.reap() == 0
    runner.clean()
    assert not leftovers(engine_client, f"{CLONE}={clone_id(base)}")
    runner.close()


@pytest.mark.parametrize("after", [0.0, 1.0, 4.0])
def test_what_runs_or_has_run_is_adopted_by_the_same_key(
    base: Path,
    engine_image: str,
    engine_client: Any,
    script: Script,
    slot: Slot,
    data: Path,
    after: float,
) -> None:
    source = textwrap.dedent(
        """
        import os, sys, time
        print("first"); open("../out/at", "w").write(os.uname().nodename)
        time.sleep(3); print("last"); print("error", file=sys.stderr)
        """
    )
    # it reaps nothing and takes nothing: it sleeps until it is killed
    tool_code = TOOL.replace(
        "runner = ", "DockerRunner._taken = lambda *_: time.sleep(60)\nrunner = "
    )
    argv = [sys.executable, "-c", f"import time\n{tool_code}"]
    argv += [str(base), engine_image, "key", str(data), source]
    with subprocess.Popen(argv, stdout=subprocess.PIPE) as tool:
        assert tool.stdout and tool.stdout.readline() == b"ready\n"
        job = started_job(engine_client, base)
        time.sleep(1.0 + after)
        tool.send_signal(signal.SIGKILL)
    runner = DockerRunner(base, engine_image)
    assert runner.reap() == 0  # it is spared
    finished = runner.run(script(source, key="key", keep=("at",)), slot)
    assert (finished.cause, finished.exit_code) == ("exit", 0), finished.errors
    assert [line.text for line in finished.lines] == ["first", "last"]
    assert finished.errors == "error\n"
    assert finished.lines[1].at - finished.lines[0].at == pytest.approx(3, abs=0.5)
    assert finished.seconds == pytest.approx(3, abs=0.7)
    assert job.startswith(finished.outputs.read("at", 50).decode())  # the container's name
    finished.outputs.discard()
    runner.close()
    assert not left_over(engine_client, base)
    runner.clean()
    runner.close()


def started_job(client: Any, base: Path) -> str:
    """Id of the clone's running job, once there is one."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        wanted = {"label": [f"{CLONE}={clone_id(base)}", "darwin-git.role=job"]}
        if found := client.api.containers(filters=wanted):
            return str(found[0]["Id"])
        time.sleep(0.05)
    raise AssertionError("no job was started")


def test_the_keeper_ends_what_nobody_awaits(
    base: Path, engine_image: str, engine_client: Any, monkeypatch: pytest.MonkeyPatch, data: Path
) -> None:
    argv = [sys.executable, "-c", TOOL.replace("60.0", "2.0").replace("import sys", "import sys\n"
            "import darwin_git.sandbox.container as c; c.GRACE_SECONDS = 1.0"),
            str(base), engine_image, "", str(data),
            "import os, signal, time; signal.signal(15, 1); os.fork(); time.sleep(60)"]  # fmt: skip
    with subprocess.Popen(argv, stdout=subprocess.PIPE) as tool:
        assert tool.stdout and tool.stdout.readline() == b"ready\n"
        started_job(engine_client, base)
        tool.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + 20
    while any("-job running" in one for one in left_over(engine_client, base)):
        assert time.monotonic() < deadline
        time.sleep(0.2)
    runner = DockerRunner(base, engine_image)
    assert runner.reap() == 1
    assert not left_over(engine_client, base)
    runner.clean()
    runner.close()


# --- the engine goes away ------------------------------------------------------------------------


@pytest.fixture
def elsewhere(
    base: Path, second_engine: Engine, engine_image: str, engine_client: Any
) -> Iterator[DockerRunner]:
    """A runner on an engine that may be killed."""
    second_engine.load(engine_image, engine_client)
    runner = DockerRunner(base, engine_image, engine=second_engine.address, patience=8.0)
    yield runner
    runner.close()


def in_the_background(
    runner: DockerRunner, command: Command, slot: Slot
) -> tuple[threading.Thread, list[Finished]]:
    """A run that has begun."""
    got: list[Finished] = []
    thread = threading.Thread(target=lambda: got.append(runner.run(command, slot)))
    thread.start()
    api = runner.engine.api
    deadline = time.monotonic() + 30
    while not any(one["Names"][0].endswith("-job") for one in api.containers()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    time.sleep(1.0)
    return thread, got


SLOW = """
import time
open("../out/at", "w").write("written")
for n in range(6):
    print(n); time.sleep(1)
"""


def test_no_engine_no_start(
    elsewhere: DockerRunner, second_engine: Engine, script: Script, slot: Slot
) -> None:
    elsewhere.environment()
    second_engine.stop()
    with pytest.raises(DarwinError, match="does not answer") as refused:
        elsewhere.run(script("print()"), slot)
    assert "start it" in refused.value.hint
    with pytest.raises(DarwinError), elsewhere.converse(script("print()"), slot):
        pass


def test_an_engine_that_comes_back_costs_nothing(
    elsewhere: DockerRunner, second_engine: Engine, script: Script, slot: Slot
) -> None:
    thread, got = in_the_background(elsewhere, script(SLOW, keep=("at",)), slot)
    second_engine.kill()
    time.sleep(1.0)
    second_engine.start()
    thread.join(40)
    (finished,) = got
    assert (finished.cause, finished.exit_code) == ("exit", 0), finished.errors
    assert [line.text for line in finished.lines] == [str(n) for n in range(6)]
    assert finished.seconds == pytest.approx(6, abs=1)
    assert finished.outputs.read("at", 10) == b"written"
    second_engine.stop()  # what was harvested lies here
    assert finished.outputs.read("at", 10) == b"written"
    finished.outputs.discard()
    elsewhere.close()
    second_engine.start()
    elsewhere.reap()
    second_engine.stop()  # before Docker 25 it counts the mounts of restored containers for ever
    second_engine.start()
    elsewhere.reap()
    client = second_engine.client()
    assert not leftovers(client)
    client.close()


def test_an_engine_that_stays_away_is_nobodys_fault(
    elsewhere: DockerRunner, second_engine: Engine, script: Script, slot: Slot
) -> None:
    thread, got = in_the_background(elsewhere, script(SLOW, keep=("at",)), slot)
    second_engine.kill()
    thread.join(40)
    (finished,) = got
    assert (finished.cause, finished.exit_code) == ("infra", None)
    assert "does not answer" in finished.errors
    finished.outputs.discard()


def test_an_engine_that_hangs_for_a_while(
    elsewhere: DockerRunner, second_engine: Engine, script: Script, slot: Slot
) -> None:
    thread, got = in_the_background(elsewhere, script(SLOW, keep=("at",)), slot)
    second_engine.freeze()
    time.sleep(3.0)
    second_engine.thaw()
    thread.join(40)
    (finished,) = got
    assert (finished.cause, finished.exit_code) == ("exit", 0), finished.errors
    assert finished.outputs.read("at", 10) == b"written"
    finished.outputs.discard()


def test_a_dialogue_whose_engine_dies(
    elsewhere: DockerRunner, second_engine: Engine, script: Script, slot: Slot
) -> None:
    sleeps = script("import time; time.sleep(60)")
    with pytest.raises(DialogueEnded) as ended, elsewhere.converse(sleeps, slot) as dialogue:
        threading.Timer(0.5, second_engine.kill).start()
        dialogue.receive(1)
    assert ended.value.cause == "infra"


def test_what_an_engine_makes_for_a_dead_tool_after_the_reap_goes_at_close(
    base: Path, engine_image: str, engine_client: Any
) -> None:
    runner = DockerRunner(base, engine_image)
    labels = {CLONE: clone_id(base), "darwin-git.role": "job", "darwin-git.attempt": "x-dead"}
    engine_client.containers.create(engine_image, ["true"], labels=labels)
    assert runner.reap() == 1
    engine_client.containers.create(engine_image, ["true"], labels=labels)
    assert left_over(engine_client, base)
    runner.close()
    assert not left_over(engine_client, base)


def test_what_was_listed_and_is_gone_a_moment_later_is_not_adopted(engine_client: Any) -> None:
    engine = EngineApi("")
    try:
        job = Job(engine, "darwin-gone-0123456789ab", kept=True, sharing=True)
        assert job.adopt(Limits(1.0, 1 << 20, 1 << 20)) is None
    finally:
        engine.close()
