"""A small compressor: ``python squeeze.py pack|unpack < in > out``."""

import sys

from codes import read_codes, write_codes
from matches import expand, tokens


def pack(data: bytes) -> bytes:
    """Length in 4 bytes, then the coded tokens."""
    return len(data).to_bytes(4, "big") + write_codes(tokens(data))


def unpack(packed: bytes) -> bytes:
    """The data that `pack` was given."""
    return expand(read_codes(packed[4:]), int.from_bytes(packed[:4], "big"))


def main() -> None:
    """Standard input to standard output."""
    work = {"pack": pack, "unpack": unpack}[sys.argv[1]]
    sys.stdout.buffer.write(work(sys.stdin.buffer.read()))


if __name__ == "__main__":
    main()
