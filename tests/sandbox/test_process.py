"""Real processes behind the process runner: what they may not do, and that nothing is left."""

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from darwin_git.errors import DarwinError
from darwin_git.ports import Command, DialogueEnded, File, Slot
from darwin_git.sandbox.family import Family
from darwin_git.sandbox.process import ProcessRunner

Script = Callable[..., Command]


def processes_of(folder: Path) -> list[str]:
    """Command lines of all living processes whose environment names a folder."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and str(folder).encode() in (entry / "environ").read_bytes():
                state = (entry / "stat").read_text().rsplit(")", 1)[1].split()[0]
                if state != "Z":
                    found.append((entry / "cmdline").read_text())
        except OSError:
            continue
    return found


def test_a_command_runs_and_its_output_is_read(
    runner: ProcessRunner, slot: Slot, script: Script
) -> None:
    source = """
        import sys, time
        print("one"); time.sleep(0.3); print("two", file=sys.stdout)
        print("\\x1b[31mred\\x1b[0m \\x07bell", file=sys.stderr)
        open(sys.argv[1] + "/result.txt", "w").write("42")
    """
    finished = runner.run(script(textwrap.dedent(source)), slot)
    assert (finished.cause, finished.exit_code) == ("exit", 0)
    one, two = finished.lines
    assert (one.text, two.text) == ("one", "two")
    assert two.at - one.at == pytest.approx(0.3, abs=0.15)
    assert finished.errors == "red bell\n"
    assert finished.outputs.read("result.txt", 10) == b"42"
    finished.outputs.discard()
    finished.outputs.discard()
    assert finished.outputs.artifact("result.txt") is None


def test_what_it_says_does_not_tell_where_it_ran(
    runner: ProcessRunner, base: Path, slot: Slot, script: Script
) -> None:
    """Its traceback is kept in a note, which others fetch, and shown to models."""
    source = """
        import json, os
        print("in", os.getcwd() + "/data")
        json.loads("{")
    """
    finished = runner.run(script(textwrap.dedent(source)), slot)
    assert finished.exit_code == 1
    assert finished.lines[0].text == "in genome/data"
    assert 'json/decoder.py", line' in finished.errors and ", line 4, in" in finished.errors
    for place in (str(base), sys.prefix, sys.base_prefix):
        assert place not in finished.errors
    finished.outputs.discard()


def test_what_is_not_trusted_is_refused(
    runner: ProcessRunner, base: Path, slot: Slot, script: Script
) -> None:
    with pytest.raises(DarwinError, match="catalogue"):
        runner.run(script("print()", trusted=False), slot)
    with pytest.raises(DarwinError), runner.converse(script("print()", trusted=False), slot):
        pass
    allowed = ProcessRunner(base, allow_unsandboxed=True).run(
        script("print()", trusted=False), slot
    )
    assert allowed.exit_code == 0
    allowed.outputs.discard()


def test_the_tools_secrets_are_not_seen(
    runner: ProcessRunner, slot: Slot, script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    monkeypatch.setenv("GITHUB_TOKEN", "ghp-secret")
    monkeypatch.setenv("PYTHONPATH", "/somewhere")
    finished = runner.run(script("import os; print(sorted(os.environ)); print(os.environ)"), slot)
    text = " ".join(line.text for line in finished.lines)
    assert "-secret" not in text and "PYTHONPATH" not in text
    assert eval(finished.lines[0].text) == [
        "CUDA_DEVICE_ORDER", "CUDA_VISIBLE_DEVICES", "DARWIN_ATTEMPT", "HOME", "LANG",
        "MKL_NUM_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "PATH",
        "PYTHONDONTWRITEBYTECODE", "PYTHONHASHSEED", "PYTHONNOUSERSITE", "PYTHONUNBUFFERED",
        "TMPDIR",
    ]  # fmt: skip
    finished.outputs.discard()


def test_it_is_pinned_to_its_slot(runner: ProcessRunner, script: Script) -> None:
    cpu = max(os.sched_getaffinity(0))
    source = "import os; print(os.sched_getaffinity(0), os.environ['OMP_NUM_THREADS'])"
    finished = runner.run(script(source), Slot(0, (cpu,)))
    assert finished.lines[0].text == f"{{{cpu}}} 1"
    finished.outputs.discard()


def test_the_checkout_and_the_data_stand_where_the_command_expects_them(
    runner: ProcessRunner, slot: Slot, script: Script, tmp_path: Path
) -> None:
    data = tmp_path / "cache"
    data.mkdir()
    (data / "train.bin").write_bytes(b"tokens")
    source = (
        "import subprocess; print(open('data/darwin/train.bin').read());"
        "print(subprocess.run(['./tool.sh'], capture_output=True, text=True).stdout)"
    )
    genome = {
        "main.py": File(source.encode()),
        "tool.sh": File(b"#!/bin/sh\necho tool\n", executable=True),
        "data/darwin/train.bin": File(b"the genome's own, shadowed"),
    }
    finished = runner.run(script("", genome=genome, data={"data/darwin": data}), slot)
    assert [line.text for line in finished.lines[:2]] == ["tokens", "tool"]
    finished.outputs.discard()
    assert (data / "train.bin").read_bytes() == b"tokens"


def test_a_data_folder_may_stand_beside_the_checkout(
    runner: ProcessRunner, slot: Slot, script: Script, tmp_path: Path
) -> None:
    judge = tmp_path / "program"
    judge.mkdir()
    (judge / "judge.py").write_text("print('judged')")
    command = script("", argv=("{python}", "../judge/judge.py"), data={"../judge": judge})
    finished = runner.run(command, slot)
    assert [line.text for line in finished.lines] == ["judged"], finished.errors
    finished.outputs.discard()
    for path in ("../out", "../genome", "..", "../", "../..", "../a/b", "../../a"):
        with pytest.raises(ValueError, match="leaves"):
            runner.run(script("", data={path: judge}), slot)


CACHE = """
import os, pathlib
cache = pathlib.Path(os.environ["TORCHINDUCTOR_CACHE_DIR"])
print(sorted(p.read_text() for p in cache.rglob("*") if p.is_file()))
cache.mkdir(parents=True, exist_ok=True)
(cache / "file").write_text(os.environ.get("SAY", "said"))
(cache / "deep").mkdir(exist_ok=True)
(cache / "deep" / "more").write_text("more")
(cache / "link").symlink_to("/etc/passwd")
(cache / "folder").symlink_to("/etc")
os.mkfifo(cache / "pipe")
(cache / "deep").chmod(0)
"""


def test_a_compile_cache_is_lent_as_a_private_copy(
    runner: ProcessRunner, base: Path, slot: Slot, script: Script
) -> None:
    def seen(source: str, **changes: object) -> str:
        finished = runner.run(script(source, **changes), slot)
        assert finished.exit_code == 0, finished.errors
        finished.outputs.discard()
        return finished.lines[0].text

    poison = "cache.joinpath('file').write_text('weights')\ncache.joinpath('n').write_text('w')"
    assert seen(CACHE, cache="tree") == "[]"
    assert seen(CACHE, cache="tree") == "[]", "only commands that fill it leave anything"
    assert seen(CACHE, cache="tree", fills_cache=True) == "[]"
    kept = "['more', 'said']"
    look = CACHE.split("cache.mkdir")[0]
    assert seen(look + poison, cache="tree") == kept
    assert seen(look, cache="tree") == kept, "what a training wrote there is gone"
    assert seen(look, cache="other") == "[]"
    failed = runner.run(script(look + poison + "\n1 / 0", cache="tree", fills_cache=True), slot)
    assert failed.exit_code == 1
    failed.outputs.discard()
    assert seen(look, cache="tree") == kept, "what failed fills nothing"
    with pytest.raises(ValueError, match="cache name"):
        runner.run(script("", cache="../up"), slot)
    (folder,) = base.glob("c-*")
    assert runner.reap() == 0 and folder.exists()
    os.utime(folder, (0, 0))
    runner.reap()
    assert list(base.iterdir()) == []


def test_the_machine_is_described(runner: ProcessRunner) -> None:
    machine = runner.machine(gpus=False)
    assert set(machine.cpus) == os.sched_getaffinity(0)
    assert machine.memory_bytes > 1 << 28 and machine.name and not machine.gpus
    runner.close()
    runner.close()


def test_a_gpu_that_is_not_there_is_named(
    runner: ProcessRunner, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(DarwinError, match="no NVIDIA GPU answers"):
        runner.machine(gpus=True)
    smi = tmp_path / "nvidia-smi"
    smi.write_text("#!/bin/sh\necho '0, NVIDIA H200'\necho '1, NVIDIA L40S'\n")
    smi.chmod(0o755)
    assert runner.machine(gpus=True).gpus == {"0": "NVIDIA H200", "1": "NVIDIA L40S"}


@pytest.mark.parametrize("path", ["../out.py", "/etc/x", "a/../../b", ".git/hooks/x"])
def test_a_path_that_leaves_the_checkout_is_refused(
    runner: ProcessRunner, slot: Slot, script: Script, path: str
) -> None:
    with pytest.raises(ValueError, match="leaves"):
        runner.run(script("", genome={path: File(b"")}), slot)


HANG = """
import os, signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
sleep = [sys.executable, "-c", "import time; time.sleep(600)"]
subprocess.Popen(sleep)                                          # a child
subprocess.Popen(sleep, start_new_session=True)                  # one that left the session
subprocess.Popen(sleep, env={})                                  # one without our marker
if os.fork() == 0:                                               # an orphan in its own session
    os.setsid()
    if os.fork() == 0:
        time.sleep(600)
    os._exit(0)
