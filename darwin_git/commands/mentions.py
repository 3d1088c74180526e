"""What is no obstacle and still worth a line before a genome is adopted or measured."""

from darwin_git.config import FILE_NAME
from darwin_git.store.repository import Repository


def mentions(repository: Repository) -> list[str]:
    """A sentence each for uncommitted changes and a detached HEAD; empty where all is plain.

    darwin.toml does not count: it is read from the work tree. Nor do untracked files.
    """
    found = []
    git = repository.git
    changed = git.run(
        *(f"--work-tree={repository.work_tree}", "status", "--porcelain", "--untracked-files=no"),
        # A submodule's own configuration has no say, and darwin.toml may be edited.
        *("--ignore-submodules=all", "--", ":/", f":(top,exclude){FILE_NAME}"),
    )
    if changed.strip():
        count = len(changed.splitlines())
        files = "1 file has" if count == 1 else f"{count} files have"
        found.append(f"note: {files} uncommitted changes, which are not part of what is measured")
    if git.call("symbolic-ref", "--quiet", "HEAD", check=False).returncode:
        found.append(f"note: HEAD is detached at {repository.resolve('HEAD')[:12]}")
    return found
