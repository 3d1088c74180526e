"""Runs a program in the checkout: ``mutate.py OUT``, with run.json and task.json beside it.

Afterwards OUT/changes.json says what differs from the checkout as it was::

    files      path -> new text, or null where the file is gone
    refused    path -> what is wrong: a link, too large, no text

It stands behind the same wall as the program, which may do to it whatever it likes: the other side
checks every path and every byte again. Standard library only, python 3.9 or newer.
"""

import contextlib
import hashlib
import json
import os
import shutil
import signal
import stat
import subprocess
import sys
from pathlib import Path

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

MESSAGE = "message.txt"
CHANGES = "changes.json"
LEFT_OUT = ("__pycache__", "node_modules")
"""Folders that running a program leaves."""
MOST_ENTRIES = 50_000
MOST_REFUSED = 20
CHUNK = 1 << 20
NOT_COLLECTED = 120


class TooMuch(Exception):
    """More than anybody would take."""


def start(command: "list[str]", tools: Path, out: Path) -> int:
    """Run the command to its end; its exit code, 128 and more for a signal."""
    places = {
        "python": sys.executable,
        "genome": str(Path.cwd()),
        "program": str(tools.parent / "program"),
        "task": str(tools / "task.json"),
        "out": str(out),
    }
    words = command
    for name, place in places.items():
        words = [word.replace(f"{{{name}}}", place) for word in words]
    known = {f"DARWIN_{name.upper()}": place for name, place in places.items()}
    try:
        program = subprocess.Popen(words, stdin=subprocess.DEVNULL, env={**os.environ, **known})
    except OSError as error:
        say(f"{words[0]} cannot be started: {error.strerror}")
        return 127
    code = program.wait()
    if code >= 0:
        return code
    with contextlib.suppress(ValueError):
        say(f"it was killed by {signal.Signals(-code).name}")
    return 128 - code


def entries(before: "dict[str, str]") -> "Iterator[tuple[str, os.stat_result]]":
    """(path, status) of everything below the checkout that is no folder.

    New hidden files, .git and what running leaves behind stay out: they are a tool's own matter.
    """
    folders = {str(parent) for path in before for parent in Path(path).parents}
    waiting, seen = [""], 0
    while waiting:
        here = waiting.pop()
        with os.scandir(here or ".") as listing:
            for entry in listing:
                seen += 1
                if seen > MOST_ENTRIES:
                    raise TooMuch(f"it left more than {MOST_ENTRIES} files")
                path = f"{here}/{entry.name}" if here else entry.name
                known = path in before or path in folders
                hidden = entry.name.startswith(".") or entry.name in LEFT_OUT
                if entry.name == ".git" or (hidden and not known):
                    continue
                status = entry.stat(follow_symlinks=False)
                if stat.S_ISDIR(status.st_mode):
                    waiting.append(path)
                else:
                    yield path, status


def changed(path: str, status: os.stat_result, digest: str, most: int) -> "str | None":
    """The new text of a file, None where it is as it was; raises ValueError with what is wrong."""
    if not stat.S_ISREG(status.st_mode):
        raise ValueError("is a link" if stat.S_ISLNK(status.st_mode) else "is no plain file")
    if not digest and status.st_size > most:
        raise ValueError(f"has {status.st_size} bytes")
    whole, kept = hashlib.sha256(), b""
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as file:
        while piece := file.read(CHUNK):
            whole.update(piece)
            if len(kept) <= most:
                kept += piece
    if whole.hexdigest() == digest:
        return None
    if len(kept) > most:
        raise ValueError(f"has {status.st_size} bytes")
    try:
        text = kept.decode("utf-8")
    except UnicodeDecodeError:
        raise ValueError("is no UTF-8 text") from None
    if "\0" in text:
        raise ValueError("is no text: it holds a NUL")
    return text


def collect(before: "dict[str, str]", most: int) -> "dict[str, Any]":
    """What differs from the checkout as it was; `most` bytes of text in all."""
    files: dict[str, str | None] = {}
    refused: dict[str, str] = {}
    there, total = set(), 0
    for path, status in entries(before):
        there.add(path)
        name = path.encode("utf-8", "backslashreplace").decode()
        try:
            text = changed(path, status, before.get(path, ""), most)
            if text is None:
                continue
            total += len(text.encode())
            if total > most:
                raise ValueError(f"makes the changes larger than {most} bytes")
            files[name] = text
        except (OSError, ValueError) as error:
            if len(refused) < MOST_REFUSED:
                refused[name] = str(getattr(error, "strerror", None) or error)
    files.update(dict.fromkeys(path for path in before if path not in there))
    return {"files": files, "refused": refused}


def write(found: "dict[str, Any]", out: Path) -> None:
    """The changes, and nothing else but the message: the program may have filled the folder."""
    for place in out.iterdir():
        if place.is_dir() and not place.is_symlink():
            shutil.rmtree(place)
        elif place.name != MESSAGE:
            place.unlink()
    with (out / CHANGES).open("x", encoding="utf-8") as file:
        json.dump(found, file, ensure_ascii=False)


def say(text: str) -> None:
    """A line on standard error."""
    sys.stderr.write(f"{text}\n")


def main() -> None:
    """Start the program; collect what it changed where it ended well."""
    tools, out = Path(__file__).resolve().parent, Path(sys.argv[1]).resolve()
    spec = json.loads((tools / "run.json").read_text(encoding="utf-8"))
    code = start(spec["command"], tools, out)
    if code:
        sys.exit(code)
    try:
        write(collect(spec["before"], spec["most"]), out)
    except (OSError, TooMuch) as error:
        say(f"its changes cannot be collected: {error}")
        sys.exit(NOT_COLLECTED)


if __name__ == "__main__":
    main()
