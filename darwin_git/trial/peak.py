"""The peak that MFU is measured against: published where the device is known, else measured."""

import json
import os
from pathlib import Path

from darwin_git.domain.flops import peak_flops
from darwin_git.ports import Command, Limits, Runner, Slot
from darwin_git.trial.training import inside


def peak_of(
    runner: Runner, slot: Slot, name: str, device: str, dtype: str, cache: Path
) -> float | None:
    """FLOP/s of one slot's device.

    Args:
        name: the device's name as its maker writes it; for a CPU its model.
        cache: a JSON file that keeps what was measured here.
    """
    published = peak_flops(name, dtype)
    if published is not None:
        return published
    key = f"{name} x {len(slot.cpus) if device == 'cpu' else 1}, {dtype}"
    try:
        known = json.loads(cache.read_text())
    except (OSError, ValueError):
        known = {}
    if isinstance(known, dict) and isinstance(known.get(key), float):
        return float(known[key])
    measured = _measure(runner, slot, device, dtype)
    if measured is not None:
        cache.parent.mkdir(parents=True, exist_ok=True)
        temporary = cache.with_name(f"{cache.name}.{os.getpid()}")
        temporary.write_text(json.dumps({**known, key: measured}, indent=1) + "\n")
        temporary.replace(cache)
    return measured


def _measure(runner: Runner, slot: Slot, device: str, dtype: str) -> float | None:
    finished = runner.run(
        Command(
            label="matmul peak",
            trusted=True,
            genome={},
            tools={"peak.py": inside("peak.py")},
            argv=("{python}", "{tools}/peak.py", device, dtype),
            limits=Limits(120.0, 8 << 30, 1 << 20),
            data={},
            artifacts={},
        ),
        slot,
    )
    finished.outputs.discard()
    try:
        return float(finished.lines[-1].text)
    except (IndexError, ValueError):
        return None
