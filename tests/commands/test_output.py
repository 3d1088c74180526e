"""What commands print: JSON for programs, notes on stderr, and nothing where nobody reads."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from darwin_git.commands import outcome
from darwin_git.commands.diff import run_git
from darwin_git.commands.evolve import Run
from darwin_git.commands.mentions import mentions
from darwin_git.domain.claim import Claim
from darwin_git.domain.metric import PERPLEXITY
from darwin_git.domain.statistics import CertificateRule, certify
from darwin_git.report import certificates
from darwin_git.store.repository import Repository

ARGV = [sys.executable, "-m", "darwin_git"]
ENV = {"NO_COLOR": "1", "TERM": "dumb", "COLUMNS": "80"}


def darwin(folder: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [*ARGV, "-C", str(folder), *words], capture_output=True, text=True, env=os.environ | ENV
    )


def git(folder: Path, *words: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(folder), *words], check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


def noted(folder: Path) -> list[str]:
    with Repository.open(folder) as repository:
        return mentions(repository)


# --- JSON ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("reader", ["status", "report", "log", "lineage", "export", "config"])
def test_every_reader_prints_json_with_its_schema(measured: Path, reader: str) -> None:
    done = darwin(measured, reader, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["schema"] == f"darwin-git/{reader}/1"


def test_export_knows_two_words_for_json(measured: Path) -> None:
    assert darwin(measured, "export", "--json").stdout == (
        darwin(measured, "export", "--to", "json").stdout
    )


def test_a_certificate_as_data_and_as_text() -> None:
    decision = certify(
        [0.05, 0.051, 0.049, 0.05], 0.01, CertificateRule(seeds=(4,), shares=(1.0,)), 1
    )
    done = Run(claim=Claim("a2", decision, 0.07, 0.048, (20.5, 19.5)), ended="enough")
    data = outcome.ran(done, PERPLEXITY)
    assert json.loads(json.dumps(data)) == data
    assert data["schema"] == "darwin-git/run/1"
    certificate = data["certificate"]
    assert certificate["schema"] == "darwin-git/certify/1"
    assert certificate["decision"]["status"] == "certified"
    assert certificate["decision"]["mean"] == pytest.approx(0.05)
    assert certificates.run(data).splitlines() == [
        "0 generations; enough",
        decision.sentence,
        "perplexity: race's seeds  fresh seeds (95 %)            final split                 "
        "larger budget",
        "-6.76 %                   -4.88 % (-5.00 % to -4.75 %)  20.500 -> 19.500 (-4.69 %)  -",
    ]
    assert (certificate["scale"], certificate["scale_bound"]) == (None, False)
    nothing = outcome.certified(Claim("a2", None), PERPLEXITY)
    assert nothing["decision"] is None
    assert "champion already" in certificates.claim(nothing)


# --- notes ---------------------------------------------------------------------------------------


def test_a_plain_repository_is_not_mentioned(measured: Path) -> None:
    (measured / "notes.txt").write_text("untracked files are nobody's business\n")
    assert noted(measured) == []


def test_darwin_toml_may_be_edited_since_it_is_read_from_the_work_tree(measured: Path) -> None:
    git(measured, "add", "darwin.toml")
    git(measured, "commit", "-qm", "Keep the settings")
    with (measured / "darwin.toml").open("a") as file:
        file.write("# edited\n")
    assert noted(measured) == []


def test_changes_and_a_detached_head_are_mentioned_from_anywhere_inside(genome: Path) -> None:
    git(genome, "switch", "-q", "--detach")
    (genome / "deep").mkdir()
    (genome / "train.py").write_text("# edited\n")
    (genome / "model.py").unlink()
    assert noted(genome / "deep") == [
        "note: 2 files have uncommitted changes, which are not part of what is measured",
        f"note: HEAD is detached at {git(genome, 'rev-parse', 'HEAD')[:12]}",
    ]


def test_a_linked_worktree_has_its_own_changes(genome: Path, tmp_path: Path) -> None:
    linked = tmp_path / "bäum 2"
    git(genome, "worktree", "add", "-q", "-b", "other", str(linked))
    (genome / "train.py").write_text("# edited\n")
    assert noted(linked) == []
    (linked / "train.py").write_text("# edited\n")
    assert len(noted(linked)) == 1


def test_the_baseline_mentions_on_stderr_before_it_trains(genome: Path) -> None:
    darwin(genome, "init", "--genome", ".")
    (genome / "train.py").write_text("import sys\nsys.exit(1)\n")
    git(genome, "commit", "-qam", "Break it")
    (genome / "model.py").write_text("# edited\n")
    done = darwin(genome, "run", "-n", "1")
    assert done.returncode == 1
    assert "1 file has uncommitted changes" in done.stderr
    assert "uncommitted" not in done.stdout
    assert "uncommitted" not in darwin(genome, "-q", "baseline").stderr


# --- places --------------------------------------------------------------------------------------


def test_paths_with_spaces_and_unicode_and_subfolders(tmp_path: Path) -> None:
    place = tmp_path / "größe 1"
    place.mkdir()
    done = darwin(place, "init", "mein genom é")
    assert done.returncode == 0, done.stderr
    folder = place / "mein genom é"
    assert f"next: darwin-git -C '{folder}' run" in done.stdout
    assert darwin(folder / "config", "doctor").returncode == 0
    assert darwin(folder / "config", "config").stdout == darwin(folder, "config").stdout
    linked = place / "zweiter baum"
    git(folder, "worktree", "add", "-q", "-b", "other", str(linked))
    assert darwin(linked, "doctor").returncode == 0
    assert git(linked, "status", "--porcelain") == ""


def test_paths_are_relative_to_the_folder_of_the_option(genome: Path, tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("to be or not to be\n" * 100)
    done = darwin(tmp_path, "init", "--genome", "genome", "--data", "text.txt")
    assert done.returncode == 0, done.stderr
    assert (genome / "darwin.toml").exists()


# --- a reader that goes away ---------------------------------------------------------------------


def into_nowhere(folder: Path, *words: str, unbuffered: str = "") -> tuple[int, str]:
    """A command whose standard output nobody reads: the pipe's other end is closed."""
    read, write = os.pipe()
    os.close(read)
    try:
        done = subprocess.run(
            [*ARGV, "-C", str(folder), *words],
            stdout=write,
            stderr=subprocess.PIPE,
            env=os.environ | ENV | {"PYTHONUNBUFFERED": unbuffered},
        )
    finally:
        os.close(write)
    return done.returncode, done.stderr.decode()


