"""The campaign as a table: ``python -m tests.attacks [--write]``.

With --write the table goes into README.md beside this file; a test holds the two together.
"""

import sys
from pathlib import Path

from tests.attacks import dialogues, lasting, logs, network, outputs, privilege, resources
from tests.attacks.attack import Attack

README = Path(__file__).with_name("README.md")
FAMILIES: tuple[tuple[str, tuple[Attack, ...]], ...] = (
    ("Taking what was not given", resources.ATTACKS),
    ("What it prints", logs.ATTACKS),
    ("The network", network.ATTACKS),
    ("The kernel, the engine, the keeper", privilege.ATTACKS),
    ("What it leaves as its checkpoint", outputs.ATTACKS),
    ("Living on, secrets, hidden data", lasting.ATTACKS),
    ("The scoring dialogue", dialogues.ATTACKS),
)
HEAD = """\
# The attack campaign

Hostile programs against the real engine, through the runner that every training goes through, and
those that a mere process must withstand against the process runner as well. A program says of each
thing it tries whether it got anything (`GOT`) or was `refused`: one `GOT` is a failed test, and so
is an attempt that was never made. While each one runs, the host's processes, memory and free disk
are sampled; afterwards nothing of it may be left: no container, volume or network of this clone, no
process of its containers, no file of its attempt. Somebody else's container and volume stand beside
it all the time and must live. [test_stories.py](test_stories.py) has the attacks that take more
than one command: on the next training, on a neighbour, through the compile cache, through a
checkpoint on the scorer.

`exit N`: it ended by itself, and got nothing. The other outcomes are causes of `ports.Finished`.
The process runner is no wall: it keeps limits and leaves nothing behind (empty: does not apply, or,
as with an unbounded fork bomb, would take the machine that runs the test).

    pytest tests/attacks -n auto          # the campaign
    python -m tests.attacks --write       # this file
"""


def table() -> str:
    """README.md."""
    parts = [HEAD]
    for title, attacks in FAMILIES:
        parts.append(
            f"\n## {title}\n\n| attack | tries | container | process |\n|---|---|---|---|\n"
        )
        for one in attacks:
            tries = ", ".join(one.refused)
            parts.append(f"| {one.name} | {tries} | {one.expect} | {one.process} |\n")
    return "".join(parts)


if __name__ == "__main__":
    if "--write" in sys.argv:
        README.write_text(table())
    else:
        print(table())  # noqa: T201