print("ready", flush=True)
time.sleep(600)
"""


def test_the_deadline_kills_everybody(
    runner: ProcessRunner, base: Path, slot: Slot, script: Script
) -> None:
    began = time.monotonic()
    finished = runner.run(script(HANG, wall_seconds=1.5), slot)
    assert finished.cause == "deadline"
    assert finished.exit_code == -signal.SIGKILL
    assert [line.text for line in finished.lines] == ["ready"]
    assert time.monotonic() - began < 6
    assert processes_of(base) == []
    finished.outputs.discard()


def test_a_background_process_does_not_outlive_a_command_that_ended(
    runner: ProcessRunner, base: Path, slot: Slot, script: Script
) -> None:
    source = HANG.replace("time.sleep(600)\n", "", 0).rsplit("time.sleep(600)", 1)[0]
    finished = runner.run(script(source), slot)
    assert (finished.cause, finished.exit_code) == ("exit", 0)
    assert finished.seconds < 5
    assert processes_of(base) == []
    finished.outputs.discard()


def test_a_flood_of_lines_is_bounded_and_keeps_first_and_last(
    runner: ProcessRunner, slot: Slot, script: Script
) -> None:
    source = "for n in range(200_000): print('line', n)\nprint('end')"
    finished = runner.run(script(source, log_bytes=1 << 16), slot)
    texts = [line.text for line in finished.lines]
    assert texts[0] == "line 0" and texts[-1] == "end"
    assert any("lines dropped" in text for text in texts)
    assert sum(map(len, texts)) < 1 << 16
    finished.outputs.discard()


def test_a_line_without_end_is_cut(runner: ProcessRunner, slot: Slot, script: Script) -> None:
    source = "import sys\nfor _ in range(200): sys.stdout.write('x' * 100_000)\nprint('\\nend')"
    finished = runner.run(script(source), slot)
    first, last = finished.lines
    assert len(first.text) == 4096 and last.text == "end"
    finished.outputs.discard()


def test_memory_is_watched_over_all_its_processes(
    runner: ProcessRunner, slot: Slot, script: Script
) -> None:
    source = """
        import os, time
        for _ in range(3):
            if os.fork() == 0:
                hog = bytearray(os.urandom(1) * (60 << 20)); time.sleep(60)
        time.sleep(60)
    """
    finished = runner.run(script(textwrap.dedent(source), memory_bytes=128 << 20), slot)
    assert finished.cause == "memory"
    assert finished.seconds < 10
    finished.outputs.discard()


def test_pages_shared_by_forks_are_counted_once(
    runner: ProcessRunner, slot: Slot, script: Script
) -> None:
    source = """
        import os, time
        shared = bytearray(b"x" * (60 << 20))
        for _ in range(3):
            if os.fork() == 0:
                time.sleep(1.5); os._exit(0)
        time.sleep(1.6)
    """
    finished = runner.run(script(textwrap.dedent(source), memory_bytes=150 << 20), slot)
    assert finished.cause == "exit"
    finished.outputs.discard()


def test_the_disk_is_watched(runner: ProcessRunner, slot: Slot, script: Script) -> None:
    source = """
        import sys, time
        for n in range(64):
            open(f"{sys.argv[1]}/{n}", "wb").write(bytes(1 << 20))
        time.sleep(60)
    """
    finished = runner.run(script(textwrap.dedent(source)), slot)
    assert finished.cause == "output"
    finished.outputs.discard()


def test_one_file_cannot_pass_the_limit(runner: ProcessRunner, slot: Slot, script: Script) -> None:
    source = "import sys; open(sys.argv[1] + '/big', 'wb').truncate(1 << 40)"
    finished = runner.run(script(source), slot)
    assert finished.exit_code == 1 and "File too large" in finished.errors
    finished.outputs.discard()


def test_a_fork_bomb_is_stopped(
    runner: ProcessRunner, base: Path, slot: Slot, script: Script
) -> None:
    source = """
        import os, time
        for _ in range(60):
            if os.fork() == 0:
                time.sleep(60)
        time.sleep(60)
    """
    finished = runner.run(script(textwrap.dedent(source), processes=20), slot)
    assert finished.cause == "processes"
    assert processes_of(base) == []
    finished.outputs.discard()


def test_a_command_that_cannot_start_is_our_fault(
    runner: ProcessRunner, slot: Slot, script: Script
) -> None:
    finished = runner.run(script("", argv=("/nowhere/python",)), slot)
    assert (finished.cause, finished.exit_code) == ("infra", None)
    assert "/nowhere/python" in finished.errors
    finished = runner.run(script(""), Slot(0, (4095,)))
    assert finished.cause == "infra"


def test_cancel_kills_at_once_and_starts_nothing_more(
    runner: ProcessRunner, base: Path, slot: Slot, script: Script
) -> None:
    threading.Timer(0.5, runner.cancel).start()
    finished = runner.run(script(HANG), slot)
    assert finished.cause == "infra" and finished.seconds < 5
    assert processes_of(base) == []
    finished.outputs.discard()
    assert runner.run(script(""), slot).cause == "infra"


ECHO = """
import os, sys
print("noise", file=sys.stderr)
while data := os.read(0, 1 << 16):
    os.write(1, data)
