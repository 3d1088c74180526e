"""SIGKILL at random instants, over and over, while real trainings run and git writes.

    python -m benchmarks.kill_campaign [--kills 200] [--seed 1] [--runner docker]

After each kill the next command goes on; at the end every reference is consistent, no replicate was
lost or paid twice, and no process and no stale lock of ours is left.

What was paid is counted where it is spent: for processes, the genome's training script ends with a
statement that writes a line to a file outside the repository; for containers, the engine reports
each that ends well under a key. What was recorded is read from the notes as they lie in git,
without the readers that leave out doubles.
"""

import argparse
import contextlib
import json
import math
import os
import random
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from darwin_git.sandbox.container import ATTEMPT, CLONE, ROLE
from darwin_git.sandbox.leftovers import clone_id

TOOL = [sys.executable, "-m", "darwin_git"]
SMALL = """
[sandbox]
runner = "process"

[budget]
tokens = 9216

[population]
baseline_seeds = 2

[agents.a1]
kind = "catalogue"
families = ["optimizer", "schedule"]

[agents.a2]
kind = "catalogue"
families = ["init", "model"]

[selection]
race = [1]
certificate = [2]
union_tries = 1
"""

# The folder of the attempt names identity and seed, and tells a training from a smoke run.
LAST_STATEMENT = """
with open({path!r}, "a") as ended:
    ended.write(f"{{__import__('time').time()}} {{__import__('os').getcwd()}}\\n")
"""
_ENDED = re.compile(r"(\S+) (.*/k-([0-9a-f]+)-s(\d+)-t\d+/genome)")

SEEN_SECONDS = 0.5
"""The tool sees the exit of a training at most so much later."""

EXIT_SECONDS = 5.0
"""A training exits at most so long after its last statement: 0.7 to 1.6 s were measured, which is
torch being taken down on a busy machine."""

KEPT = {"clone", "volumes", "caches"}
"""What the container runner keeps between commands, beside the attempts."""
_ATTEMPT = re.compile(r"k-([0-9a-f]+)-s(\d+)-t\d+")

Training = tuple[str, int]
"""Measurement identity and seed."""


class Diary:
    """The ends of all trainings in containers, as the engine reports them while it listens.

    Attributes:
        clone: whose containers count; others may train on the same engine.
    """

    def __init__(self) -> None:
        import docker

        self.client = docker.from_env()
        self.clone = ""
        self._died: list[tuple[float, dict[str, str]]] = []
        wanted = {"type": "container", "event": "die", "label": f"{ROLE}=job"}
        self._events = self.client.events(decode=True, filters=wanted)
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        for event in self._events:
            self._died.append((event["timeNano"] / 1e9, event["Actor"]["Attributes"]))

    def trained(self) -> list[tuple[float, str]]:
        """(seconds since the epoch, attempt) of each training that ended well."""
        return [
            (at, said[ATTEMPT])
            for at, said in list(self._died)
            if (said[CLONE], said["exitCode"]) == (self.clone, "0")
            and _ATTEMPT.fullmatch(said[ATTEMPT])
        ]

    def left(self, *, data: bool) -> list[str]:
        """Containers and volumes of the clone; with `data` those that are kept on purpose."""
        wanted = {"label": f"{CLONE}={self.clone}"}
        containers = self.client.api.containers(all=True, filters=wanted)
        found = [f"container {one['Names'][0]} {one['State']}" for one in containers]
        for one in self.client.api.volumes(filters=wanted)["Volumes"] or []:
            if data or one["Labels"].get(ROLE) != "data":
                found.append(f"volume {one['Name']}")
        return found

    def close(self) -> None:
        """Stop listening."""
        self._events.close()
        self.client.close()


Moment = Literal["start", "trained", "scored"]
"""The step's start; its first training ended; the first trained checkpoint went."""


@dataclass
class Ground:
    """A genome with a tiny budget and its baseline, and what was done to it.

    Attributes:
        ended: each training writes a line there when it ends.
        kills: how often the tool was killed.
        cut: (seconds since the epoch, checkout) of each training that was killed with the tool.
        diary: what the engine says, where trainings run in containers.
    """

    folder: Path
    ended: Path
    kills: int = 0
    cut: list[tuple[float, str]] = field(default_factory=list)
    diary: Diary | None = None

    def trained(self) -> int:
        """Grows with each training that ends."""
        return len(self.diary.trained()) if self.diary else self.ended.stat().st_size


