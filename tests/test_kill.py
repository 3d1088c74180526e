"""Killed at random instants, out of disk, twice at once: nothing finished is lost or paid twice.

The short form of a campaign; benchmarks/kill_campaign.py is the long one.
"""

import os
import random
import signal
import subprocess
import time
from pathlib import Path

import pytest

from benchmarks.kill_campaign import (
    TOOL,
    check,
    killed_step,
    leftovers,
    prepare,
    timed_step,
    trainings,
)


@pytest.mark.xdist_group("kill")
def test_kills_at_random_instants_lose_nothing(tmp_path: Path) -> None:
    ground = prepare(tmp_path / "genome", tmp_path / "ended")
    whole = timed_step(ground)
    rng = random.Random(5)
    for _ in range(3):
        killed_step(ground, rng.uniform(0, whole))
        killed_step(ground, rng.uniform(0, 4.0), "trained")
        killed_step(ground, rng.uniform(0, 0.05), "scored")
    assert ground.kills > 3
    step = [*TOOL, "-C", str(ground.folder), "step"]
    done = subprocess.run(step, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert check(ground) == []
    assert leftovers(ground.folder) == []


@pytest.mark.xdist_group("kill")
def test_ctrl_c_says_what_is_safe_and_the_next_step_goes_on(tmp_path: Path) -> None:
    ground = prepare(tmp_path / "genome", tmp_path / "ended")
    folder = ground.folder
    process = subprocess.Popen(
        [*TOOL, "-C", str(folder), "step"], stderr=subprocess.PIPE, text=True
    )
    time.sleep(4)
    ground.cut += [(time.time(), place) for place in trainings(ground)]
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 130, errors
    assert "every finished replicate is kept" in errors
    assert leftovers(folder) == []

    # The second of two at once says who holds the lock; waiting, it goes on after the first.
    first = subprocess.Popen([*TOOL, "-C", str(folder), "-q", "step"], stdout=subprocess.DEVNULL)
    time.sleep(2)
    second = subprocess.run([*TOOL, "-C", str(folder), "step"], capture_output=True, text=True)
    assert second.returncode == 1
    assert str(first.pid) in second.stderr
    assert first.wait(timeout=120) == 0
    assert check(ground) == []


@pytest.mark.xdist_group("kill")
@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small file system needs root")
def test_a_full_disk_is_a_clear_error_and_the_step_goes_on(tmp_path: Path) -> None:
    place = tmp_path / "small"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(place)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("no permission to mount here")
    try:
        ground = prepare(place / "genome", tmp_path / "ended")
        folder = ground.folder
        filler = place / "filler"
        with filler.open("wb") as file:
            try:
                while True:
                    file.write(bytes(1 << 16))
                    file.flush()
            except OSError:
                pass
        full = subprocess.run([*TOOL, "-C", str(folder), "step"], capture_output=True, text=True)
        assert full.returncode == 1, full.stderr
        assert "Traceback" not in full.stderr
        assert "space" in full.stderr.lower()
        filler.unlink()
        done = subprocess.run([*TOOL, "-C", str(folder), "step"], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert check(ground) == []
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)
