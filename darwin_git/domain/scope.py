"""Which paths of a genome agents may change."""

from collections.abc import Collection
from dataclasses import dataclass
from fnmatch import fnmatchcase

OURS = "darwin.toml"


@dataclass(frozen=True)
class Scope:
    """Patterns of darwin.toml: what agents may change, and what of it they may not after all."""

    mutable: tuple[str, ...]
    protected: tuple[str, ...] = ()

    def allows(self, path: str) -> bool:
        """Whether agents may change or make a path: mutable, not protected, never ours or git's."""
        # In lower case: on some file systems Train.py is train.py.
        bare = path.lower()
        parts = bare.split("/")
        if parts[0] == OURS or any(part.startswith(".git") for part in parts):
            return False
        kept = [pattern.lower() for pattern in self.protected]
        return matches(path, self.mutable) and not matches(bare, kept)


def matches(path: str, patterns: Collection[str]) -> bool:
    """`*` stays within a folder; `data/*` and `data/**` cover everything below data/, `**` all."""
    for pattern in patterns:
        if pattern == "**":
            return True
        folder = pattern.removesuffix("/**").removesuffix("/*")
        if folder != pattern and path.startswith(folder + "/"):
            if pattern.endswith("/**") or pattern in ("data/*",):
                return True
            if "/" not in path.removeprefix(folder + "/"):
                return True
        if path.count("/") == pattern.count("/") and fnmatchcase(path, pattern):
            return True
    return False
