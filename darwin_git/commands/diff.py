"""`diff`: what a variant changed, or how two commits differ."""

import signal
import subprocess

from darwin_git.commands.read import Data, find, schema
from darwin_git.errors import DarwinError
from darwin_git.store.history import GitHistory
from darwin_git.store.repository import Repository


def diff(repository: Repository, history: GitHistory, name: str, other: str | None) -> list[str]:
    """The git command that shows what a variant changed, or how two commits differ."""
    commit = find(repository, history, name)
    if other is not None:
        base = find(repository, history, other)
        base, commit = commit, base
    else:
        parents = repository.commit_info(commit).parents
        if not parents:
            raise DarwinError(f"{name} has no parent", hint="name two commits to compare")
        base = parents[0]
        trailer = repository.commit_info(commit).trailer("Darwin-Parent")
        if trailer and repository.commit_of(trailer):
            base = trailer
    return ["git", "-C", str(repository.work_tree), "diff", f"{base}..{commit}"]


def diff_data(command: list[str], repository: Repository) -> Data:
    """The diff as JSON: paths with added and deleted lines, and the text."""
    base, _, commit = command[-1].partition("..")
    stat = repository.git.run("diff", "--numstat", "-z", "--no-renames", base, commit).decode()
    files = []
    for row in filter(None, stat.split("\0")):
        added, deleted, path = row.split("\t", 2)
        files.append({"path": path, "added": _number(added), "deleted": _number(deleted)})
    text = repository.git.run("diff", "--no-color", "--no-ext-diff", base, commit)
    return {
        "schema": schema("diff"),
        "base": base,
        "commit": commit,
        "files": files,
        "diff": text.decode(errors="replace"),
    }


def _number(text: str) -> int | None:
    return None if text == "-" else int(text)


def run_git(command: list[str]) -> int:
    """Run a git reader with the user's pager and settings; a reader of it may go away."""
    code = subprocess.run(command).returncode
    return 0 if code == -signal.SIGPIPE else code
