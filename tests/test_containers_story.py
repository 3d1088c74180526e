"""A run in containers through the command line: killed, copied, twice at once, its engine gone.

What was trained is read from the engine's own events: a container that ends well under a key is a
training that was paid for.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from docker.errors import APIError

from benchmarks.kill_campaign import SMALL
from tests.containers import Engine

TOOL = [sys.executable, "-m", "darwin_git"]
CLONE, ROLE, ATTEMPT = "darwin-git.clone", "darwin-git.role", "darwin-git.attempt"
WAIT = 400.0


class Diary:
    """The engine's events about our containers, as long as it lives and after it came back."""

    def __init__(self, engine: str) -> None:
        self.events: list[dict[str, Any]] = []
        self._engine = engine
        self._closed = False
        self._process: subprocess.Popen[str] | None = None
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        since = time.time()
        seen: set[tuple[str, str, int]] = set()
        while not self._closed:
            command = ["docker", "-H", self._engine, "events", "--since", f"{since:.3f}"]
            command += ["--filter", f"label={CLONE}", "--format", "{{json .}}"]
            with subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
            ) as self._process:
                assert self._process.stdout
                for line in self._process.stdout:
                    event = json.loads(line)
                    name = event["id"], event["Action"], event["timeNano"]
                    if name not in seen:
                        seen.add(name)
                        self.events.append(event)
            time.sleep(0.1)

    def jobs(self, action: str, clone: str = "") -> list[tuple[str, str, str]]:
        """(attempt, container, exit code) of each job's event."""
        found = [(e["Actor"]["Attributes"], e["id"]) for e in self.events if e["Action"] == action]
        return [
            (labels[ATTEMPT], container, labels.get("exitCode", ""))
            for labels, container in found
            if labels.get(ROLE) == "job" and labels[CLONE].startswith(clone)
        ]

    def paid(self, clone: str = "") -> Counter[str]:
        """Trainings that ended well, by key."""
        ended = self.jobs("die", clone)
        return Counter(attempt for attempt, _, code in ended if attempt[:2] == "k-" and code == "0")

    def close(self) -> None:
        self._closed = True
        if self._process:
            self._process.kill()
        self._thread.join(10)


@contextmanager
def diary(engine: str) -> Iterator[Diary]:
    made = Diary(engine)
    time.sleep(0.5)
    try:
        yield made
    finally:
        made.close()


def darwin(folder: Path, *words: str, code: int = 0) -> str:
    """Run the tool as a person does; stdout, or stderr where it is to fail."""
    done = subprocess.run(
        [*TOOL, "-C", str(folder), *words],
        capture_output=True,
        text=True,
        env=os.environ | {"NO_COLOR": "1", "TERM": "dumb", "COLUMNS": "400"},
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout if code == 0 else done.stderr


_begun: list[subprocess.Popen[str]] = []


def begun(folder: Path, *words: str) -> subprocess.Popen[str]:
    """The tool, running."""
    process = subprocess.Popen(
        [*TOOL, "-C", str(folder), *words],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"NO_COLOR": "1", "TERM": "dumb", "COLUMNS": "400"},
    )
    _begun.append(process)
    return process


@pytest.fixture(autouse=True)
def nobody_runs_on() -> Iterator[None]:
    """Whatever a test began has ended after it."""
    yield
    while _begun:
        process = _begun.pop()
        process.kill()
        process.wait()
        if process.stderr:
            process.stderr.close()


def until(what: Callable[[], Any], seconds: float = WAIT) -> Any:
    """The first true answer."""
    deadline = time.monotonic() + seconds
    while not (answer := what()):
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.05)
    return answer


def made(folder: Path, engine: str = "", image: str = "") -> Path:
    """A genome with a tiny budget, to be measured in containers."""
    darwin(folder.parent, "init", folder.name)
    path = folder / "darwin.toml"
    corpus = next(line for line in path.read_text().splitlines() if line.startswith("corpus"))
    sandbox = f'runner = "docker"\nengine = "{engine}"\nimage = "{image}"\nmemory_gb = 2.0\n'
    small = SMALL.replace('runner = "process"\n', sandbox)
    assert small != SMALL
    # a busy machine is nobody's fault here
    small = small.replace("[budget]\n", "[budget]\nwall_ratio = 100.0\nwall_refuse = 100.0\n")
    path.write_text(f"[data]\n{corpus}\n{small}\n[executor]\nslots = 2\n")
    return folder


