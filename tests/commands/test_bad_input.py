"""Misuse: each gets a clear error, exit code 1, and leaves the repository as it was."""

import os
import subprocess
import sys
from pathlib import Path

import pytest


def darwin(folder: Path, *words: str) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-m", "darwin_git", "-C", str(folder), *words],
        capture_output=True,
        text=True,
        env=os.environ | {"NO_COLOR": "1", "TERM": "dumb", "COLUMNS": "80"},
    )
    return done.returncode, done.stdout + done.stderr


def git(folder: Path, *words: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(folder), *words], check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


def snapshot(folder: Path) -> dict[str, bytes]:
    """Every file outside what git and we may cache."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and "objects" not in path.parts and "darwin" not in path.parts
    }


def test_not_a_repository(tmp_path: Path) -> None:
    code, text = darwin(tmp_path, "status")
    assert code == 1
    assert "git" in text
    assert "->" in text, "the cure"


def test_no_such_folder(tmp_path: Path) -> None:
    code, text = darwin(tmp_path / "nowhere", "status")
    assert code == 1
    assert "nowhere is no folder" in text


def test_unknown_command_and_option_are_usage() -> None:
    assert darwin(Path(), "evolve")[0] == 2
    assert darwin(Path(), "status", "--nope")[0] == 2


def test_init_never_fills_a_folder_that_has_something(tmp_path: Path) -> None:
    (tmp_path / "keep.txt").write_text("mine")
    code, text = darwin(tmp_path, "init")
    assert code == 1
    assert "is not empty" in text
    assert [p.name for p in tmp_path.iterdir()] == ["keep.txt"]


def test_init_leaves_nothing_when_it_fails(tmp_path: Path) -> None:
    (tmp_path / "tiny.txt").write_bytes(b"")
    code, text = darwin(tmp_path, "init", "new", "--data", str(tmp_path / "missing.txt"))
    assert code == 1
    assert "missing.txt" in text
    assert not (tmp_path / "new").exists()


def test_init_without_an_identity_says_the_cure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, isolated_git: Path
) -> None:
    (isolated_git / ".gitconfig").write_text("[user]\n\tuseConfigOnly = true\n")
    code, text = darwin(tmp_path, "init", "new")
    assert code == 1
    assert "git config --global user.name" in text
    assert not (tmp_path / "new").exists()


def test_adopting_adds_nothing_but_darwin_toml(genome: Path) -> None:
    before = snapshot(genome)
    code, text = darwin(genome, "init", "--genome", str(genome))
    assert code == 0, text
    after = snapshot(genome)
    assert set(after) - set(before) == {"darwin.toml"}
    assert {k: v for k, v in after.items() if k in before} == before
    assert git(genome, "for-each-ref", "--format=%(refname)", "refs/heads") == "refs/heads/main"
    code, text = darwin(genome, "init", "--genome", str(genome))
    assert code == 1
    assert "adopted before" in text


@pytest.mark.parametrize(
    ("file", "content", "says"),
    [
        ("train.py", None, "train.py"),
        ("model.py", None, "model.py"),
        ("model.py", "x = 1\n", "GPT"),
        ("train.py", "def broken(:\n", "train.py"),
    ],
)
def test_a_genome_without_the_contract(
    genome: Path, file: str, content: str | None, says: str
) -> None:
    if content is None:
        git(genome, "rm", "-q", file)
    else:
        (genome / file).write_text(content)
    git(genome, "commit", "-qam", "Break it")
    before = snapshot(genome)
    code, text = darwin(genome, "init", "--genome", str(genome))
    assert code == 1
    assert says in text
    assert "contract" in text
    assert snapshot(genome) == before


def _bare(folder: Path) -> Path:
    git(folder.parent, "clone", "-q", "--bare", str(folder), str(folder.parent / "bare"))
    return folder.parent / "bare"


def _shallow(folder: Path) -> Path:
    git(folder, "commit", "-q", "--allow-empty", "-m", "Second")
    target = folder.parent / "shallow"
    git(folder.parent, "clone", "-q", "--depth", "1", f"file://{folder}", str(target))
    return target


def _empty(folder: Path) -> Path:
    target = folder.parent / "empty"
    git(folder.parent, "init", "-q", str(target))
    return target


def _sha256(folder: Path) -> Path:
    target = folder.parent / "sha256"
    git(folder.parent, "init", "-q", "--object-format=sha256", str(target))
    git(target, "commit", "-q", "--allow-empty", "-m", "Start")
    return target


def _branch_named_darwin(folder: Path) -> Path:
    git(folder, "branch", "darwin")
    return folder


def _lfs(folder: Path) -> Path:
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:" + "0" * 64 + "\nsize 9\n"
    (folder / "weights.bin").write_text(pointer)
    git(folder, "add", "-A")
    git(folder, "commit", "-qm", "Add a pointer")
    return folder


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (_bare, "bare"),
        (_shallow, "shallow"),
        (_empty, "no commit|empty"),
        (_sha256, "sha256"),
        (_branch_named_darwin, "darwin"),
        (_lfs, "LFS|lfs"),
    ],
)
def test_repositories_that_cannot_carry_a_run(genome: Path, make: object, says: str) -> None:
    import re

    folder = make(genome)  # type: ignore[operator]
    before = snapshot(folder)
    code, text = darwin(folder, "init", "--genome", str(folder))
    assert code == 1, text
    assert re.search(says, text)
    assert "->" in text, "the cure"
    assert "Traceback" not in text
    assert snapshot(folder) == before


def test_data_too_small_is_said_before_anything_is_trained(genome: Path, tmp_path: Path) -> None:
    (tmp_path / "small.txt").write_text("to be or not to be\n" * 3)
    code, text = darwin(
        genome, "init", "--genome", str(genome), "--data", str(tmp_path / "small.txt")
    )
    assert code == 0, text
    code, text = darwin(genome, "baseline")
    assert code == 1
    assert "too small" in text
    assert git(genome, "for-each-ref", "--format=%(refname)", "refs/heads") == "refs/heads/main"


def test_a_dirty_tree_and_a_detached_head_are_no_obstacle(genome: Path) -> None:
    git(genome, "switch", "-q", "--detach")
    with (genome / "train.py").open("a") as file:
        file.write("# edited\n")
    code, text = darwin(genome, "init", "--genome", str(genome))
    assert code == 0, text
    assert "note: 1 file has uncommitted changes, which are not part of what is measured" in text
    assert f"note: HEAD is detached at {git(genome, 'rev-parse', 'HEAD')[:12]}" in text
    assert "on a detached HEAD" in text
    assert darwin(genome, "doctor")[0] == 0


def test_readers_before_the_baseline_say_what_to_do(genome: Path) -> None:
    darwin(genome, "init", "--genome", str(genome))
    for reader in ("report", "log", "lineage", "export", "verify"):
        code, text = darwin(genome, reader)
        assert code == 1, reader
        assert "darwin-git baseline" in text


def test_wrong_keys_are_all_named(genome: Path) -> None:
    (genome / "darwin.toml").write_text("[budget]\ntokenz = 1\n[selektion]\n")
    code, text = darwin(genome, "status")
    assert code == 1
    assert "did you mean 'tokens'" in text
    assert "did you mean 'selection'" in text


def test_help_names_the_first_commands_first() -> None:
    code, text = darwin(Path(), "--help")
    assert code == 0
    assert text.index("run ") < text.index("doctor")
    assert text.index("report") < text.index("prune")


def test_nobody_to_commit_as_is_said_before_anything_is_trained(
    genome: Path, isolated_git: Path
) -> None:
    darwin(genome, "init", "--genome", str(genome))
    (isolated_git / ".gitconfig").write_text("[user]\n\tuseConfigOnly = true\n")
    code, text = darwin(genome, "run", "-n", "1")
    assert code == 1
    assert "git config --global user.name" in text
    assert not (genome / ".git/darwin/attempts").exists()


def test_other_agents_than_at_the_baseline_are_refused_by_name(measured: Path) -> None:
    config = measured / "darwin.toml"
    config.write_text(config.read_text().replace("[agents.a4]", "[agents.critic]"))
    for command in (["step"], ["certify"], ["prune"], ["run", "-n", "1"]):
        code, text = darwin(measured, *command)
        assert code == 1, command
        assert "a4 has a lineage and is not in darwin.toml" in text
        assert "critic is in darwin.toml and has no lineage" in text
        assert "-> name them a1, a2, a3, a4 again" in text
    assert darwin(measured, "status")[0] == 0, "looking is free"


def test_a_variable_that_is_no_json_is_named(genome: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DARWIN_SELECTION__RACE", "1 2")
    code, text = darwin(genome, "status")
    assert code == 1
    assert "DARWIN_SELECTION__RACE in the environment is not JSON" in text
