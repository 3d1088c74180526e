"""Merges without a work tree: git's result, and no program that attributes name is started."""

from collections.abc import Callable
from pathlib import Path

import pytest

from darwin_git.store.history import MAX_TEXT, GitHistory
from darwin_git.store.merge import Conflict
from darwin_git.store.repository import Repository
from darwin_git.store.trees import read_tree

PlainGit = Callable[..., str]
Change = Callable[..., str]

BASE = b"beta2 = 0.95\nlr = 1e-3\n"


@pytest.fixture
def change(repository: Repository, start: str) -> Change:
    """A commit on `parent` that changes files."""

    def make(parent: str = start, /, **files: bytes | None) -> str:
        tree = repository.commit_info(parent).tree
        paths = {name.replace("__", "/").replace("_py", ".py"): new for name, new in files.items()}
        return repository.commit(repository.splice(tree, paths), [parent], "Change")

    return make


def content(repository: Repository, tree: str | None, path: str = "train.py") -> bytes:
    assert tree is not None
    return repository.objects.blob(read_tree(repository.objects, tree)[path].oid)


def test_two_changes_are_joined_as_git_joins_them(
    repository: Repository, git: PlainGit, change: Change
) -> None:
    lines = b"".join(b"line %d\n" % n for n in range(20))
    base = change(train_py=lines)
    ours = change(base, train_py=lines.replace(b"line 2\n", b"two\n"))
    theirs = change(base, train_py=lines.replace(b"line 17\n", b"x\n"), new_py=b"1\n")
    merged = repository.merge(ours, theirs)
    assert merged.conflicts == ()
    git("switch", "-q", "--detach", ours)
    git("merge", "-q", "--no-edit", theirs)
    assert merged.tree == git("rev-parse", "HEAD^{tree}")


def test_a_conflict_shows_all_three_sides(
    repository: Repository, start: str, change: Change
) -> None:
    ours = change(train_py=BASE.replace(b"0.95", b"0.99"))
    theirs = change(train_py=BASE.replace(b"0.95", b"0.9"), config__tiny_py=b"n_layer = 3\n")
    merged = repository.merge(ours, theirs)
    assert merged.tree is None
    [conflict] = merged.conflicts
    sides = (conflict.ours, conflict.base, conflict.theirs)
    assert conflict.path == "train.py"
    assert sides == (BASE.replace(b"0.95", b"0.99"), BASE, BASE.replace(b"0.95", b"0.9"))
    assert conflict.marked == content(repository, merged.marked)
    assert (
        conflict.marked.decode()
        == f"""\
<<<<<<< {ours}
beta2 = 0.99
||||||| {start}
beta2 = 0.95
=======
beta2 = 0.9
>>>>>>> {theirs}
lr = 1e-3
"""
    )
    deleted = repository.merge(ours, change(train_py=None))
    assert deleted.conflicts == (
        Conflict("train.py", BASE.replace(b"0.95", b"0.99"), BASE, None, None),
    )


def test_a_conflict_in_what_is_no_text_has_no_text(repository: Repository, change: Change) -> None:
    base = change(train_py=BASE, weights_py=b"\0\1")
    one = change(base, train_py=b"x" * (MAX_TEXT + 1), weights_py=b"\0\2")
    other = change(base, train_py=b"\xff", weights_py=b"\0\3")
    merged = GitHistory(repository).merge(one, other)
    assert merged.tree is None
    assert merged.paths == "train.py, weights.py"
    assert merged.conflicts[0].base == BASE.decode()
    assert (merged.conflicts[0].ours, merged.conflicts[0].theirs) == (None, None)
    assert set(merged.conflicts[1].__dict__.values()) == {"weights.py", None}