def clone_of(folder: Path) -> str:
    """The clone's label."""
    from darwin_git.sandbox.leftovers import clone_id

    return clone_id(folder / ".git/darwin/attempts")


def ours(client: Any, folder: Path) -> list[dict[str, Any]]:
    """Containers of this repository."""
    label = f"{CLONE}={clone_of(folder)}"
    found: list[dict[str, Any]] = client.api.containers(all=True, filters={"label": label})
    return found


def training(client: Any, folder: Path) -> dict[str, Any] | None:
    """A container that trains under a key, and has begun to."""
    for one in ours(client, folder):
        labels = one["Labels"]
        if labels[ROLE] == "job" and labels[ATTEMPT][:2] == "k-" and one["State"] == "running":
            return one
    return None


def begins(process: subprocess.Popen[str], client: Any, folder: Path) -> dict[str, Any]:
    """The first training of a step that runs."""

    def seen() -> dict[str, Any] | None:
        if process.poll() is not None:
            pytest.fail(f"it ended with {process.returncode}: {process.communicate()[1]}")
        return training(client, folder)

    found: dict[str, Any] = until(seen)
    return found


def nothing_is_left(client: Any, folder: Path) -> None:
    """No container of ours, and of the volumes only the cached data."""
    assert ours(client, folder) == []
    label = f"{CLONE}={clone_of(folder)}"
    volumes = client.api.volumes(filters={"label": label})["Volumes"] or []
    assert {one["Labels"][ROLE] for one in volumes} <= {"data"}
    attempts = folder / ".git/darwin/attempts"
    assert not [path.name for path in attempts.iterdir() if path.name.startswith(("x-", "k-"))]


def records(folder: Path) -> list[dict[str, Any]]:
    """All records, as they lie in git."""
    listed = subprocess.run(
        ["git", "-C", str(folder), "notes", "--ref=darwin/fitness", "list"],
        capture_output=True,
        text=True,
        check=True,
    )
    blobs = [line.split()[0] for line in listed.stdout.splitlines()]
    shown = [
        subprocess.run(
            ["git", "-C", str(folder), "cat-file", "-p", blob], capture_output=True, check=True
        ).stdout
        for blob in blobs
    ]
    return [json.loads(line) for text in shown for line in text.splitlines()]


def all_is_paid_once(seen: Diary, folder: Path) -> None:
    """Each training ended well once, and its result is recorded once; no fault is."""
    paid = seen.paid(clone_of(folder))
    assert set(paid.values()) == {1}, paid
    kept = records(folder)
    assert not [r for r in kept if r.get("verdict") == "infra"]
    keys = Counter(
        (r["identity"], r["seed"])
        for r in kept
        if r["kind"] == "replicate" and not r.get("failure")
    )
    assert set(keys.values()) == {1}
    trained = {(key[2:].split("-s")[0], int(key.split("-s")[1].split("-t")[0])) for key in paid}
    assert trained == set(keys)


def forget(client: Any, folder: Path) -> None:
    """Remove what a test's repository left in the engine."""
    for one in ours(client, folder):
        with suppress(APIError):  # it may be going already
            client.api.remove_container(one["Id"], force=True, v=True)
    label = f"{CLONE}={clone_of(folder)}"
    for one in client.api.volumes(filters={"label": label})["Volumes"] or []:
        with suppress(APIError):
            client.api.remove_volume(one["Name"], force=True)