def git(folder: Path, *words: str) -> str:
    """Plain git's answer."""
    done = subprocess.run(
        ["git", "-C", str(folder), *words], check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


def prepare(folder: Path, ended: Path, diary: Diary | None = None) -> Ground:
    """A ground with its baseline; trainings run in containers where there is a diary of them."""
    subprocess.run([*TOOL, "init", str(folder)], check=True, stdout=subprocess.DEVNULL)
    path = folder / "darwin.toml"
    corpus = next(line for line in path.read_text().splitlines() if line.startswith("corpus"))
    path.write_text(f"[data]\n{corpus}\n{SMALL}")
    if diary:
        path.write_text(path.read_text().replace('"process"', '"docker"'))
    else:
        with (folder / "train.py").open("a") as script:
            script.write(LAST_STATEMENT.format(path=str(ended)))
    person = ("-c", "user.name=Person", "-c", "user.email=person@example.invalid")
    git(folder, *person, "commit", "--quiet", "--all", "--message", "Count the trainings that end")
    command = [*TOOL, "-C", str(folder), "-q", "baseline"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    if diary:
        diary.clone = clone_id(folder / ".git" / "darwin" / "attempts")
    return Ground(folder, ended, diary=diary)


def timed_step(ground: Ground) -> float:
    """Seconds of a step that nobody kills."""
    began = time.monotonic()
    command = [*TOOL, "-C", str(ground.folder), "-q", "step"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.monotonic() - began


def killed_step(ground: Ground, seconds: float, moment: Moment = "start") -> bool:
    """Start a step, SIGKILL it so long after the moment; whether it was still running."""
    process = subprocess.Popen(
        [*TOOL, "-C", str(ground.folder), "-q", "step"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    before = ground.trained()
    attempts = ground.folder / ".git" / "darwin" / "attempts"
    trained: set[Path] = set()
    seen: dict[str, float] = {}
    kill_at = time.time() + seconds if moment == "start" else math.inf
    while process.poll() is None:
        now = time.time()
        seen |= dict.fromkeys(trainings(ground), now)
        if now >= kill_at:
            process.kill()
            process.wait()
            ground.kills += 1
            ground.cut += [(now, place) for place, at in seen.items() if now - at < SEEN_SECONDS]
            return True
        trained |= set(attempts.glob("k-*.json"))
        came = {
            "trained": ground.trained() > before,
            "scored": not all(path.exists() for path in trained),
        }
        if kill_at == math.inf and came[moment]:
            kill_at = now + seconds
        time.sleep(0.01)
    return False


def trainings(ground: Ground) -> list[str]:
    """Checkouts in which a training runs."""
    if ground.diary:
        return []  # a container outlives the tool, and the next one takes it over
    marker = f"{ground.folder.resolve()}/.git/darwin/attempts/k-"
    return [place for place in _places() if place.startswith(marker)]


def _places() -> list[str]:
    """Working folders of all other processes."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            with contextlib.suppress(OSError):
                found.append(str((entry / "cwd").readlink()))
    return found


def endings(ground: Ground) -> dict[Training, list[float]]:
    """When each training reached its last statement.

    Left out are those that were killed with the tool before they had exited: they have not ended
    for the tool, and are rightly run again.
    """
    found: dict[Training, list[float]] = defaultdict(list)
    if ground.diary:
        for at, name in ground.diary.trained():
            if said := _ATTEMPT.fullmatch(name):
                found[said[1], int(said[2])].append(at)
        return found
    for line in ground.ended.read_text().splitlines():
        if said := _ENDED.fullmatch(line):
            at, place = float(said[1]), said[2]
            if not any(place == cut and abs(kill - at) < EXIT_SECONDS for kill, cut in ground.cut):
                found[said[3], int(said[4])].append(at)
    return found


def recorded(folder: Path) -> dict[Training, set[str]]:
    """Ids of all records of each training that lie in the notes, doubles included."""
    found: dict[Training, set[str]] = defaultdict(set)
    for line in _note_lines(folder):
        record = json.loads(line)
        if record["kind"] == "replicate":
            found[record["identity"], record["seed"]].add(record["id"])
    return found


def _note_lines(folder: Path) -> Iterator[str]:
    places = ("refs/notes/darwin/fitness", "refs/notes/darwin/w/")
    for ref in git(folder, "for-each-ref", "--format=%(refname)", *places).splitlines():
        for row in git(folder, "ls-tree", "-r", ref).splitlines():
            yield from git(folder, "cat-file", "blob", row.split()[2]).splitlines()


def waiting(ground: Ground) -> set[Training]:
    """Trainings that ended and have no record yet."""
    return endings(ground).keys() - recorded(ground.folder).keys()


def check(ground: Ground, *, underway: bool = False) -> list[str]:
    """What is wrong: empty where all is well.

    Args:
        underway: the last step was killed: records may be missing and locks may lie about.
    """
    folder = ground.folder
    verified = subprocess.run(
        [*TOOL, "-C", str(folder), "verify", "--json"], capture_output=True, text=True
    )
    faults: list[str] = json.loads(verified.stdout)["faults"]
    paid, records = endings(ground), recorded(folder)
    faults += [f"{key} was paid {len(at)} times" for key, at in paid.items() if len(at) > 1]
    faults += [f"{key} has records {ids}" for key, ids in records.items() if len(ids) > 1]
    if not paid:
        faults.append("no training wrote its line: nothing was checked")
    if underway:
        return faults
    faults += [f"{key} was paid and is lost" for key in waiting(ground)]
    common = Path(git(folder, "rev-parse", "--absolute-git-dir"))
    faults += [f"stale {path}" for path in (common / "refs").rglob("*.lock")]
    faults += [f"stale {path}" for path in common.glob("*.lock")]
    attempts = (common / "darwin" / "attempts").glob("*")
    faults += [f"left {path}" for path in attempts if path.name not in KEPT]
    if ground.diary:
        faults += [f"left {one}" for one in ground.diary.left(data=False)]
    if "missing" in (found := git(folder, "fsck", "--no-dangling", "--no-progress")):
        faults.append(found)
    return faults


def leftovers(folder: Path) -> list[str]:
    """Where processes still run in the repository."""
    time.sleep(1.0)
    return [place for place in _places() if place.startswith(str(folder.resolve()))]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--runner", choices=("process", "docker"), default="process")
    chosen = parser.parse_args()
    diary = Diary() if chosen.runner == "docker" else None
    rng = random.Random(chosen.seed)
    with tempfile.TemporaryDirectory() as place:
        ground = prepare(Path(place) / "genome", Path(place) / "ended", diary)
        whole = timed_step(ground)
        # Uniform over a step, and as often where the most is lost: while a training that ended is
        # scored, and in the moment between the checkpoint's end and the record.
        spans: list[tuple[Moment, float]] = [("start", whole), ("trained", 4.0), ("scored", 0.1)]
        between = 0
        print(f"a step takes {whole:.1f} s", flush=True)
        while ground.kills < chosen.kills:
            moment, span = rng.choice(spans)
            began = time.monotonic()
            if not killed_step(ground, rng.uniform(0, span), moment):
                # it ended before: the machine was busier when the first one was timed
                spans[0] = ("start", min(spans[0][1], time.monotonic() - began))
                continue
            between += bool(waiting(ground))
            if ground.kills % 10 == 0:
                faults = check(ground, underway=True)
                print(f"{ground.kills} kills: {faults or 'all is well'}", flush=True)
        timed_step(ground)
        ends = [len(at) for at in endings(ground).values()]
        print(
            f"{ground.kills} kills, {between} of them between a training's end and its "
            f"record: {check(ground) or 'all is well'}; left: {leftovers(ground.folder) or 0}; "
            f"{sum(ends)} trainings ended, {len(recorded(ground.folder))} have a record; "
            f"{len(ground.cut)} were killed on their way"
        )
        if diary:
            clean = [*TOOL, "-C", str(ground.folder), "-q", "image", "clean"]
            subprocess.run(clean, check=True, stdout=subprocess.DEVNULL)
            print(f"in the engine after `image clean`: {diary.left(data=True) or 'nothing'}")
            diary.close()


if __name__ == "__main__":
    main()
