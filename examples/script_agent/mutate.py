"""A mutation by a script: another learning rate. Runs in a checkout of the target, as its agent."""

import json
import os
import re
from pathlib import Path

FACTORS = (0.5, 0.7, 1.4, 2.0)
SETTING = re.compile(r"^(learning_rate = )([0-9.e+-]+)", re.MULTILINE)


def setting(task: dict) -> Path:
    """The file that sets it last: files on the train command override each other in order."""
    files = [Path(word) for word in task["train"] if word.endswith(".py")]
    having = [path for path in files if path.exists() and SETTING.search(path.read_text())]
    if not having:
        raise SystemExit("no file of the train command sets learning_rate")
    return having[-1]


def factor(task: dict) -> float:
    """One that was not tried on this target yet; the seed decides where to begin."""
    if task["purpose"] == "repair":
        return 0.5  # it diverged, most likely: gentler
    known = {*task["tried"], *(one["idea"] for one in task["refusals"])}
    begin = task["seed"] % len(FACTORS)
    for one in FACTORS[begin:] + FACTORS[:begin]:
        if idea(one) not in known:
            return one
    raise SystemExit("every factor was tried")


def idea(by: float) -> str:
    """A short name, by which the next run knows that it was tried."""
    return f"script-rate-{by}".replace(".", "-")


def main() -> None:
    """Read the task, change one file, say why."""
    task = json.loads(Path(os.environ["DARWIN_TASK"]).read_text())
    if task["purpose"] == "resolve":
        raise SystemExit("this script resolves no conflicts")
    path, by = setting(task), factor(task)
    text = path.read_text()
    old = float(SETTING.search(text)[2])
    path.write_text(SETTING.sub(rf"\g<1>{old * by:.3g}", text, count=1))
    Path(os.environ["DARWIN_OUT"], "message.txt").write_text(
        f"Multiply the learning rate by {by}\n\n"
        f"{old:g} was never compared with {old * by:.3g} on this lineage.\n"
        f"Idea: {idea(by)}\n"
    )


if __name__ == "__main__":
    main()
