"""The clone's pre-commit hook, by real commits."""

import shutil
import subprocess
from pathlib import Path

import pytest

HOOK = Path(__file__).resolve().parents[2] / "hooks" / "pre-commit"


def git(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["git", "-C", str(folder), *words], capture_output=True, text=True)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    git(tmp_path, "init", "-q", "-b", "main")
    assert git(tmp_path, "commit", "-q", "--allow-empty", "-m", "Start").returncode == 0
    shutil.copy(HOOK, tmp_path / ".git/hooks/pre-commit")
    return tmp_path


@pytest.mark.parametrize(
    "branch", ["darwin/champion", "darwin/ledger", "darwin/agent/a1", "darwin/v/0001/a1-on-a2"]
)
def test_no_commit_by_hand_on_a_branch_of_ours(folder: Path, branch: str) -> None:
    git(folder, "switch", "-q", "-c", branch)
    done = git(folder, "commit", "--allow-empty", "-m", "By hand")
    assert done.returncode == 1
    assert f"{branch} is moved by darwin-git alone" in done.stderr
    assert "darwin-git propose" in done.stderr


@pytest.mark.parametrize("branch", ["mine", "feature/darwin", "darwin-notes"])
def test_other_branches_and_a_detached_head_are_free(folder: Path, branch: str) -> None:
    git(folder, "switch", "-q", "-c", branch)
    assert git(folder, "commit", "--allow-empty", "-m", "Mine").returncode == 0
    git(folder, "switch", "-q", "--detach")
    assert git(folder, "commit", "--allow-empty", "-m", "Detached").returncode == 0
