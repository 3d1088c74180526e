"""Real containers behind the docker runner: what a command gets, may not do, and leaves."""

import socket
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from darwin_git.errors import DarwinError
from darwin_git.ports import Command, DialogueEnded, File, Slot, UnsafeOutput
from darwin_git.sandbox.container import CLONE
from darwin_git.sandbox.docker import DockerRunner
from darwin_git.sandbox.leftovers import clone_id
from tests.containers import leftovers

Script = Callable[..., Command]


@pytest.fixture
def runner(base: Path, engine_image: str, engine_client: Any) -> Iterator[DockerRunner]:
    runner = DockerRunner(base, engine_image)
    yield runner
    runner.close()
    runner.clean()
    left = leftovers(engine_client, f"{CLONE}={clone_id(base)}")
    runner.close()
    # nothing left behind, whatever the test did
    assert not left
    assert not list(base.glob("x-*"))


def code(source: str) -> str:
    return textwrap.dedent(source)


def test_a_command_runs_and_its_output_is_read(
    runner: DockerRunner, slot: Slot, script: Script, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    (data / "deep").mkdir(parents=True)
    (data / "deep" / "train.bin").write_bytes(b"tokens")
    source = """
        import os, sys, time
        print("one"); time.sleep(0.3); print("two")
        print(open("data/darwin/deep/train.bin").read(), open("../judge/deep/train.bin").read())
        print(open("sub/dir/file").read(), open("../tools/tool.py").read(), sys.argv[2:])
        print(os.access("sub/dir/run.sh", os.X_OK), os.path.exists("data/darwin/covered"))
        print("\\x1b[31mred\\x1b[0m \\x07bell", file=sys.stderr)
        open(sys.argv[1] + "/result.txt", "w").write("42")
        open(sys.argv[1] + "/other.txt", "w").write("nobody asked for it")
    """
    command = script(
        code(source),
        trusted=False,
        keep=("result.txt",),
        tools={"tool.py": b"tool"},
        data={"data/darwin": data, "../judge": data},
        argv=("{python}", "main.py", "{out}", "{tools}", "{genome}"),
    )
    more = {
        "sub/dir/file": File(b"content"),
        "sub/dir/run.sh": File(b"", executable=True),
        "data/darwin/covered": File(b"the data folder covers it"),
    }
    command = Command(**{**vars(command), "genome": {**command.genome, **more}})
    finished = runner.run(command, slot)
    assert (finished.cause, finished.exit_code) == ("exit", 0), finished.errors
    assert [line.text for line in finished.lines] == [
        "one",
        "two",
        "tokens tokens",
        "content tool ['../tools', '.']",
        "True False",
    ]
    one, two = finished.lines[:2]
    assert two.at - one.at == pytest.approx(0.3, abs=0.15)
    assert 0.3 <= finished.seconds < 1.5
    assert finished.errors == "red bell\n"
    assert finished.outputs.read("result.txt", 10) == b"42"
    artifact = finished.outputs.artifact("result.txt")
    assert artifact is not None
    assert artifact.size == 2
    assert finished.outputs.artifact("other.txt") is None
    reader = script("print(open('../tools/given').read())", artifacts={"given": artifact})
    again = runner.run(reader, slot)
    assert again.lines[0].text == "42"
    again.outputs.discard()
    finished.outputs.discard()
    finished.outputs.discard()
    assert finished.outputs.artifact("result.txt") is None


def test_the_environment_is_clean_and_the_numbers_are_known(
    runner: DockerRunner, slot: Slot, script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    monkeypatch.setenv("PYTHONPATH", "/somewhere")
    source = """
        import getpass, os, json
        print(json.dumps(dict(os.environ)))
        print(getpass.getuser(), os.getuid(), os.sched_getaffinity(0))
        import torch; print(torch.get_num_threads())
    """
    finished = runner.run(script(code(source), wall_seconds=200.0), slot)
    assert finished.exit_code == 0, finished
    text = finished.lines[0].text
    assert "secret" not in text and "/somewhere" not in text
    assert '"CUDA_VISIBLE_DEVICES": ""' in text and '"PYTHONHASHSEED": "0"' in text
    assert finished.lines[1].text == f"darwin 10001 {set(slot.cpus)}"
    assert finished.lines[2].text == str(len(slot.cpus))
    finished.outputs.discard()
    assert runner.environment()["image"].startswith("sha256:")
    machine = runner.machine(gpus=False)
    assert set(slot.cpus) <= set(machine.cpus) and machine.memory_bytes > 1 << 30 and machine.name


def test_a_gpu_where_there_is_none_is_an_error_with_a_cure(
    runner: DockerRunner, slot: Slot, script: Script
) -> None:
    try:
        runner.machine(gpus=True)
    except DarwinError as error:
        assert "GPU" in error.message and error.hint
    else:
        pytest.skip("this engine has GPUs")
    with pytest.raises(DarwinError, match="GPU"):
        runner.run(script("print()"), Slot(0, slot.cpus, gpu="0"))
    with pytest.raises(DarwinError, match="GPU"), runner.converse(script(""), Slot(0, (), "0")):
        pass


@pytest.mark.parametrize(
    ("source", "cause", "exit_code"),
    [
        ("import sys; sys.exit(3)", "exit", 3),
        ("import os, signal; os.kill(os.getpid(), signal.SIGTERM)", "exit", -15),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "exit", -9),
        ("x = b'x' * (600 << 20)", "memory", -9),
        ("import time, signal; signal.signal(15, signal.SIG_IGN); time.sleep(99)", "deadline", -9),
        ("import os; os.close(1); os.close(2)\nwhile True: pass", "deadline", -9),
        ("while True: print('x' * 1000000)", "output", -9),
        ("import sys\nwhile True: sys.stdout.write('x' * 1000000)", "output", -9),
        ("open('/darwin/out/big', 'wb').write(b'x' * (40 << 20))", "exit", 1),
        ("nonsense(", "exit", 1),
    ],
)
def test_every_end_has_its_name(
    runner: DockerRunner, slot: Slot, script: Script, source: str, cause: str, exit_code: int
) -> None:
    seconds = 3.0 if cause == "deadline" else 60.0
    command = script(source, wall_seconds=seconds, memory_bytes=300 << 20)
    finished = runner.run(command, slot)
    finished.outputs.discard()
    assert (finished.cause, finished.exit_code) == (cause, exit_code), finished.errors
    if cause == "deadline":
        assert 2.9 < finished.seconds < 5.0


def test_a_childs_lack_of_memory_is_the_commands_to_live_with(
    runner: DockerRunner, slot: Slot, script: Script
) -> None:
    source = (
        "import subprocess, sys; subprocess.run([sys.executable, '-c', 'x = b\"x\" * (600<<20)'])"
    )
    finished = runner.run(script(source, memory_bytes=300 << 20), slot)
    finished.outputs.discard()
    assert (finished.cause, finished.exit_code) == ("exit", 0)


def test_a_command_cannot_play_a_fault_of_ours(
    runner: DockerRunner, slot: Slot, script: Script
) -> None:
    source = "import os; os.write(2, b'darwin-git boot: no space\\n'); os._exit(125)"
    finished = runner.run(script(source), slot)
    finished.outputs.discard()
    assert (finished.cause, finished.exit_code) == ("exit", 125)


def test_what_cannot_be_started_is_not_the_wall(
    runner: DockerRunner, slot: Slot, script: Script
) -> None:
    finished = runner.run(script("", argv=("no-such-program",)), slot)
    finished.outputs.discard()
    assert (finished.cause, finished.exit_code) == ("exit", 127)


def test_hostile_outputs_are_refused(runner: DockerRunner, slot: Slot, script: Script) -> None:
    source = """
        import os, socket
        os.chdir("../out")
        os.symlink("/etc/passwd", "link")
        os.symlink("../../../../etc/passwd", "up")
        os.mkfifo("pipe")
        socket.socket(socket.AF_UNIX).bind("socket")
        os.mkdir("folder"); open("folder/file", "w").write("x")
        with open("sparse", "wb") as file:
            try: file.truncate(1 << 40)
            except OSError: file.truncate(15 << 20)
        os.mkdir("locked", 0)
        open("unreadable", "w").write("secret"); os.chmod("unreadable", 0)
        deep = "d"
        for _ in range(500):
            os.mkdir(deep); os.chdir(deep)
    """
    names = ("link", "up", "pipe", "socket", "folder", "folder/file", "..", "locked", "missing")
    command = script(code(source), keep=(*names, "sparse", "unreadable", "d"))
    finished = runner.run(command, slot)
    assert (finished.cause, finished.exit_code) == ("exit", 0), finished.errors
    for name in (*names, "d"):
        with pytest.raises(UnsafeOutput):
            finished.outputs.read(name, 1 << 20)
        assert finished.outputs.artifact(name) is None
    with pytest.raises(UnsafeOutput):
        finished.outputs.read("sparse", 1 << 20)
    assert finished.outputs.read("unreadable", 10) == b"secret"
    finished.outputs.discard()


def test_who_stays_behind_is_dead_before_the_files_are_read(
    runner: DockerRunner, slot: Slot, script: Script
) -> None:
    source = """
        import os, sys, time
        if os.fork() == 0:
            os.setsid()
            if os.fork(): os._exit(0)
            for n in range(200):
                open("../out/later", "w").write(str(n)); time.sleep(0.05)
            os._exit(0)
        time.sleep(0.5)
    """
    finished = runner.run(script(code(source), keep=("later",)), slot)
    assert (finished.cause, finished.exit_code) == ("exit", 0)
    assert int(finished.outputs.read("later", 10)) < 40
    finished.outputs.discard()


def test_a_dialogue(runner: DockerRunner, slot: Slot, script: Script) -> None:
    source = """
        import os, sys
        print("noise that nobody may see", file=sys.stderr)
        while line := sys.stdin.buffer.readline():
            sys.stdout.buffer.write(line.upper() * 1000); sys.stdout.flush()
    """
    with runner.converse(script(code(source)), slot) as dialogue:
        for word in (b"one\n", b"two\n"):
            dialogue.send(word)
            assert dialogue.receive(4000) == word.upper() * 1000
        began = time.monotonic()
        with pytest.raises(DialogueEnded) as ended:
            dialogue.send(b"x" * 10)
            threading.Timer(0.5, runner.cancel).start()
            dialogue.receive(1)
        assert ended.value.cause == "infra"
        assert time.monotonic() - began < 3


@pytest.mark.parametrize(
    ("source", "cause"),
    [
        ("import sys; sys.exit(125)", "exit"),
        ("x = b'x' * (600 << 20)", "memory"),
        ("import time; time.sleep(99)", "deadline"),
        ("import sys\nwhile True: sys.stderr.write('x' * 10000)", "deadline"),
    ],
)
def test_a_dialogue_ends_with_a_cause(
    runner: DockerRunner, slot: Slot, script: Script, source: str, cause: str
) -> None:
    command = script(source, wall_seconds=3.0, memory_bytes=300 << 20)
    with pytest.raises(DialogueEnded) as ended, runner.converse(command, slot) as dialogue:
        dialogue.receive(1)
    assert ended.value.cause == cause


def test_cancel_kills_at_once_and_starts_nothing_more(
    runner: DockerRunner, slot: Slot, script: Script
) -> None:
    began = time.monotonic()
    threading.Timer(1.5, runner.cancel).start()
    finished = runner.run(script("import time; time.sleep(60)", wall_seconds=90.0), slot)
    assert (finished.cause, finished.exit_code) == ("infra", None)
    assert time.monotonic() - began < 6
    after = runner.run(script("print()"), slot)
    assert after.cause == "infra" and after.errors == "cancelled"
    for one in (finished, after):
        one.outputs.discard()


def test_a_kept_result_is_handed_out_instead_of_running_again(
    base: Path, runner: DockerRunner, engine_image: str, slot: Slot, script: Script
) -> None:
    source = "import time; open('../out/at', 'w').write(repr(time.time()))"
    command = script(source, key="k1", keep=("at",))
    first = runner.run(command, slot)
    at = first.outputs.read("at", 50)
    again = runner.run(command, slot)
    assert again.outputs.read("at", 50) == at
    again.outputs.discard()
    third = runner.run(command, slot)
    assert third.outputs.read("at", 50) != at
    third.outputs.discard()


def test_a_private_copy_of_a_cache_that_only_the_warm_up_fills(
    runner: DockerRunner, slot: Slot, script: Script
) -> None:
    fill = """
        import os
        place = os.environ["TORCHINDUCTOR_CACHE_DIR"]
        os.makedirs(place + "/a/b"); open(place + "/a/b/kernel", "w").write("compiled")
        os.symlink("/etc/passwd", place + "/a/link")
    """
    use = """
        import os
        place = os.environ["TORCHINDUCTOR_CACHE_DIR"]
        for folder, _, files in sorted(os.walk(place)):
            for name in sorted(files): print(name, open(folder + "/" + name).read())
        os.makedirs(place, exist_ok=True); open(place + "/mine", "w").write("learned")
    """
    filled = runner.run(script(code(fill), cache="tree-1", fills_cache=True), slot)
    assert filled.exit_code == 0, filled.errors
    filled.outputs.discard()
    for name, seen in (
        ("tree-1", ["kernel compiled"]),
        ("tree-1", ["kernel compiled"]),
        ("t2", []),
    ):
        used = runner.run(script(code(use), cache=name), slot)
        assert used.exit_code == 0, used.errors
        assert [line.text for line in used.lines] == seen
        used.outputs.discard()


def test_a_copied_clone_is_another_one(base: Path, tmp_path: Path) -> None:
    name = clone_id(base)
    assert clone_id(base) == name
    other = tmp_path / "copy"
    other.mkdir()
    (other / "clone").write_text((base / "clone").read_text())
    assert clone_id(other) != name


def test_bad_addresses_and_images(base: Path, tmp_path: Path, engine_image: str) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(tmp_path / "dead.sock"))
    said = {
        f"unix://{tmp_path}/none.sock": ("does not answer", "start it"),
        f"unix://{tmp_path}/dead.sock": ("does not answer", "start it"),
        "tcp://no-such-host.invalid:2375": ("no address", "correct"),
        "tcp://127.0.0.1:1": ("does not answer", "start it"),
        "ftp://x": ("no address", "correct"),
    }
    for address, (message, cure) in said.items():
        with pytest.raises(DarwinError) as refused:
            DockerRunner(base, engine_image, engine=address).environment()
        assert message in refused.value.message, refused.value.message
        assert cure in refused.value.hint
    with pytest.raises(DarwinError) as missing:
        DockerRunner(base, "darwin-git/no-such:image").environment()
    assert "image build" in missing.value.hint
    with pytest.raises(DarwinError, match="no runtime 'nonesuch'"):
        DockerRunner(base, engine_image, runtime="nonesuch").environment()
