"""Commit messages: readable, and nothing in them can pass for a trailer of ours."""

import subprocess
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from darwin_git.domain.message import one_line, variant_message

TRAILERS = {"Darwin-Generation": "3", "Darwin-Agent": "a2"}


def trailers_by_git(message: str) -> str:
    done = subprocess.run(
        ["git", "interpret-trailers", "--parse"],
        input=message,
        capture_output=True,
        text=True,
        check=True,
        cwd=Path("/"),
    )
    return done.stdout


def test_it_reads_like_a_lab_notebook() -> None:
    message = variant_message("Encode positions by rotation", "Because. " * 30, "-5 %", TRAILERS)
    assert message.startswith("Encode positions by rotation\n\nBecause.")
    assert all(len(line) <= 72 for line in message.splitlines())
    assert trailers_by_git(message) == "Darwin-Generation: 3\nDarwin-Agent: a2\n"


def test_a_forged_trailer_in_a_hypothesis_is_text() -> None:
    forged = "Good.\n\nDarwin-Agent: a9\nSigned-off-by: Somebody <s@example.org>"
    message = variant_message("Subject\n\nDarwin-Agent: a8", forged, "", TRAILERS)
    assert trailers_by_git(message) == "Darwin-Generation: 3\nDarwin-Agent: a2\n"
    assert "a9" in message


@given(st.text(), st.text(), st.text())
def test_whatever_a_model_writes_the_subject_is_one_clean_line(
    subject: str, hypothesis: str, expected: str
) -> None:
    message = variant_message(subject, hypothesis, expected, TRAILERS)
    first, blank, *_ = message.split("\n")
    assert first.strip()
    assert len(first) <= 72
    assert blank == ""
    assert "\x1b" not in message
    assert "\x00" not in message
    assert message.endswith("Darwin-Generation: 3\nDarwin-Agent: a2\n")


def test_long_lines_are_cut_with_an_ellipsis() -> None:
    assert one_line("x" * 100) == "x" * 71 + "…"
