"""A real repository with one commit of training code, and plain git beside it."""

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from darwin_git.domain import records
from darwin_git.domain.records import Record
from darwin_git.store.repository import Repository

PlainGit = Callable[..., str]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A user's repository: ``train.py`` and ``config/tiny.py`` on main."""
    place = tmp_path / "genome"
    place.mkdir()
    (place / "config").mkdir()
    (place / "train.py").write_text("beta2 = 0.95\nlr = 1e-3\n")
    (place / "config" / "tiny.py").write_text("n_layer = 2\n")
    for args in (["init", "-q", "-b", "main"], ["add", "-A"], ["commit", "-q", "-m", "Start"]):
        subprocess.run(["git", *args], cwd=place, check=True)
    return place


@pytest.fixture
def git(folder: Path) -> PlainGit:
    """Plain git in the user's repository: what a person would type."""

    def run(*args: str, cwd: Path = folder) -> str:
        done = subprocess.run(["git", *args], cwd=cwd, check=True, capture_output=True, text=True)
        return done.stdout.strip()

    return run


@pytest.fixture
def repository(folder: Path) -> Iterator[Repository]:
    """The store, open."""
    with Repository.open(folder) as opened:
        yield opened


@pytest.fixture
def start(git: PlainGit) -> str:
    """The first commit."""
    return git("rev-parse", "HEAD")


@pytest.fixture
def record() -> Callable[..., Record]:
    """Makes a record on a commit."""

    def make(commit: str, seq: int = 1, kind: str = "replicate", **fields: object) -> Record:
        return records.make_record(kind, "isle", 1, seq, commit, "t" * 40, "ident", **fields)

    return make
