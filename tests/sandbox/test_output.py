"""What a dead command may have left, and what is read of it."""

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from darwin_git.ports import UnsafeOutput
from darwin_git.sandbox.log import Lines, clean
from darwin_git.sandbox.output import FolderOutputs, read_json, read_regular, remove_tree
from darwin_git.sandbox.watch import disk_usage


def _socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(path))


def _linked(path: Path) -> None:
    path.write_bytes(b"x")
    os.link(path, path.with_name("other"))


def _sparse(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(1 << 40)


TRICKS: dict[str, Callable[[Path], object]] = {
    "missing": lambda path: None,
    "link to a secret": lambda path: path.symlink_to("/etc/passwd"),
    "link upwards": lambda path: path.symlink_to("../../../etc/passwd"),
    "pipe": os.mkfifo,
    "socket": _socket,
    "folder": Path.mkdir,
    "hard link": _linked,
    "sparse terabyte": _sparse,
    "too large": lambda path: path.write_bytes(b"x" * 2000),
}


@pytest.mark.parametrize("trick", TRICKS)
def test_only_plain_files_of_bounded_size_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trick: str
) -> None:
    monkeypatch.chdir(tmp_path)  # socket names are short
    TRICKS[trick](Path("result"))
    with pytest.raises(UnsafeOutput):
        read_regular(tmp_path, "result", 1000)
    assert FolderOutputs(tmp_path, 1000, lambda: None).artifact("result") is None


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "/etc/passwd", "a\0b"])
def test_names_do_not_leave_the_folder(tmp_path: Path, name: str) -> None:
    with pytest.raises(UnsafeOutput):
        read_regular(tmp_path, name, 1000)


def test_the_folder_itself_may_not_be_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "x").write_bytes(b"1")
    (tmp_path / "out").symlink_to("real")
    with pytest.raises(UnsafeOutput):
        read_regular(tmp_path / "out", "x", 10)
    assert read_regular(tmp_path / "real", "x", 10) == b"1"


@pytest.mark.parametrize(
    "text",
    [
        "NaN", "-Infinity", "1e999", "[" * 200_000, '{"a":1,"a":2}', "9" * 5000, "", "{", "\xff",
        '{"a": [1e400]}',
    ],
)  # fmt: skip
def test_json_that_is_ambiguous_or_too_much_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "x.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(UnsafeOutput):
        read_json(tmp_path, "x.json", 1 << 20)


def test_plain_json_is_read(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text('{"a": [1, 2.5, "[[\\"{", true, null]}')
    assert read_json(tmp_path, "x.json", 100) == {"a": [1, 2.5, '[["{', True, None]}


def test_a_locked_folder_is_removed(tmp_path: Path) -> None:
    locked = tmp_path / "out" / "locked"
    locked.mkdir(parents=True)
    (locked / "file").write_bytes(b"")
    locked.chmod(0)
    remove_tree(tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_link_is_removed_not_followed(tmp_path: Path) -> None:
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "file").write_bytes(bytes(1 << 20))
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "link").symlink_to(tmp_path / "precious")
    assert disk_usage(tmp_path / "out", 1 << 20) < 1 << 16
    remove_tree(tmp_path / "out")
    assert (tmp_path / "precious" / "file").exists()


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        (b"\x1b[2J\x1b[1;31mred\x1b[0m", "red"),
        (b"\x1b]0;title\x07text", "text"),
        (b"\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\", "link"),
        (b"a\x00b\x08c\x7f", "abc"),
        ("right\u202eleft\u2066".encode(), "rightleft"),
        (b"bad \xff utf", "bad \ufffd utf"),
        (b"10%\r20%\r\n", "10%\n20%\n"),
        (b"\x1b", ""),
    ],
)
def test_control_characters_never_reach_a_terminal(raw: bytes, shown: str) -> None:
    assert clean(raw) == shown


def test_lines_keep_the_time_of_their_end() -> None:
    lines = Lines(1 << 16)
    lines.feed(b"one\ntw", 1.0)
    lines.feed(b"o\n", 2.0)
    lines.feed(b"three", 3.0)
    assert [(line.at, line.text) for line in lines.finish(4.0)] == [
        (1.0, "one"),
        (2.0, "two"),
        (4.0, "three"),
    ]
