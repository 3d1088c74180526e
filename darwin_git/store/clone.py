"""What this clone knows and no other: its population's name, its sessions, what it made itself."""

import os
import secrets
from pathlib import Path

from darwin_git.domain import names
from darwin_git.errors import DarwinError


class Clone:
    """Small files below ``<common dir>/darwin``, never pushed or fetched."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._made: set[str] | None = None

    def island(self) -> str:
        """A name made once for the clone."""
        path = self._folder / "island"
        if not path.exists():
            self._write("island", secrets.token_hex(4))
        return path.read_text().strip()

    def adopt_island(self, island: str) -> None:
        """Take another clone's name: a replay is the run that it repeats."""
        if not names.is_part(island):
            raise DarwinError(f"{island!r} names no island", hint="record the run again")
        self._write("island", island)

    def session(self) -> int:
        """Counts the commands that recorded something, so that `seq` orders their records."""
        path = self._folder / "session"
        known = path.read_text().strip() if path.exists() else "0"
        number = int(known) + 1 if known.isdigit() else 1
        self._write("session", str(number))
        return number

    def made(self, commit: str) -> bool:
        """Whether a commit was remembered as made here."""
        if self._made is None:
            path = self._folder / "made"
            self._made = set(path.read_text().split()) if path.exists() else set()
        return commit in self._made

    def remember_made(self, commit: str) -> None:
        """This clone's own catalogue (or its person, at the start) made a commit."""
        if self.made(commit):
            return
        assert self._made is not None
        self._folder.mkdir(parents=True, exist_ok=True)
        with (self._folder / "made").open("a") as file:
            file.write(f"\n{commit}\n")  # a line that a full disk cut stays by itself
        self._made.add(commit)

    def _write(self, name: str, text: str) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        temporary = self._folder / f"{name}.{os.getpid()}"
        temporary.write_text(text + "\n")
        temporary.replace(self._folder / name)
