"""Compressed bits per byte of texts that the genome has never seen, if they come back unchanged.

Stands outside the genome. It runs the genome's code as another process, gives it bytes, takes bytes
and believes nothing else: a text that comes back changed ends the measurement.

The texts are pieces of Python's standard library. Their letters are exchanged by a permutation that
the seed draws, so that no compressor can carry the texts themselves, or look them up on the disk.
"""

import ctypes
import hashlib
import json
import os
import random
import string
import subprocess
import sys
import sysconfig
import time
from pathlib import Path

BLOCKS = 24
BLOCK_BYTES = 2048
SECONDS = 20.0
PR_SET_DUMPABLE = 4


def close_to_others() -> None:
    """The genome runs as the same user: it may not open our memory and pipes (prctl(2))."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)


def sources(split: str) -> list[Path]:
    """The files of a split: a hash of the name decides, so that none is in both."""
    folder = Path(sysconfig.get_path("stdlib"))
    files = sorted(path for path in folder.glob("*.py") if path.stat().st_size > 4 * BLOCK_BYTES)
    final = [p for p in files if hashlib.sha256(p.name.encode()).digest()[0] < 64]
    return final if split == "final" else [p for p in files if p not in final]


def text(split: str, seed: int) -> bytes:
    """One piece of each of many files, in order, with the seed's letters."""
    rng = random.Random(f"{split}/{seed}")
    letters = list(string.ascii_lowercase)
    rng.shuffle(letters)
    small = "".join(letters)
    table = bytes.maketrans(
        (string.ascii_lowercase + string.ascii_uppercase).encode(), (small + small.upper()).encode()
    )
    files = sources(split)
    pieces = []
    for number in range(BLOCKS):
        data = files[number * len(files) // BLOCKS].read_bytes()
        # Little noise: the places differ by half a piece from seed to seed, not by a whole file.
        start = (len(data) - 2 * BLOCK_BYTES) // 2 + rng.randrange(BLOCK_BYTES // 2)
        pieces.append(data[start : start + BLOCK_BYTES])
    return b"".join(pieces).translate(table)


def run(word: str, data: bytes) -> bytes:
    """The genome's answer; nothing of ours is in its environment."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("DARWIN_")}
    done = subprocess.run(
        [sys.executable, "squeeze.py", word],
        input=data,
        capture_output=True,
        timeout=SECONDS,
        env=environment,
    )
    if done.returncode:
        sys.exit(f"squeeze.py {word} failed:\n" + done.stderr.decode("utf-8", "replace")[-3000:])
    return done.stdout


def main() -> None:
    """One JSON object on the last line."""
    close_to_others()
    data = text(os.environ["DARWIN_SPLIT"], int(os.environ["DARWIN_SEED"]))
    began = time.monotonic()
    packed = run("pack", data)
    seconds = time.monotonic() - began
    if run("unpack", packed) != data:
        sys.exit("what was unpacked is not what was packed")
    bits = 8 * len(packed) / len(data)
    print(json.dumps({"bits_per_byte": bits, "pack_seconds": round(seconds, 3)}))


if __name__ == "__main__":
    main()
