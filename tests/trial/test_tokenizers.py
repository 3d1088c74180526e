"""Bytes and byte pairs: every byte is counted once, and tables are checked before they are used."""

import base64
import hashlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from tiktoken import Encoding
from tiktoken_ext.openai_public import r50k_pat_str

from darwin_git.errors import DarwinError
from darwin_git.trial import tokenizers
from darwin_git.trial.corpus import prepare
from darwin_git.trial.evaluate import windows
from darwin_git.trial.texts import default_corpus
from darwin_git.trial.tokenizers import (
    GPT2_FILES,
    BytePairs,
    Bytes,
    Characters,
    read_table,
    tokenizer_of,
)

WORDS = (" the", " of", "ing", " and", " is", "tion", "  ", " a", "e\u0301", "<|", "|>")
TEXT = (default_corpus()[:30_000].decode() + "caf\u00e9 \u4e2d\u6587 <|endoftext|>\n\n  x ") * 4


def table(words: tuple[str, ...] = WORDS) -> bytes:
    """256 bytes in an order of their own, then each word's beginnings."""
    ranks = [bytes([(n * 7) % 256]) for n in range(256)]
    for word in words:
        raw = word.encode()
        ranks += [raw[:n] for n in range(2, len(raw) + 1) if raw[:n] not in ranks]
    return b"".join(base64.b64encode(t) + b" %d\n" % n for n, t in enumerate(ranks))


def test_bytes_take_any_file(tmp_path: Path) -> None:
    data = bytes(range(256)) * 200 + b"\xff\x00caf\xe9" * 50
    corpus = prepare(data, tmp_path, Bytes())
    parts = [np.fromfile(corpus.folder / name, "<u2") for name in ("train.bin", "val.bin")]
    tokens = [*parts, *corpus.scored.shards, *corpus.final.shards]
    assert bytes(int(t) for part in tokens for t in part) == data
    found = windows(corpus.final, 32, 10**9)
    assert (found.target_bytes == 32).all()
    assert corpus.identity == f"{hashlib.sha256(data).hexdigest()}:bytes-1"


def test_byte_pairs_are_tiktokens_and_count_every_byte(tmp_path: Path) -> None:
    pairs = BytePairs(read_table(table(), "here"))
    corpus = prepare(TEXT.encode(), tmp_path, pairs)
    parts = [np.fromfile(corpus.folder / name, "<u2") for name in ("train.bin", "val.bin")]
    held_out = [*corpus.scored.shards, *corpus.final.shards]
    tokens = [int(t) for part in (*parts, *held_out) for t in part]
    ranks = {base64.b64decode(a): int(b) for a, b in map(bytes.split, table().splitlines())}
    encoding = Encoding("t", pat_str=r50k_pat_str, mergeable_ranks=ranks, special_tokens={})
    assert tokens == encoding.encode_ordinary(TEXT)
    assert b"".join(map(corpus.symbols.__getitem__, tokens)) == TEXT.encode()
    assert len(tokens) < 0.95 * len(TEXT), "no pair was joined"
    # a token that is a part of a character counts with its own bytes
    found = windows(corpus.scored, 16, 10**9)
    for number, shard in enumerate(corpus.scored.shards):
        count = (len(shard) - 1) // 16
        raw = b"".join(corpus.symbols[t] for t in shard[1 : 16 * count + 1])
        assert found.target_bytes[found.shard == number].sum() == len(raw)