"""


def test_a_dialogue_carries_bytes_both_ways(
    runner: ProcessRunner, base: Path, slot: Slot, script: Script
) -> None:
    with runner.converse(script(ECHO), slot) as dialogue:
        for data in (b"\0\xff", os.urandom(40_000)):
            dialogue.send(data)
            assert dialogue.receive(len(data)) == data
    assert processes_of(base) == []


@pytest.mark.parametrize(
    ("source", "changes", "cause"),
    [
        ("print(1)", {}, "exit"),
        ("import time; time.sleep(60)", {"wall_seconds": 0.5}, "deadline"),
        (
            "x = b'1' * (200 << 20)\nimport time; time.sleep(60)",
            {"memory_bytes": 1 << 26},
            "memory",
        ),
    ],
)
def test_a_dialogue_that_ends_says_why(
    runner: ProcessRunner,
    slot: Slot,
    script: Script,
    source: str,
    changes: dict[str, object],
    cause: str,
) -> None:
    with (
        pytest.raises(DialogueEnded) as ended,
        runner.converse(script(source, **changes), slot) as dialogue,
    ):
        dialogue.receive(1000)
    assert ended.value.cause == cause


def test_a_partner_that_does_not_read_is_killed_at_the_deadline(
    runner: ProcessRunner, slot: Slot, script: Script
) -> None:
    with (
        pytest.raises(DialogueEnded, match="deadline"),
        runner.converse(script("import time; time.sleep(60)", wall_seconds=0.5), slot) as dialogue,
    ):
        dialogue.send(bytes(10 << 20))


# --- when the tool itself is killed --------------------------------------------------------------

TOOL = """
import sys
from pathlib import Path
from darwin_git.ports import Command, File, Limits, Slot
from darwin_git.sandbox.process import ProcessRunner

