"""Attacks that take more than one command: on the next training, a neighbour, or the scorer."""

import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from darwin_git.ports import DialogueEnded, File, Finished, Slot
from darwin_git.sandbox.docker import DockerRunner
from tests.attacks.attack import Attack, got, outcome, refused
from tests.attacks.conftest import Host
from tests.attacks.guard import Guard

HIDE = """
text = open("mark").read()
places = ["/tmp", "/dev/shm", OUT, "..", "../home", "../cache", "../tools", ".", "/var/tmp",
          "/run", "/", os.path.realpath("data/darwin"), "/root", "/dev", "/mnt"]
wrote = 0
for place in places:
    try:
        with open(place + "/.left-behind", "w") as file:
            wrote += file.write(text) > 0
    except OSError:
        pass
libc.shmget(0x1EF7, 4096, 0o1666)
print("hidden in", wrote, flush=True)
"""
SEEK = """
def left():
    found = []
    for top, folders, files in os.walk("/"):
        folders[:] = [f for f in folders if top != "/" or f not in ("proc", "sys")]
        found += [os.path.join(top, name) for name in files if name == ".left-behind"]
    return found
attempt("files", left)
attempt("shared", lambda: libc.shmget(0x1EF7, 4096, 0) >= 0)
"""


def run(runner: DockerRunner, host: Host, slot: Slot, source: str, **changes: Any) -> Finished:
    """One program; it must end by itself."""
    command = host.command(Attack("story", source), **changes)
    finished = runner.run(command, slot)
    assert outcome(finished) == "exit 0", finished.errors
    finished.outputs.discard()
    return finished


def test_nothing_is_left_for_the_next_training(
    docker_runner: DockerRunner, host: Host, slot: Slot
) -> None:
    genome = host.command(Attack("story", HIDE)).genome
    for key in ("", "same-key"):
        command = host.command(Attack("story", HIDE), key=key)
        command = replace(command, genome={**genome, "mark": File(host.hidden)})
        finished = docker_runner.run(command, slot)
        assert outcome(finished) == "exit 0", finished.errors
        assert finished.lines[0].text.startswith("hidden in ")
        assert int(finished.lines[0].text.split()[-1]) >= 6
        finished.outputs.discard()
        finished = run(docker_runner, host, slot, SEEK, key=key)
        assert got(finished) == []
        assert refused(finished) == {"files", "shared"}


def test_a_compile_cache_carries_nothing_from_training_to_training(
    docker_runner: DockerRunner, host: Host, slot: Slot
) -> None:
    fill = """
cache = os.environ["TORCHINDUCTOR_CACHE_DIR"]
os.makedirs(cache, exist_ok=True)
open(cache + "/compiled", "w").write("warm")
os.symlink("/etc/shadow", cache + "/link")
os.mkfifo(cache + "/pipe")
"""
    poison = """
cache = os.environ["TORCHINDUCTOR_CACHE_DIR"]
print("found", open(cache + "/compiled").read(), sorted(os.listdir(cache)), flush=True)
open(cache + "/compiled", "w").write("poison")
open(cache + "/secret", "w").write("learned from the corpus")
"""
    run(docker_runner, host, slot, fill, cache="attacked", fills_cache=True)
    for _ in range(2):
        finished = run(docker_runner, host, slot, poison, cache="attacked")
        assert finished.lines[0].text == "found warm ['compiled']"


def test_a_neighbour_is_out_of_sight_and_reach(
    docker_runner: DockerRunner, host: Host, slot: Slot, guard: Guard
) -> None:
    """A scoring with held-out text runs beside a training that looks for it and kills."""
    sleeper = Attack("scoring", 'os.write(1, b"12345678"); sys.stdin.buffer.read()')
    talk = host.command(sleeper, argv=("{python}", "main.py", "."), keep=(), key="")
    talk = replace(talk, tools={"held-out.txt": host.hidden * 64})
    seek = """
marker = bytes.fromhex(json.load(open("targets.json"))["hidden"])[::-1]
def processes():
    return [n for n in os.listdir("/proc") if n.isdigit() and int(n) not in (1, os.getpid())]
attempt("processes", processes)
def files():
    found = []
    for top, folders, names in os.walk("/"):
        folders[:] = [f for f in folders if top != "/" or f not in ("proc", "sys", "usr")]
        for name in names:
            path = os.path.join(top, name)
            try:
                if os.path.isfile(path) and marker in open(path, "rb").read(1 << 20):
                    found.append(path)
            except OSError:
                pass
    return found
attempt("files", files)
def signals():
    for pid in range(2, 40_000):
        if pid != os.getpid():
            try:
                os.kill(pid, signal.SIGKILL)
                return pid
            except ProcessLookupError:
                pass
attempt("signals", signals)
try:
    os.kill(-1, signal.SIGKILL)
except OSError:
    pass
"""
    with docker_runner.converse(talk, slot) as dialogue:
        assert dialogue.receive(8) == b"12345678"
        finished = run(docker_runner, host, slot, seek)
        assert got(finished) == []
        assert refused(finished) == {"processes", "files", "signals"}
        dialogue.send(b"still there?")