@pytest.mark.parametrize("piece", [1, 7, 100])
def test_pieces_are_cut_where_a_word_ends_anyway(
    piece: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "don't\n\n \t\nstop  \nit's 12\n3 ?!\n\u00a0\nx \n" * 30 + "no newline for long" * 40
    pairs = BytePairs(read_table(table((*WORDS, "\n\n", " \n", "\n ", "'t\n")), "here"))
    whole, symbols = pairs.encode(text.encode()), Characters().encode(text.encode())
    monkeypatch.setattr(tokenizers, "_PIECE", piece)
    assert len(list(tokenizers._pieces(text))) > 1
    assert np.array_equal(pairs.encode(text.encode()), whole)
    assert np.array_equal(Characters().encode(text.encode()), symbols)


def test_tokens_are_kept_beside_what_the_genome_sees(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pairs = BytePairs(read_table(table(), "here"))
    first = prepare(TEXT.encode(), tmp_path, pairs)
    assert sorted(p.name for p in first.folder.iterdir()) == ["meta.pkl", "train.bin", "val.bin"]
    (kept,) = (p for p in tmp_path.iterdir() if p != first.folder)
    assert kept.stat().st_mode & 0o077 == 0, "others may not read the held-out tokens"
    with monkeypatch.context() as patched:
        patched.setattr(BytePairs, "encode", lambda self, data: pytest.fail("encoded again"))
        again = prepare(TEXT.encode(), tmp_path, pairs)
    for mine, other in zip(first.scored.shards, again.scored.shards, strict=True):
        assert np.array_equal(mine, other)
    raw = bytearray(kept.read_bytes())
    raw[-1] ^= 1
    kept.write_bytes(raw)
    mended = prepare(TEXT.encode(), tmp_path, pairs)
    assert np.array_equal(mended.final.shards[-1], first.final.shards[-1])


def test_a_table_is_the_same_under_any_spelling(tmp_path: Path) -> None:
    lines = table().splitlines()
    other = b"\r\n".join([*reversed(lines), b""])
    assert read_table(other, "other") == read_table(table(), "one")
    name = BytePairs(read_table(other, "other")).name
    assert name != BytePairs(read_table(table(WORDS[:3]), "less")).name
    assert tokenizer_of("gpt2", lambda: read_table(other, "other")).name == name
    assert tokenizer_of("characters", lambda: pytest.fail("asked")).name == "characters-1"


def test_gpt2s_size_leaves_the_vocabulary_to_nanogpt(tmp_path: Path) -> None:
    ranks = [bytes([n]) for n in range(256)]
    ranks += [b" " + n.to_bytes(3, "big") for n in range(50_256 - 256)]
    big = b"".join(base64.b64encode(t) + b" %d\n" % n for n, t in enumerate(ranks))
    corpus = prepare(b"some text " * 200, tmp_path, BytePairs(read_table(big, "big")))
    assert len(corpus.symbols) == 50_257
    assert not (corpus.folder / "meta.pkl").exists()


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"not a table", "line 1"),
        (b"QQ== one\n", "line 1"),
        (b"Q*Q= 0\n", "line 1"),
        (table().replace(b" 3\n", b" 4\n"), "leaves a rank out"),
        (b"".join(table().splitlines(True)[:255]), "no token for byte"),
        (b"", "no token for byte 0x00"),
        (b"".join(b"QQ== %d\n" % n for n in range(70_000)), "more than 65536"),
        (table() + b"QUE= 9000000\n", "leaves a rank out"),
    ],
)
def test_broken_tables_are_refused_with_a_cure(data: bytes, says: str) -> None:
    with pytest.raises(DarwinError, match=says) as error:
        read_table(data, "mine.tiktoken")
    assert error.value.message.startswith("mine.tiktoken")
    assert error.value.hint


def test_byte_pairs_need_utf8_and_say_who_does_not(tmp_path: Path) -> None:
    with pytest.raises(DarwinError, match="not UTF-8") as error:
        prepare(b"caf\xe9 " * 100, tmp_path, BytePairs(read_table(table(), "here")))
    assert "--tokenizer bytes" in str(error.value.hint)


def offline(cache: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """The tool where every connection is refused."""
    closed = "http://127.0.0.1:9"
    environment = {"TIKTOKEN_CACHE_DIR": str(cache), "HTTPS_PROXY": closed, "HTTP_PROXY": closed}
    return subprocess.run(
        [sys.executable, "-m", "darwin_git", *words],
        capture_output=True,
        text=True,
        env={k: v for k, v in os.environ.items() if k.lower() != "no_proxy"} | environment,
    )


def test_without_a_network_the_error_names_the_cures(tmp_path: Path) -> None:
    done = offline(tmp_path / "cache", "init", str(tmp_path / "g"), "--tokenizer", "gpt2")
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    for part in (
        GPT2_FILES[0],
        *(hashlib.sha1(url.encode()).hexdigest() for url in GPT2_FILES),
        "TIKTOKEN_CACHE_DIR",
        "--bpe",
        "--tokenizer bytes",
    ):
        assert part in "".join(done.stderr.split("\n  ")).replace("\n", " "), part
    assert not (tmp_path / "g").exists()


def test_a_table_of_ones_own_travels_with_the_repository(tmp_path: Path) -> None:
    file, folder = tmp_path / "mine.tiktoken", tmp_path / "g"
    file.write_bytes(table())
    done = offline(tmp_path, "init", str(folder), "--bpe", str(file))
    assert done.returncode == 0, done.stderr
    kept = hashlib.sha256(read_table(table(), "x")).hexdigest()
    config = (folder / "darwin.toml").read_text()
    assert f'table = "{kept}"' in config and 'tokenizer = "bpe"' in config
    shown = subprocess.run(
        ["git", "-C", str(folder), "show", f"refs/darwin/data/{kept}"],
        capture_output=True,
        check=True,
    )
    assert shown.stdout == read_table(table(), "x")
    for words, says in (
        (("--bpe", str(tmp_path / "missing")), "cannot be read"),
        (("--bpe", str(file), "--tokenizer", "bytes"), "give one"),
        (("--tokenizer", "bpe"), "--bpe FILE"),
    ):
        refused = offline(tmp_path, "init", str(tmp_path / "h"), *words)
        assert refused.returncode == 1 and says in refused.stderr
        assert not (tmp_path / "h").exists()