runner = ProcessRunner(Path(sys.argv[1]))
command = Command("t", True, {"main.py": File(Path(sys.argv[2]).read_bytes())}, {},
                  ("{python}", "main.py", "{out}"), Limits(60.0, 1 << 30, 1 << 20), {}, {}, "key1")
finished = runner.run(command, Slot(0, ()))
print("finished", flush=True)
import time; time.sleep(60)
"""


def tool(base: Path, tmp_path: Path, source: str) -> subprocess.Popen[bytes]:
    """The tool as a process of its own, running one command under the key key1."""
    (tmp_path / "main.py").write_text(source)
    return subprocess.Popen(
        [sys.executable, "-c", TOOL, str(base), str(tmp_path / "main.py")],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )


def wait_for(condition: Callable[[], object], seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.02)


def test_a_killed_tool_takes_its_training_with_it(
    runner: ProcessRunner, base: Path, slot: Slot, script: Script, tmp_path: Path
) -> None:
    source = "import subprocess, time\nsubprocess.Popen(['sleep', '600'])\n"
    source += "open('../out/up', 'w').close(); time.sleep(600)"
    with tool(base, tmp_path, source) as process:
        wait_for(lambda: list(base.glob("*/out/up")))
        process.kill()
    wait_for(lambda: not any("main.py" in line for line in processes_of(base)))
    assert runner.reap() == 1
    assert processes_of(base) == []
    assert list(base.iterdir()) == []


def test_what_a_killed_tool_had_trained_is_taken_over(
    runner: ProcessRunner, base: Path, slot: Slot, script: Script, tmp_path: Path
) -> None:
    source = "print('trained once'); open('../out/result', 'w').write('weights')"
    with tool(base, tmp_path, source) as process:
        assert process.stdout and process.stdout.readline() == b"finished\n"
        assert runner.reap() == 0
        occupied = runner.run(script("", key="key1"), slot)
        assert occupied.cause == "infra" and "another process" in occupied.errors
        process.kill()
    assert runner.reap() == 0  # it can still be taken
    finished = runner.run(script("print('trained twice')", key="key1"), slot)
    assert [line.text for line in finished.lines] == ["trained once"]
    assert finished.outputs.read("result", 100) == b"weights"
    # a second try in the same process takes it again
    again = runner.run(script("print('trained twice')", key="key1"), slot)
    assert again.outputs.read("result", 100) == b"weights"
    again.outputs.discard()
    assert list(base.iterdir()) == []
    finished = runner.run(script("print('trained twice')", key="key1"), slot)
    assert [line.text for line in finished.lines] == ["trained twice"]
    finished.outputs.discard()


def test_a_failed_command_is_never_taken_over(
    runner: ProcessRunner, base: Path, slot: Slot, script: Script
) -> None:
    runner.run(script("raise SystemExit(3)", key="k"), slot).outputs.discard()
    assert list(base.iterdir()) == []


def test_a_family_without_members_is_killed_in_no_time() -> None:
    began = time.monotonic()
    Family(None, "nobody").kill()
    assert time.monotonic() - began < 1


def test_a_result_that_was_scored_is_kept_no_longer(
    runner: ProcessRunner, base: Path, slot: Slot, script: Script, tmp_path: Path
) -> None:
    with tool(base, tmp_path, "open('../out/result', 'w').write('weights')") as process:
        assert process.stdout and process.stdout.readline() == b"finished\n"
        process.kill()
    assert runner.reap({"key2"}) == 0
    assert runner.reap({"key1"}) == 1
    assert list(base.iterdir()) == []


def test_what_ended_well_when_it_was_cancelled_is_kept(
    runner: ProcessRunner, slot: Slot, script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    kill = Family.kill

    def cancelled_first(family: Family, patience: float = 3.0) -> None:
        runner._cancelled = True  # Ctrl-C, after the command's own end
        kill(family, patience)

    monkeypatch.setattr(Family, "kill", cancelled_first)
    finished = runner.run(script("print('ended')", key="key1"), slot)
    assert (finished.cause, finished.exit_code) == ("exit", 0)
    finished.outputs.discard()


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small file system needs root")
def test_a_full_disk_loses_no_command_that_ended(
    slot: Slot, script: Script, tmp_path: Path
) -> None:
    small = tmp_path / "small"
    small.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(small)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("no permission to mount here")
    try:
        source = """
            open("../out/result", "w").write("weights")
            try:
                with open("../tmp/cache", "wb", buffering=0) as file:
                    while file.write(bytes(512)): pass
            except OSError: print("full")
        """
        runner = ProcessRunner(small / "attempts")
        finished = runner.run(script(textwrap.dedent(source), key="key1"), slot)
        assert [line.text for line in finished.lines] == ["full"]
        assert finished.outputs.read("result", 100) == b"weights"
        assert (small / "attempts" / "k-key1.json").stat().st_size > 0
        finished.outputs.discard()
    finally:
        subprocess.run(["umount", "-l", str(small)], check=True)