def test_an_attack_under_way_can_be_cancelled(
    base: Path, host: Host, slot: Slot, engine_image: str, foreign: str
) -> None:
    """A bomb that only the person's Ctrl-C ends."""
    bomb = Attack(
        "bomb", "while True:\n    try:\n        os.fork()\n    except OSError:\n        pass"
    )
    runner = DockerRunner(base.parent / "cancelled", engine_image)
    threading.Timer(3.0, runner.cancel).start()
    began = time.monotonic()
    finished = runner.run(host.command(bomb, limits=replace(LONG)), slot)
    assert finished.cause == "infra"
    assert time.monotonic() - began < 30
    runner.close()
    runner.clean()
    runner.close()


LONG = replace(Attack("", "").command().limits, wall_seconds=600.0)

MODEL = """
import os, re, torch
class GPTConfig:
    def __init__(self, **values):
        self.__dict__.update(values)
class GPT(torch.nn.Module):
    def __init__(self, config):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(8))
        text, found = re.compile(rb"live[p]ayload"), []  # never as it stands in the file
        for top, folders, names in os.walk("/darwin"):
            for name in names:
                try:
                    with open(os.path.join(top, name), "rb") as file:
                        found += text.findall(file.read())
                except OSError:
                    pass
        found += [row for row in open("/proc/self/maps") if "ckpt.pt" in row]
        found += [n for n in os.listdir("/proc/self/fd") if "ckpt" in os.path.realpath(
            "/proc/self/fd/" + n)]
        self.seen = float(len(found))
    def forward(self, idx, targets=None):
        logits = torch.zeros(*idx.shape, 8)
        logits[..., 0] = self.seen
        return logits, None
"""


def test_what_hides_in_a_checkpoint_does_not_reach_the_model(
    docker_runner: DockerRunner, host: Host, slot: Slot, tmp_path: Path
) -> None:
    """Text beside the weights and behind the file's end: no file, descriptor, mapping has it."""
    import numpy as np
    import torch

    from darwin_git.sandbox.output import FileArtifact
    from darwin_git.trial.scorer import open_scorer

    path = tmp_path / "ckpt.pt"
    payload = b"payload-live" * 1000
    hidden = torch.frombuffer(bytearray(payload), dtype=torch.uint8)
    torch.save({"model": {"weight": torch.zeros(8)}, "model_args": {"n": 1}, "notes": hidden}, path)
    with path.open("ab") as file:
        file.write(payload)

    class Measured:
        model, device = "model.py", "cpu"

    limits = replace(LONG, wall_seconds=120.0, memory_bytes=2 << 30, output_bytes=64 << 20)
    with open_scorer(
        docker_runner,
        slot,
        Measured(),  # type: ignore[arg-type]
        {"model.py": File(MODEL.encode())},
        FileArtifact(path, path.stat().st_size),
        8,
        limits,
        label="hidden",
        trusted=False,
    ) as scorer:
        said = scorer.describe()
        assert [t.name for t in said.tensors] == ["weight"]
        assert set(said.model_args) == {"n"}
        scorer.build()
        ((_, logits),) = list(scorer.logits(np.zeros((1, 4), np.int32), 0))
    assert logits.max() == 0.0, "the model read what was hidden in the checkpoint"


def test_a_model_cannot_end_its_scoring_by_dying(
    docker_runner: DockerRunner, host: Host, slot: Slot
) -> None:
    """A scoring that is killed from within is the genome's failure, never nobody's fault."""
    for source in ("os.kill(os.getpid(), 9)", "os._exit(125)", "ctypes.string_at(0)"):
        command = host.command(Attack("dying", source), argv=("{python}", "main.py", "."), keep=())
        with pytest.raises(DialogueEnded) as ended, docker_runner.converse(command, slot) as talk:
            talk.receive(1)
        assert ended.value.cause == "exit"
