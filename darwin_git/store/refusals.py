"""Repositories that cannot carry a run: a refusal names thing, place and cure; changes nothing."""

import re
from pathlib import Path

from darwin_git.domain import names
from darwin_git.errors import DarwinError
from darwin_git.store.catfile import CatFile
from darwin_git.store.git import Git, run_git

_LFS = b"version https://git-lfs.github.com/spec/"
_LFS_SIZES = range(100, 1024)


def locate(path: Path) -> tuple[Git, Path | None]:
    """The repository around a path and its work tree, after the refusals that need no object."""
    place = path if path.is_dir() else path.parent
    if not place.is_dir():
        raise DarwinError(f"{path} does not exist", hint="give the path of a git repository")
    done = run_git(
        [
            *("rev-parse", "--path-format=absolute", "--absolute-git-dir", "--git-common-dir"),
            *("--is-bare-repository", "--is-shallow-repository", "--show-object-format"),
            "--show-toplevel",  # last: it fails where there is no work tree
        ],
        cwd=place,
        check=False,
    )
    lines = done.stdout.decode(errors="surrogateescape").splitlines()
    if len(lines) < 5:
        raise _no_repository(path, done.stderr.decode(errors="replace"))
    git = Git(Path(lines[0]), Path(lines[1]))
    git.require_version()
    if lines[2] == "true":
        raise DarwinError(
            f"{git.git_dir} is a bare repository: it has no work tree with a darwin.toml",
            hint=f"git clone {git.git_dir} and run there",
        )
    if lines[3] == "true":
        raise DarwinError(
            f"{git.git_dir} is a shallow clone: its history ends too early",
            hint="git fetch --unshallow",
        )
    if lines[4] != "sha1":
        raise DarwinError(
            f"{git.git_dir} uses {lines[4]} object names; darwin-git knows sha1 only",
            hint="git init --object-format=sha1 in a new folder, and copy the files there",
        )
    _refuse_partial(git)
    return git, Path(lines[5]) if len(lines) > 5 else None


def _no_repository(path: Path, stderr: str) -> DarwinError:
    if "dubious ownership" in stderr:
        return DarwinError(
            f"git does not trust the repository at {path}: it belongs to somebody else",
            hint=f"git config --global --add safe.directory {path}",
        )
    if "not a git repository" in stderr:
        return DarwinError(
            f"{path} is not in a git repository", hint="git init, or darwin-git init there"
        )
    said = stderr.strip().splitlines()
    return DarwinError(
        f"git cannot open {path}: {said[-1] if said else 'no reason given'}",
        hint="repair the repository (git fsck says more)",
    )


def _refuse_partial(git: Git) -> None:
    pattern = r"^(extensions\.partialclone|remote\..*\.(promisor|partialclonefilter))$"
    done = git.call("config", "--get-regexp", pattern, check=False)
    keys = [line.split(" ")[0] for line in done.stdout.decode(errors="replace").splitlines()]
    if keys:
        raise DarwinError(
            f"{git.git_dir} is a partial clone ({keys[0]}): objects are missing until they are "
            "fetched",
            hint="git clone it again without --filter",
        )


def refuse_names(git: Git, cat: CatFile) -> None:
    """Refuse a branch or notes reference that stands where our folders must be."""
    for prefix in names.OURS:
        ref = prefix.rstrip("/")
        if cat.info(ref) is not None:
            short = ref.removeprefix("refs/heads/")
            raise DarwinError(
                f"{ref} in {git.git_dir} stands where darwin-git keeps its references",
                hint=f"git branch -m {short} {short}-old"
                if ref.startswith("refs/heads/")
                else f"git update-ref {ref}-old {ref} && git update-ref -d {ref}",
            )


def refuse_empty(git: Git, cat: CatFile) -> None:
    """Refuse a repository without a commit on HEAD."""
    if cat.info("HEAD^{commit}") is None:
        raise DarwinError(
            f"{git.git_dir} has no commit yet",
            hint="commit the training code first: git add -A && git commit -m 'start'",
        )


def refuse_tree(git: Git, cat: CatFile) -> None:
    """Refuse submodules and LFS pointers in HEAD: a checkout of ours would miss their content."""
    small: list[tuple[str, str]] = []
    for row in git.run("ls-tree", "-r", "-l", "-z", "--full-tree", "HEAD").split(b"\0"):
        if not row:
            continue
        fields, _, raw = row.partition(b"\t")
        mode, _, oid, size = fields.decode().split()
        path = raw.decode(errors="backslashreplace")
        if mode == "160000" or path == ".gitmodules":
            raise DarwinError(
                f"{path} in HEAD of {git.git_dir} belongs to a submodule",
                hint="copy the submodule's files into the repository: git rm --cached it, git add",
            )
        if size.isdigit() and int(size) in _LFS_SIZES:
            small.append((path, oid))
    for (path, _), found in zip(small, cat.get_many([oid for _, oid in small]), strict=True):
        if found is not None and found.data.startswith(_LFS) and b"\noid sha256:" in found.data:
            raise DarwinError(
                f"{path} in HEAD of {git.git_dir} is a Git LFS pointer, not the file",
                hint="commit the file itself: git lfs migrate export --include="
                + re.sub(r"[^\w./-]", "?", path),
            )
