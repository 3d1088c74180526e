"""Progress on stderr: one line for each thing, nothing that drives a terminal, no way to die."""

import io
import os

from darwin_git.report.live import Lines


def lines(what: str, **facts: object) -> str:
    stream = io.StringIO()
    Lines(stream=stream)(what, **facts)
    return stream.getvalue()


def test_a_line_for_what_has_one_and_nothing_else() -> None:
    assert lines("note", text="hello") == "hello\n"
    assert lines("train", variant="0001/a1-on-a2", seed=3) == ""


def test_text_of_a_model_drives_no_terminal() -> None:
    subject = "Win\x1b]0;owned\x07\x1b[2J \u202eeslaf\r\x9b31m"
    said = lines("proposed", variant="0001/a1-on-a2", idea="x\x1b[31m", subject=subject)
    assert said == "  0001/a1-on-a2      x[31m: Win]0;owned[2J eslaf31m\n"


def test_quiet_says_nothing() -> None:
    stream = io.StringIO()
    Lines(quiet=True, stream=stream)("note", text="hello")
    assert stream.getvalue() == ""


def test_a_reader_that_went_away_does_not_end_the_run() -> None:
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "w") as stream:
        tell = Lines(stream=stream)
        tell("note", text="nobody reads this")
        tell("note", text="nor this")
