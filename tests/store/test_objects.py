"""Objects made in this process are the ones that git would have made."""

import errno
import os
import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from darwin_git.errors import DarwinError
from darwin_git.store.objects import clean_message
from darwin_git.store.repository import Repository
from darwin_git.store.trees import (
    EMPTY_TREE,
    BadPath,
    Entry,
    check_path,
    encode_tree,
    is_dot_git,
    parse_tree,
    read_tree,
    tree_id,
)

NAMES = st.sampled_from(["a", "b", "a.b", "a-b", "ab", "é", "a0"])
PATHS = st.lists(NAMES, min_size=1, max_size=3).map("/".join)


def without_clashes(files: dict[str, bytes | None]) -> dict[str, bytes | None]:
    """Drop a file where another path needs a folder."""
    folders = {path[:i] for path in files for i, char in enumerate(path) if char == "/"}
    return {path: content for path, content in files.items() if path not in folders}


FILES = st.dictionaries(PATHS, st.binary(max_size=20), max_size=8).map(without_clashes)


def gits_tree(folder: Path, files: dict[str, bytes | None]) -> str:
    """The same tree by git's own index."""
    env = {**os.environ, "GIT_INDEX_FILE": str(folder / "other-index")}
    (folder / "other-index").unlink(missing_ok=True)
    rows = b""
    for path, content in files.items():
        if content is not None:
            oid = subprocess.run(
                ["git", "hash-object", "-w", "--stdin"],
                cwd=folder, input=content, check=True, capture_output=True,
            ).stdout.strip()  # fmt: skip
            rows += b"100644 " + oid + b"\t" + path.encode() + b"\0"
    subprocess.run(
        ["git", "update-index", "-z", "--index-info"], cwd=folder, env=env, input=rows, check=True
    )
    done = subprocess.run(
        ["git", "write-tree"], cwd=folder, env=env, check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(before=FILES, after=FILES, gone=st.sets(PATHS, max_size=3))
def test_splicing_gives_gits_own_tree(
    repository: Repository, folder: Path, before: dict[str, bytes], after: dict[str, bytes],
    gone: set[str],
) -> None:  # fmt: skip
    tree = repository.splice(EMPTY_TREE, before)
    assert tree == gits_tree(folder, dict(before))
    changes: dict[str, bytes | None] = without_clashes({**dict.fromkeys(gone), **after})
    expected = {**before, **changes}
    kept = {path: content for path, content in expected.items() if content is not None}
    try:
        spliced = repository.splice(tree, changes)
    except BadPath:
        paths = {*before, *changes}
        assert any(one.startswith(other + "/") for one in paths for other in paths)
        return
    if len(without_clashes(kept)) == len(kept):
        assert spliced == gits_tree(folder, kept)
        assert set(read_tree(repository.objects, spliced)) == set(kept)


@given(
    st.dictionaries(
        st.text(min_size=1, max_size=5).filter(lambda name: not {"/", "\0"} & set(name)),
        st.builds(
            Entry,
            st.sampled_from(["100644", "100755", "40000"]),
            st.binary(min_size=20, max_size=20).map(bytes.hex),
        ),
    )
)
def test_a_tree_reads_back(entries: dict[str, Entry]) -> None:
    try:
        data = encode_tree(entries)
    except UnicodeEncodeError:
        return  # lone surrogates that no byte stands for
    assert parse_tree(data) == entries


def test_a_tree_with_one_name_twice_is_refused() -> None:
    row = b"100644 a\0" + b"x" * 20
    with pytest.raises(BadPath, match="twice"):
        parse_tree(row + row)


@pytest.mark.parametrize(
    "path",
    [
        "", "/etc/passwd", "../x", "a/../b", "a//b", "a/./b", "a/", ".git/config", "x/.GIT/hooks",
        "git~1/x", ".git./x", ".git /x", ".git::$INDEX_ALLOCATION/x", ".g\u200cit/x", "a\\b",
        "a\nb", "a\0b", "a\x7fb", "a" * 256, "/".join(["abcdefgh"] * 200), "/".join("a" * 70),
        "\udcff",
    ],
)  # fmt: skip
def test_paths_that_could_leave_a_checkout_are_refused(path: str) -> None:
    with pytest.raises(BadPath) as caught:
        check_path(path)
    assert caught.value.message.isascii() and caught.value.hint


@given(st.text(max_size=30))
def test_a_path_that_passes_is_a_plain_relative_one(path: str) -> None:
    try:
        parts = check_path(path)
    except BadPath:
        return
    assert "/".join(parts) == path
    assert not path.startswith("/") and "\\" not in path
    assert not {"", ".", ".."} & set(parts)
    assert not any(is_dot_git(part) for part in parts)


@pytest.mark.parametrize("path", ["train.py", ".gitattributes", ".github/x.yml", "git", "é/ü.py"])
def test_ordinary_paths_pass(path: str) -> None:
    assert check_path(path) == tuple(path.split("/"))


def test_links_and_submodules_in_a_tree_are_named(repository: Repository, start: str) -> None:
    blob = repository.objects.write_blob(b"/etc/passwd")
    for mode, what in (("120000", "symbolic link"), ("160000", "submodule"), ("100664", "mode")):
        tree = repository.splice(EMPTY_TREE, {"data/link": Entry(mode, blob)})
        with pytest.raises(BadPath, match=f"data/link: is .*{what}"):
            read_tree(repository.objects, tree)
    evil = repository.objects.write_tree({".git": Entry("100644", blob)})
    with pytest.raises(BadPath, match="git's own folder"):
        read_tree(repository.objects, evil)


def test_a_splice_keeps_the_executable_bit_and_refuses_files_as_folders(
    repository: Repository, folder: Path, git: object
) -> None:
    blob = repository.objects.write_blob(b"#!/bin/sh\n")
    tree = repository.splice(EMPTY_TREE, {"run.sh": Entry("100755", blob), "d/x": b"1"})
    changed = repository.splice(tree, {"run.sh": b"#!/bin/sh\nexit 1\n"})
    assert read_tree(repository.objects, changed)["run.sh"].mode == "100755"
    for bad in ({"run.sh/x": b""}, {"d": b""}, {"a": b"", "a/b": b""}, {"a/b": b"", "a": b""}):
        with pytest.raises(BadPath):
            repository.splice(tree, bad)


def test_a_commit_is_gits_own(repository: Repository, fixed_dates: str, start: str) -> None:
    tree = repository.commit_info(start).tree
    author = ("a2 (catalogue)", "a2@darwin-git.invalid")
    with Repository.open(repository.work_tree or "") as fresh:  # reads the fixed dates
        ours = fresh.commit(tree, [start], "Set beta2\n\nWhy: é\n", author)
    env = {**os.environ, "GIT_AUTHOR_NAME": author[0], "GIT_AUTHOR_EMAIL": author[1]}
    theirs = subprocess.run(
        ["git", "commit-tree", tree, "-p", start, "-F", "-"],
        cwd=repository.work_tree, env=env, input="Set beta2\n\nWhy: é\n",
        check=True, capture_output=True, text=True,
    ).stdout.strip()  # fmt: skip
    assert ours == theirs


def test_people_and_messages_cannot_forge_headers(repository: Repository, start: str) -> None:
    tree = repository.commit_info(start).tree
    oid = repository.commit(
        tree, [start], "x\0y\x1b[31m\u202e\r\nz", ("evil>\ncommitter <x", "a@b>\nparent 1")
    )
    info = repository.commit_info(oid)
    assert info.parents == (start,)
    assert (info.author.name, info.author.email) == ("evilcommitter x", "a@bparent 1")
    assert info.committer.name == "Test Person"
    assert info.subject + info.body == "xy[31m z"
    subprocess.run(["git", "fsck", "--strict"], cwd=repository.work_tree, check=True)


@given(st.text())
def test_a_clean_message_has_no_control_character(text: str) -> None:
    cleaned = clean_message(text)
    assert cleaned.endswith("\n")
    assert not any(ord(char) < 32 and char not in "\n\t" for char in cleaned)
    assert not any(0x7F <= ord(char) < 0xA0 for char in cleaned)


def test_without_an_identity_the_cure_is_named(
    repository: Repository, start: str, isolated_git: Path
) -> None:
    (isolated_git / ".gitconfig").write_text("[user]\n\tuseConfigOnly = true\n")
    with pytest.raises(DarwinError) as caught:
        repository.commit(EMPTY_TREE, [start], "x")
    assert "git config --global user.name" in caught.value.hint


def test_an_object_that_exists_is_not_written_again(repository: Repository) -> None:
    oid = repository.objects.write_blob(b"content")
    path = repository.git.common_dir / "objects" / oid[:2] / oid[2:]
    assert path.stat().st_mode & 0o777 == 0o444
    os.utime(path, (1, 1))
    inode = path.stat().st_ino
    assert repository.objects.write_blob(b"content") == oid
    assert path.stat().st_ino == inode
    assert path.stat().st_mtime > 1  # freshened: prune counts its age anew
    assert not list((repository.git.common_dir / "objects").glob("tmp_obj_*"))


def test_a_full_disk_is_said_so(repository: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        with pytest.raises(DarwinError, match="No space left") as caught:
            repository.objects.write_blob(b"some")
    assert "free disk space" in caught.value.hint
    assert repository.objects.blob(repository.objects.write_blob(b"some")) == b"some"


def test_a_tree_has_its_id_before_it_is_stored(repository: Repository, start: str) -> None:
    tree = repository.commit_info(start).tree
    assert tree_id(repository.objects.tree(tree)) == tree