@pytest.mark.xdist_group("containers_story")
def test_a_run_in_containers_is_killed_copied_and_ends_well(
    tmp_path: Path, engine_client: Any, engine_image: str
) -> None:
    engine = os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock")
    folder = made(tmp_path / "first", engine, engine_image)
    copy = tmp_path / "copy"
    try:
        with diary(engine) as seen:
            darwin(folder, "baseline")
            nothing_is_left(engine_client, folder)
            status = json.loads(darwin(folder, "status", "--json"))
            assert status["totals"]["trainings"] == 2

            # Killed while it trains: the container goes on without us (frozen, so that it waits).
            process = begun(folder, "step")
            found = begins(process, engine_client, folder)
            engine_client.api.kill(found["Id"], "SIGSTOP")
            second = darwin(folder, "step", code=1)
            assert str(process.pid) in second, "two at once: who holds the lock is said"
            process.send_signal(signal.SIGKILL)
            process.communicate()
            before = {one["Id"] for one in ours(engine_client, folder)}
            assert found["Id"] in before

            # A copy of the repository has containers of its own, and leaves these alone.
            shutil.copytree(folder, copy, symlinks=True)
            other = begun(copy, "step")
            begins(other, engine_client, copy)
            other.send_signal(signal.SIGINT)
            other.communicate(timeout=60)
            assert other.returncode == 130
            nothing_is_left(engine_client, copy)
            assert {one["Id"] for one in ours(engine_client, folder)} == before

            # The next step takes the frozen training over, and trains nothing twice.
            key = found["Labels"][ATTEMPT]
            process = begun(folder, "step")
            time.sleep(3)
            engine_client.api.kill(found["Id"], "SIGCONT")
            _, errors = process.communicate(timeout=600)
            assert process.returncode == 0, errors
            attempts = [one for one in seen.jobs("start", clone_of(folder)) if one[0] == key]
            assert [container for _, container, _ in attempts] == [found["Id"]]
            nothing_is_left(engine_client, folder)

            darwin(folder, "certify")
            nothing_is_left(engine_client, folder)
            all_is_paid_once(seen, folder)
        assert "all is well" in darwin(folder, "verify")
        # The runner is the baseline's; another one is refused by name.
        complaint = darwin_with(folder, {"DARWIN_SANDBOX__RUNNER": "process"}, "step")
        assert "runner: 'docker' at the baseline, 'process' now" in complaint
    finally:
        for place in (folder, copy):
            if place.exists():
                forget(engine_client, place)


def darwin_with(folder: Path, environment: dict[str, str], *words: str) -> str:
    """What the tool says when it refuses."""
    done = subprocess.run(
        [*TOOL, "-C", str(folder), *words],
        capture_output=True,
        text=True,
        env=os.environ | environment | {"NO_COLOR": "1", "COLUMNS": "400"},
    )
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    return done.stderr


def test_an_engine_that_goes_away_costs_time_and_nothing_else(
    tmp_path: Path, second_engine: Engine, engine_client: Any, engine_image: str
) -> None:
    second_engine.load(engine_image, engine_client)
    folder = made(tmp_path / "first", second_engine.address, engine_image)
    with diary(second_engine.address) as seen:
        # Before: a clear refusal, and nothing was written.
        second_engine.stop()
        refused = darwin(folder, "baseline", code=1)
        assert "does not answer" in refused and "start it" in refused
        second_engine.start()
        darwin(folder, "baseline")

        # In the middle, and it does not come back: what, why, the cure; nobody is blamed.
        process = begun(folder, "step")
        client = second_engine.client()
        begins(process, client, folder)
        second_engine.kill()
        began = time.monotonic()
        _, errors = process.communicate(timeout=120)
        assert process.returncode == 1, errors
        assert "does not answer" in errors and "Traceback" not in errors
        assert time.monotonic() - began < 100
        refused = darwin(folder, "step", code=1)
        assert "the baseline was measured in containers" in refused
        assert "process" not in refused.split("->")[-1]

        # Back again, the same command goes on; away for a moment, it never ends.
        second_engine.start()
        process = begun(folder, "step")
        until(lambda: training(client, folder) or process.poll() is not None)
        if process.poll() is None:
            second_engine.kill()
            time.sleep(3)
            second_engine.start()
        _, errors = process.communicate(timeout=300)
        if process.returncode:
            # What runs waits for the engine; what was just to be started may have refused.
            assert process.returncode == 1 and "does not answer" in errors, errors
            darwin(folder, "step")

        # Ctrl-C while it is away is obeyed at once.
        process = begun(folder, "step")
        begins(process, client, folder)
        second_engine.kill()
        time.sleep(2)
        began = time.monotonic()
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
        assert process.returncode == 130
        assert time.monotonic() - began < 15
        second_engine.start()
        darwin(folder, "step")
        # An engine that was killed may refuse to remove a volume until it was started anew.
        client.close()
        second_engine.stop()
        second_engine.start()
        darwin(folder, "certify")
        client = second_engine.client()
        nothing_is_left(client, folder)
        all_is_paid_once(seen, folder)
        client.close()
