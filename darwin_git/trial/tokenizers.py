"""How a corpus becomes tokens: characters, bytes, or byte pairs by a table such as GPT-2's."""

import base64
import binascii
import hashlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from darwin_git.errors import DarwinError

MAX_SYMBOLS = 1 << 16
"""Tokens are kept in 16 bits, as nanoGPT does."""

GPT2_RANKS = 50_256
"""Byte pairs of GPT-2's table; the token after them is <|endoftext|>."""
GPT2_FILES = tuple(
    f"https://openaipublic.blob.core.windows.net/gpt-2/encodings/main/{name}"
    for name in ("vocab.bpe", "encoder.json")
)
"""Where tiktoken downloads GPT-2's table from; its cache names each file sha1(address)."""

END_OF_TEXT = b"<|endoftext|>"
_PIECE = 1 << 22

Tokens = NDArray[np.uint16]
Symbols = str | tuple[bytes, ...]


class Tokenizer(Protocol):
    """Cuts a corpus into tokens, the same ones for the same bytes."""

    @property
    def name(self) -> str:
        """With its version: part of what Measurement.data says."""

    @property
    def unit(self) -> str:
        """What a token is, in the plural, for people."""

    @property
    def slow(self) -> bool:
        """Whether the tokens are worth keeping on disk."""

    def encode(self, data: bytes) -> Tokens:
        """The tokens; raises DarwinError where the data cannot be cut."""

    def symbols(self, data: bytes) -> Symbols:
        """What each token stands for; only characters depend on the data."""


class Characters:
    """One token for each different character of the text, in the order of code points."""

    name, unit, slow = "characters-1", "characters", False

    def encode(self, data: bytes) -> Tokens:
        """Token by character."""
        text = _decode(data)
        number = np.zeros(0x110000, np.uint16)
        alphabet = self._alphabet(text)
        number[alphabet] = np.arange(len(alphabet))
        tokens = np.empty(len(text), np.uint16)
        for start, points in _points(text):
            tokens[start : start + len(points)] = number[points]
        return tokens

    def symbols(self, data: bytes) -> str:
        """The characters."""
        return "".join(map(chr, self._alphabet(_decode(data))))

    def _alphabet(self, text: str) -> NDArray[np.int64]:
        # Marked, not sorted: a corpus of 100 MB would need gigabytes to be sorted.
        seen = np.zeros(0x110000, np.bool_)
        for _, points in _points(text):
            seen[points] = True
        alphabet = np.flatnonzero(seen)
        if len(alphabet) > MAX_SYMBOLS - 1:
            raise DarwinError(
                f"the corpus has {len(alphabet)} different characters, more than {MAX_SYMBOLS - 1}",
                hint="is it a text? `init --tokenizer bytes` takes any file",
            )
        return alphabet


class Bytes:
    """256 tokens: any file, no text needed."""

    name, unit, slow = "bytes-1", "bytes", False

    def encode(self, data: bytes) -> Tokens:
        """Token by byte."""
        _refuse_empty(data)
        return np.frombuffer(data, np.uint8).astype(np.uint16)

    def symbols(self, data: bytes) -> tuple[bytes, ...]:
        """The bytes."""
        return tuple(bytes([number]) for number in range(256))


@dataclass(frozen=True)
class BytePairs:
    """Byte pairs by a table, words cut as GPT-2 cuts them.

    Special tokens are text like any other: <|endoftext|> in a corpus is 13 characters.
    """

    table: bytes
    """As `read_table` returns it."""

    unit = "tokens"
    slow = True

    @property
    def name(self) -> str:
        """The table's hash is in it: the same table under any file's name is the same."""
        return f"bpe-1:{hashlib.sha256(self.table).hexdigest()[:32]}"

    def encode(self, data: bytes) -> Tokens:
        """Tokens of the whole text, cut where a word ends anyway so that cores share the work."""
        from tiktoken import Encoding
        from tiktoken_ext.openai_public import r50k_pat_str

        text = _decode(data)
        ranks = {token: rank for rank, token in enumerate(_parse(self.table, "the table"))}
        encoding = Encoding(
            "darwin-git", pat_str=r50k_pat_str, mergeable_ranks=ranks, special_tokens={}
        )

        def encode(piece: str) -> Tokens:
            return encoding.encode_to_numpy(piece, disallowed_special=()).astype(np.uint16)

        with ThreadPoolExecutor() as pool:
            return np.concatenate(list(pool.map(encode, _pieces(text))))

    def symbols(self, data: bytes) -> tuple[bytes, ...]:
        """The byte strings; GPT-2's table has <|endoftext|> after them."""
        ranks = _parse(self.table, "the table")
        return (*ranks, END_OF_TEXT) if len(ranks) == GPT2_RANKS else ranks