@pytest.mark.parametrize("words", [["--help"], ["status"], ["config"], ["export", "--json"]])
def test_a_reader_that_went_away_is_no_error(measured: Path, words: list[str]) -> None:
    with (measured / "darwin.toml").open("a") as file:  # more than one buffer of `config`
        file.write("".join(f"[agents.b{n}]\n" for n in range(3000)))
    assert into_nowhere(measured, *words) == (0, "")


def test_an_exit_code_survives_a_reader_that_went_away(tmp_path: Path) -> None:
    assert into_nowhere(tmp_path, "doctor") == (1, "")
    assert into_nowhere(tmp_path, "doctor", unbuffered="1") == (1, "")


def test_head_takes_one_line(measured: Path) -> None:
    command = f"set -o pipefail; {sys.executable} -m darwin_git -C '{measured}' config | head -1"
    done = subprocess.run(
        ["bash", "-c", command], capture_output=True, text=True, env=os.environ | ENV
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "[genome]\n", "")


def test_a_full_disk_is_said_in_words(measured: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full here")
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [*ARGV, "-C", str(measured), "config"], stdout=full, stderr=subprocess.PIPE, text=True
        )
    assert done.returncode == 1
    assert done.stderr.startswith("darwin-git: No space left on device")


def test_a_pager_whose_reader_went_away_is_no_error() -> None:
    assert run_git(["sh", "-c", f"kill -{signal.SIGPIPE.value} $$"]) == 0
    assert run_git(["sh", "-c", "exit 7"]) == 7