def test_a_mended_merge_keeps_what_git_joined_and_every_mode(
    repository: Repository, git: PlainGit, folder: Path
) -> None:
    lines = "".join(f"line {n}\n" for n in range(20))
    for path in ("train.py", "free.py"):
        (folder / path).write_text(lines)
    (folder / "train.py").chmod(0o755)
    git("add", "-A")
    git("commit", "-qm", "Base")
    git("switch", "-qc", "theirs")
    (folder / "train.py").write_text(lines.replace("line 5\n", "five\n"))
    (folder / "free.py").write_text(lines.replace("line 2\n", "two\n"))
    git("commit", "-qam", "Theirs")
    git("switch", "-q", "main")
    (folder / "train.py").write_text(lines.replace("line 5\n", "5\n"))
    (folder / "free.py").write_text(lines.replace("line 17\n", "x\n"))
    git("commit", "-qam", "Ours")
    history = GitHistory(repository)
    merged = history.merge(*(git("rev-parse", ref) for ref in ("main", "theirs")))
    assert merged.paths == "train.py"
    with pytest.raises(ValueError, match=r"train\.py"):
        history.mend(merged, {"free.py": ""})
    tree = history.mend(merged, {"train.py": "resolved\n"})
    assert git("ls-tree", tree, "train.py").startswith("100755 blob")
    assert git("show", f"{tree}:train.py") == "resolved"
    joined = lines.replace("line 2\n", "two\n").replace("line 17\n", "x\n")
    assert git("show", f"{tree}:free.py") + "\n" == joined


def test_a_parked_change_is_replayed_on_another_tip_and_taken_back(
    repository: Repository, git: PlainGit, start: str, change: Change
) -> None:
    parked = change(config__tiny_py=b"n_layer = 3\n")
    tip = change(change(train_py=b"beta2 = 0.99\nlr = 1e-3\n"), extra_py=b"")
    replayed = repository.replay(parked, start, tip)
    assert content(repository, replayed.tree, "config/tiny.py") == b"n_layer = 3\n"
    assert content(repository, replayed.tree).startswith(b"beta2 = 0.99")
    on_top = repository.commit(replayed.tree or "", [tip], "Replay")
    reverted = repository.replay(tip, on_top, on_top)
    assert reverted.tree == repository.commit_info(tip).tree
    assert repository.replay(parked, parked, tip).tree == repository.commit_info(tip).tree
    assert repository.replay(parked, start, start).tree == repository.commit_info(parked).tree
    clash = repository.replay(
        change(train_py=b"beta2 = 0.9\n"), start, change(train_py=b"beta2 = 0.8\n")
    )
    assert [c.path for c in clash.conflicts] == ["train.py"]


def test_attributes_and_configuration_of_the_user_have_no_say(
    repository: Repository, git: PlainGit, folder: Path, change: Change, tmp_path: Path
) -> None:
    ran = tmp_path / "ran"
    git("config", "merge.evil.driver", f"touch {ran}; true")
    git("config", "filter.evil.smudge", f"touch {ran}; cat")
    git("config", "merge.conflictStyle", "merge")
    git("config", "core.abbrev", "7")
    attributes = "* merge=evil filter=evil\n"
    (folder / ".gitattributes").write_text(attributes)
    (folder / ".git" / "info").mkdir(exist_ok=True)
    (folder / ".git" / "info" / "attributes").write_text(attributes)
    (tmp_path / "global").write_text(attributes)
    git("config", "core.attributesFile", str(tmp_path / "global"))
    base = change(**{".gitattributes": attributes.encode()})
    ours = change(base, train_py=BASE.replace(b"0.95", b"0.99"))
    theirs = change(base, train_py=BASE.replace(b"0.95", b"0.9"))
    git("merge-tree", "--write-tree", ours, theirs)  # plain git obeys, and says: no conflict
    assert ran.exists()
    ran.unlink()
    merged = repository.merge(ours, theirs)
    assert [c.path for c in merged.conflicts] == ["train.py"]
    assert f"||||||| {base}\n".encode() in content(repository, merged.marked)
    assert not ran.exists()
