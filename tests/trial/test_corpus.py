"""How a text is cut and encoded."""

import pickle
from pathlib import Path

import numpy as np
import pytest

from darwin_git.errors import DarwinError
from darwin_git.trial import texts
from darwin_git.trial.corpus import prepare
from darwin_git.trial.evaluate import batches, windows

TEXT = "".join(chr(ord("a") + n % 26) + ("é\n" if n % 97 == 0 else "") for n in range(20_000))


def test_the_splits_cover_the_text_in_order(tmp_path: Path) -> None:
    corpus = prepare(TEXT.encode(), tmp_path)
    parts = [np.fromfile(corpus.folder / name, "<u2") for name in ("train.bin", "val.bin")]
    assert [len(part) for part in parts] == [corpus.training_tokens, corpus.decoy_tokens]
    held_out = [*corpus.scored.shards, *corpus.final.shards]
    assert len(held_out) == 8
    text = "".join(corpus.symbols[t] for part in (*parts, *held_out) for t in part)
    assert text == TEXT
    assert sum(map(len, parts)) == pytest.approx(0.8 * len(TEXT), abs=1)
    assert corpus.decoy_tokens == pytest.approx(0.04 * len(TEXT), abs=1)
    assert sum(map(len, corpus.scored.shards)) == pytest.approx(0.1 * len(TEXT), abs=1)


def test_the_training_folder_is_nanogpts_and_holds_nothing_else(tmp_path: Path) -> None:
    corpus = prepare(TEXT.encode(), tmp_path)
    assert sorted(p.name for p in corpus.folder.iterdir()) == ["meta.pkl", "train.bin", "val.bin"]
    meta = pickle.loads((corpus.folder / "meta.pkl").read_bytes())
    assert meta["vocab_size"] == 28
    assert [meta["itos"][meta["stoi"][c]] for c in "aé\n"] == ["a", "é", "\n"]


def test_preparing_again_writes_nothing_and_mends_what_is_damaged(tmp_path: Path) -> None:
    first = prepare(TEXT.encode(), tmp_path)
    before = (first.folder / "train.bin").stat().st_mtime_ns
    again = prepare(TEXT.encode(), tmp_path)
    assert (again.folder / "train.bin").stat().st_mtime_ns == before
    (first.folder / "train.bin").chmod(0o644)
    (first.folder / "train.bin").write_bytes(b"half")
    prepare(TEXT.encode(), tmp_path)
    assert (first.folder / "train.bin").stat().st_size == 2 * first.training_tokens
    assert [path.name for path in tmp_path.iterdir()] == [first.folder.name]
    assert prepare(b"x" + TEXT.encode(), tmp_path).identity != first.identity


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "empty"),
        (b"caf\xe9 " * 100, "not UTF-8: byte 3"),
        (b"short", "too small"),
        ("".join(map(chr, range(0x10000, 0x10000 + 70_000))).encode(), "different characters"),
    ],
)
def test_unusable_texts_are_refused_with_a_cure(tmp_path: Path, data: bytes, says: str) -> None:
    with pytest.raises(DarwinError, match=says) as error:
        prepare(data, tmp_path)
    assert error.value.hint
    assert list(tmp_path.iterdir()) == []


def test_windows_longer_than_a_split_are_refused(tmp_path: Path) -> None:
    corpus = prepare(TEXT.encode(), tmp_path)
    corpus.check_windows(256)
    with pytest.raises(DarwinError, match="block_size 1024"):
        corpus.check_windows(1024)


def test_windows_do_not_overlap_and_count_bytes(tmp_path: Path) -> None:
    corpus = prepare(TEXT.encode(), tmp_path)
    found = windows(corpus.scored, 64, 10**9)
    for number, shard in enumerate(corpus.scored.shards):
        mine = found.shard == number
        count = (len(shard) - 1) // 64
        assert np.array_equal(found.inputs[mine].reshape(-1), shard[: 64 * count])
        assert np.array_equal(found.targets[mine].reshape(-1), shard[1 : 64 * count + 1])
        text = "".join(corpus.symbols[t] for t in shard[1 : 64 * count + 1])
        assert found.target_bytes[mine].sum() == len(text.encode())
    few = windows(corpus.scored, 64, 4 * 3 * 64 + 10)
    assert few.inputs.shape == (12, 64)


@pytest.mark.parametrize(("count", "block"), [(1, 16), (255, 16), (256, 16), (700, 48), (9, 8192)])
def test_batches_hold_each_window_once_and_no_neighbours(count: int, block: int) -> None:
    drawn = list(batches(count, block))
    assert sorted(n for batch in drawn for n in batch) == list(range(count))
    if len(drawn) > 1:
        assert all((np.diff(batch) > 1).all() for batch in drawn)


def test_the_default_corpus_is_plain_ascii_and_always_the_same() -> None:
    text = texts.default_corpus()
    assert len(text) >= 400_000
    assert set(text) <= {10, *range(32, 127)}
    assert text == texts.default_corpus()


def test_without_pydocs_topics_the_docstrings_serve(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(texts, "_topics", lambda: "")
    assert len(texts.default_corpus()) >= 400_000


def test_another_text_than_shakespeares_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "input.txt").write_bytes(b"To be")
    monkeypatch.setattr(texts, "SHAKESPEARE_URL", (tmp_path / "input.txt").as_uri())
    with pytest.raises(DarwinError, match="not the known text"):
        texts.shakespeare()
    monkeypatch.setattr(texts, "SHAKESPEARE_URL", (tmp_path / "missing").as_uri())
    with pytest.raises(DarwinError, match="cannot be read"):
        texts.shakespeare()