def tokenizer_of(name: str, table: Callable[[], bytes]) -> Tokenizer:
    """The tokenizer that darwin.toml names; `table` is asked where byte pairs need one."""
    if name == "characters":
        return Characters()
    return Bytes() if name == "bytes" else BytePairs(table())


def read_table(data: bytes, place: str) -> bytes:
    """A table in tiktoken's format, a line of base64 and rank for each token, in one spelling.

    Args:
        place: where it is from, for errors.

    Raises:
        DarwinError: it is none, it lacks a byte or a rank, or it is too large.
    """
    ranks = _parse(data, place)
    missing = [n for n in range(256) if bytes([n]) not in set(ranks)]
    if missing:
        raise DarwinError(
            f"{place} has no token for byte {missing[0]:#04x}",
            hint="a table must hold all 256 bytes, so that it can say any text",
        )
    return _dump(ranks)


def gpt2_table() -> bytes:
    """GPT-2's table, by tiktoken, which downloads it at its first use.

    Raises:
        DarwinError: it cannot be had.
    """
    import tiktoken

    try:
        encoding = tiktoken.get_encoding("gpt2")
    except (OSError, ValueError) as error:
        first = GPT2_FILES[0]
        names = " and ".join(hashlib.sha1(url.encode()).hexdigest() for url in GPT2_FILES)
        raise DarwinError(
            f"GPT-2's byte pair table cannot be had from {first}: {_reason(error)}",
            hint="take one of three ways: copy the cache of a machine that has it (its files are "
            f"{names}) and name the folder in TIKTOKEN_CACHE_DIR; or give a table in tiktoken's "
            "format, `init --bpe FILE`; or `init --tokenizer bytes`, which needs none",
        ) from error
    return _dump(tuple(encoding.decode_single_token_bytes(n) for n in range(GPT2_RANKS)))


def _reason(error: Exception) -> str:
    """The innermost cause: the outer ones only repeat the address."""
    seen: BaseException = error
    while (inner := seen.__cause__ or seen.__context__) is not None:
        seen = inner
    return f"{type(error).__name__}: {str(seen)[:200]}"


def _parse(data: bytes, place: str) -> tuple[bytes, ...]:
    """The tokens in the order of their ranks."""
    found: dict[int, bytes] = {}
    for number, line in enumerate(data.splitlines(), 1):
        if not line.strip():
            continue
        try:
            token, rank = line.split()
            found[int(rank)] = base64.b64decode(token, validate=True)
        except (ValueError, binascii.Error):
            raise DarwinError(
                f"{place}, line {number}, is no line of a byte pair table: {line[:40]!r}",
                hint="each line is a token in base64, a space, and its rank (tiktoken's format)",
            ) from None
        if len(found) > MAX_SYMBOLS:
            raise DarwinError(
                f"{place} has more than {MAX_SYMBOLS} tokens",
                hint="tokens are kept in 16 bits, as nanoGPT does: give a smaller table",
            )
    if sorted(found) != list(range(len(found))) or len(set(found.values())) != len(found):
        raise DarwinError(
            f"{place} gives two tokens one rank, one token two ranks, or leaves a rank out",
            hint="ranks are 0, 1, 2, … without a gap",
        )
    return tuple(found[rank] for rank in range(len(found)))


def _dump(ranks: tuple[bytes, ...]) -> bytes:
    return b"".join(base64.b64encode(token) + b" %d\n" % rank for rank, token in enumerate(ranks))


def _refuse_empty(data: bytes) -> None:
    if not data:
        raise DarwinError("the corpus is empty", hint="give a file with text")


def _decode(data: bytes) -> str:
    _refuse_empty(data)
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise DarwinError(
            f"the corpus is not UTF-8: byte {error.start} is {data[error.start]:#04x}",
            hint="convert it, for example: iconv -f latin1 -t utf-8 OLD > NEW; or take it as it "
            "is: `init --tokenizer bytes`",
        ) from None


def _points(text: str) -> Iterator[tuple[int, NDArray[np.uint32]]]:
    """(place, code points) of the text, piece by piece."""
    for start in range(0, len(text), _PIECE):
        yield start, np.frombuffer(text[start : start + _PIECE].encode("utf-32-le"), "<u4")


def _pieces(text: str) -> Iterator[str]:
    """The text in pieces that begin with a newline after no space: no word reaches over that."""
    start = 0
    while start < len(text):
        stop = text.find("\n", start + _PIECE)
        while stop > 0 and text[stop - 1].isspace():
            stop = text.find("\n", stop + 1)
        stop = len(text) if stop < 0 else stop
        yield text[start:stop]
        start = stop
