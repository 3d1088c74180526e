"""Opening: what cannot carry a run is refused by name, with a cure, and stays as it was."""

import hashlib
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from darwin_git.domain import names
from darwin_git.errors import DarwinError
from darwin_git.store import corpus as corpus_module
from darwin_git.store.commits import format_message, parse_trailers
from darwin_git.store.git import Git, parse_version
from darwin_git.store.repository import Repository
from darwin_git.store.trees import EMPTY_TREE
from darwin_git.store.updateref import RefUpdate

PlainGit = Callable[..., str]


def everything(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def refused(folder: Path, *words: str, hint: str) -> None:
    before = everything(folder)
    with pytest.raises(DarwinError) as caught:
        Repository.open(folder)
    for word in words:
        assert word in caught.value.message
    assert hint in caught.value.hint
    assert everything(folder) == before


def clone(folder: Path, place: Path, *options: str) -> Path:
    subprocess.run(
        ["git", "clone", "-q", *options, folder.as_uri(), str(place)], check=True,
        capture_output=True,
    )  # fmt: skip
    return place


def test_no_repository(tmp_path: Path) -> None:
    refused(tmp_path, str(tmp_path), "not in a git repository", hint="git init")
    with pytest.raises(DarwinError, match="does not exist"):
        Repository.open(tmp_path / "no" / "such")


def test_an_empty_repository_is_refused_unless_allowed(tmp_path: Path) -> None:
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    refused(tmp_path, "no commit", hint="git commit")
    with Repository.open(tmp_path, allow_empty=True) as repository:
        assert repository.work_tree == tmp_path


def test_shallow_partial_and_bare_clones(
    folder: Path, tmp_path: Path, git: PlainGit, isolated_git: Path
) -> None:
    (folder / "train.py").write_text("x = 2\n")
    git("commit", "-qam", "Second")
    refused(clone(folder, tmp_path / "s", "--depth=1"), "shallow", hint="--unshallow")
    git("config", "uploadpack.allowFilter", "true")
    partial = clone(folder, tmp_path / "p", "--filter=blob:none")
    refused(partial, "partial", hint="--filter")
    refused(clone(folder, tmp_path / "b", "--bare"), "bare", hint="git clone")


def test_sha256_objects(tmp_path: Path) -> None:
    subprocess.run(["git", "init", "-q", "--object-format=sha256", tmp_path], check=True)
    refused(tmp_path, "sha256", hint="sha1")


def test_submodules(folder: Path, git: PlainGit) -> None:
    head = git("rev-parse", "HEAD")
    git("update-index", "--add", "--cacheinfo", f"160000,{head},vendor/lib")
    git("commit", "-qm", "Add a submodule")
    refused(folder, "vendor/lib", "submodule", hint="git rm --cached")
    Repository.open(folder, thorough=False).close()


def test_lfs_pointers(folder: Path, git: PlainGit) -> None:
    pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{'a' * 64}\nsize 123456\n"
    (folder / "data.bin").write_text(pointer)
    git("add", "-A")
    git("commit", "-qm", "Add data")
    refused(folder, "data.bin", "LFS", hint="git lfs migrate export")


@pytest.mark.parametrize("ref", ["refs/heads/darwin", "refs/darwin", "refs/notes/darwin"])
def test_a_reference_where_our_folders_must_be(folder: Path, git: PlainGit, ref: str) -> None:
    git("update-ref", ref, "HEAD")
    with pytest.raises(DarwinError) as caught:
        Repository.open(folder)
    assert ref in caught.value.message
    subprocess.run(caught.value.hint, shell=True, cwd=folder, check=True)
    Repository.open(folder).close()


def test_an_old_git(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert parse_version("git version 2.39.5 (Apple Git-154)") == (2, 39)
    assert parse_version("git version 2.50.1.windows.1") == (2, 50)
    monkeypatch.setattr(Git, "version", (2, 37))
    refused(folder, "2.37", hint="2.38")


def test_without_git(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(DarwinError, match="not installed"):
        Repository.open(folder)


def test_opening_from_a_hook_and_a_subfolder(
    folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "elsewhere"))
    monkeypatch.setenv("GIT_INDEX_FILE", str(tmp_path / "elsewhere"))
    for path in (folder / "config", folder / "train.py"):
        with Repository.open(path) as repository:
            assert repository.work_tree == folder
    with pytest.raises(DarwinError, match="GIT_DIR is set"):
        Repository.create(tmp_path / "new")


def test_a_linked_work_tree_shares_everything(
    folder: Path, git: PlainGit, tmp_path: Path, start: str
) -> None:
    git("worktree", "add", "-q", "-b", "other", str(tmp_path / "linked"))
    with Repository.open(tmp_path / "linked") as linked, linked.session():
        assert linked.work_tree == tmp_path / "linked"
        linked.transition([RefUpdate(names.CHAMPION, None, start)], {"a": b"1"}, "x")
        assert linked.resolve("HEAD") == start
    assert git("rev-parse", "darwin/champion") == start
    with Repository.open(folder) as repository:
        assert repository.ledger.read("a") == b"1"


def test_a_new_repository(tmp_path: Path) -> None:
    with Repository.create(tmp_path / "new") as repository:
        tree = repository.splice(EMPTY_TREE, {"train.py": b"1\n"})
        commit = repository.commit(tree, [], "Start")
        subprocess.run(["git", "reset", "-q", "--hard", commit], cwd=tmp_path / "new", check=True)
        assert repository.resolve("main") == commit
        with repository.gitpython() as view:
            assert view.head.commit.hexsha == commit
    with pytest.raises(DarwinError, match="already"):
        Repository.create(tmp_path / "new")


def test_the_lock_says_who_holds_it(folder: Path, repository: Repository) -> None:
    held, free = threading.Event(), threading.Event()

    def hold() -> None:
        with Repository.open(folder) as other, other.session(command="darwin-git step"):
            held.set()
            free.wait(10)

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait(10)
    with pytest.raises(DarwinError) as caught, repository.session(wait_s=0.1):
        pass
    assert "darwin-git step" in caught.value.message and "process" in caught.value.message
    assert "--wait" in caught.value.hint
    free.set()
    with repository.session(wait_s=10):
        pass
    thread.join()


def test_reading_commits_and_references(repository: Repository, git: PlainGit, start: str) -> None:
    tree = repository.commit_info(start).tree
    message = format_message(
        "Try  rotary\nembeddings", "Why: it helps.\n\nNot: a trailer\nhere",
        {"Darwin-Agent": "a2", "Darwin-Operator": "x\nDarwin-Agent: a9"},
    )  # fmt: skip
    author = ("a2 (gpt-5.1)", "a2@darwin-git.invalid")
    commit = repository.commit(tree, [start], message, author, when=1_700_000_000)
    info = repository.commit_info(commit)
    assert (info.tree, info.parents, info.subject) == (tree, (start,), "Try rotary embeddings")
    assert str(info.author) == "a2 (gpt-5.1) <a2@darwin-git.invalid>"
    assert (info.author.when, info.committer.name) == (1_700_000_000, "Test Person")
    assert info.trailers == {
        "Darwin-Agent": ["a2"], "Darwin-Operator": ["x Darwin-Agent: a9"],
    }  # fmt: skip
    shown = git("log", "-1", "--format=%(trailers:only,unfold)", commit)
    assert shown == "Darwin-Agent: a2\nDarwin-Operator: x Darwin-Agent: a9"
    repository.publish([RefUpdate(names.variant_ref(1, "a2-on-a1"), None, commit)])
    repository.publish([RefUpdate(names.agent_ref("a1"), None, start)])
    assert repository.refs(names.VARIANTS) == {names.variant_ref(1, "a2-on-a1"): commit}
    assert set(repository.trees_of_refs(names.VARIANTS, names.AGENTS)) == {tree}
    assert repository.is_ancestor(start, commit) and not repository.is_ancestor(commit, start)
    assert repository.commit_of("no-such") is None and repository.commit_of("a\nb") is None
    for rev in ("no-such", "", "--help", "HEAD:train.py"):
        with pytest.raises(DarwinError, match="no commit"):
            repository.resolve(rev)
    assert set(repository.files(commit)) == {"train.py", "config/tiny.py"}


def test_trailers_are_the_last_paragraph_or_none() -> None:
    assert parse_trailers("Why: x\n\nA: 1\nB: 2\n  more\nA: 3") == {
        "A": ["1", "3"],
        "B": ["2 more"],
    }
    assert parse_trailers("Prose: here\nand there") == {}
    assert parse_trailers("") == {}


def test_archived_references_are_packed_only_when_they_are_many(
    repository: Repository, folder: Path, start: str
) -> None:
    refs = [names.archive_ref(1, f"a2-on-a1.{n}") for n in range(2, 7)]
    repository.publish([RefUpdate(ref, None, start) for ref in refs])
    assert not repository.pack()
    assert repository.pack(at_least=5)
    assert set(repository.refs(names.ARCHIVE)) == set(refs)
    assert names.ARCHIVE in (folder / ".git" / "packed-refs").read_text()


def test_the_corpus_is_kept_by_content(
    repository: Repository, git: PlainGit, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = bytes(range(256)) * 100
    sha256 = repository.corpus.put(data)
    assert sha256 == repository.corpus.put(data) == hashlib.sha256(data).hexdigest()
    git("gc", "-q", "--prune=now")
    assert repository.corpus.get(sha256) == data
    assert repository.corpus.where(sha256) == names.data_ref(sha256)
    monkeypatch.setattr(corpus_module, "IN_GIT", 10)
    large = repository.corpus.put(b"larger than ten bytes")
    path = Path(repository.corpus.where(large))
    assert path == repository.git.private_dir / "data" / large
    assert repository.corpus.get(large) == b"larger than ten bytes"
    path.write_bytes(b"larger than ten byteS")
    with pytest.raises(DarwinError, match="was changed"):
        repository.corpus.get(large)
    with pytest.raises(DarwinError, match="neither at"):
        repository.corpus.get("0" * 64)


def test_importing_the_store_is_cheap() -> None:
    heavy = "git filelock pydantic numpy scipy asyncio"
    code = (
        "import sys, darwin_git.store.repository as _\n"
        f"print(*[name for name in '{heavy}'.split() if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.split() == []
