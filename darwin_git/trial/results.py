"""What was measured and may stand in no record yet: one small file for each key.

A slot measures, the main thread writes to git. A kill, a full disk or Ctrl-C between the two would
cost the training once more, so a result lies here before its checkpoint goes.
"""

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from darwin_git.domain.evidence import replicate_fields, replicate_of, screen_fields, screened_of
from darwin_git.domain.records import canonical_json
from darwin_git.domain.trial import Replicate, Screened, Verdict

KEPT_SECONDS = 14 * 24 * 3600.0
VERSION = 1


class Results:
    """Replicates and screens by key, each written atomically.

    Args:
        folder: where they lie; None keeps nothing.
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder

    def replicate(self, key: str, *, final: bool) -> Replicate | None:
        """The replicate of that key; one that lacks the final shards asked for is forgotten."""
        found = self._read(key)
        if found is None:
            return None
        replicate = replicate_of(found)
        if final and replicate.verdict is Verdict.OK and not replicate.final:
            # Its training is run again, and then the key must not say that it was scored.
            self._path(key).unlink(missing_ok=True)
            return None
        return replicate

    def screen(self, key: str) -> Screened | None:
        """The screen of that key."""
        found = self._read(key)
        return None if found is None else screened_of(found)

    def keep_replicate(self, key: str, replicate: Replicate, factor: float) -> None:
        """Make a replicate durable; faults of infrastructure are not kept."""
        if replicate.verdict is not Verdict.INFRA:
            self._write(key, replicate_fields(replicate, factor))

    def keep_screen(self, key: str, screened: Screened) -> None:
        """Make a screen durable; faults of infrastructure are not kept."""
        if screened.verdict is not Verdict.INFRA:
            self._write(key, screen_fields(screened))

    def keys(self) -> frozenset[str]:
        """All keys that hold a result."""
        if self._folder is None:
            return frozenset()
        return frozenset(path.name[: -len(".json")] for path in self._folder.glob("*.json"))

    def reap(self) -> None:
        """Remove old results and unfinished drafts: by now a record holds them."""
        if self._folder is None:
            return
        oldest = time.time() - KEPT_SECONDS
        for path in self._folder.glob("*.json*"):
            if path.suffix == ".tmp" or path.stat().st_mtime < oldest:
                path.unlink(missing_ok=True)

    def _path(self, key: str) -> Path:
        assert self._folder is not None
        return self._folder / f"{key}.json"

    def _read(self, key: str) -> dict[str, Any] | None:
        if self._folder is None:
            return None
        try:
            found = json.loads(self._path(key).read_text())
        except FileNotFoundError:
            return None
        except ValueError:
            return None  # the machine lost its power while the file was new
        return found if isinstance(found, dict) and found.get("v") == VERSION else None

    def _write(self, key: str, fields: Mapping[str, Any]) -> None:
        if self._folder is None:
            return
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        draft = self._folder / f"{key}.json.tmp"
        draft.write_text(canonical_json({"v": VERSION, **fields}))
        draft.replace(self._path(key))
