"""The corpus as tokens: what the genome may train on, and what only the trusted side sees.

From the start: training 80 % (the last 5 % of it are a decoy validation split), scored 10 % in
four shards, final 10 %. The training folder looks like nanoGPT's data/<dataset>.
"""

import hashlib
import os
import pickle
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from darwin_git.errors import DarwinError
from darwin_git.trial.tokenizers import GPT2_RANKS, Characters, Symbols, Tokenizer, Tokens

SHARDS = 4
DECOY = 0.05


@dataclass(frozen=True)
class HeldOut:
    """Tokens that never enter a training.

    Attributes:
        shards: token arrays.
        symbol_bytes: bytes of each symbol (in UTF-8, where it is a character).
    """

    shards: tuple[NDArray[np.int32], ...]
    symbol_bytes: NDArray[np.int64]


@dataclass(frozen=True)
class Corpus:
    """A text, cut and encoded.

    Attributes:
        sha256: of the bytes.
        tokenizer: its name and version.
        unit: what a token is, in the plural.
        symbols: the character, or the bytes, of each token.
        folder: what the genome sees, named data/darwin there: train.bin, val.bin, meta.pkl; no
            meta.pkl with GPT-2's table, whose default vocabulary nanoGPT takes then.
        training_tokens: in train.bin.
        decoy_tokens: in val.bin.
        scored, final: the held-out splits.
    """

    sha256: str
    tokenizer: str
    unit: str
    symbols: Symbols
    folder: Path
    training_tokens: int
    decoy_tokens: int
    scored: HeldOut
    final: HeldOut

    @property
    def identity(self) -> str:
        """What Measurement.data says: corpus and tokenizer."""
        return f"{self.sha256}:{self.tokenizer}"

    def check_windows(self, block_size: int) -> None:
        """Raise DarwinError where a split is too short for one window."""
        shortest = min(
            self.decoy_tokens,
            self.training_tokens,
            *(len(s) for s in (*self.scored.shards, *self.final.shards)),
        )
        if shortest <= block_size:
            raise DarwinError(
                f"the corpus is too small: its shortest split has {shortest} tokens, a window "
                f"of block_size {block_size} needs {block_size + 1}",
                hint=f"give a text of at least {50 * (block_size + 1)} {self.unit}, "
                "or lower block_size",
            )


def prepare(data: bytes, cache: Path, tokenizer: Tokenizer | None = None) -> Corpus:
    """Encode a text and write its training folder below `cache`, once per text and tokenizer.

    Tokens that are slow to make are kept there, too, beside the folder that the genome sees.

    Args:
        tokenizer: by default, characters.

    Raises:
        DarwinError: the text is empty, too small, or not what the tokenizer takes.
    """
    cutter = Characters() if tokenizer is None else tokenizer
    sha256 = hashlib.sha256(data).hexdigest()
    folder = cache / f"{sha256[:32]}-{cutter.name.replace(':', '-')}"
    kept = folder.with_name(f"{folder.name}.tokens")
    tokens = _load(kept) if cutter.slow else None
    known = tokens is not None
    if tokens is None:
        tokens = cutter.encode(data)
    symbols = cutter.symbols(data)
    size = [len(symbol.encode() if isinstance(symbol, str) else symbol) for symbol in symbols]
    symbol_bytes = np.array(size, np.int64)
    training, scored, final = _split(tokens)
    cut = len(training) - round(DECOY * len(training))
    corpus = Corpus(
        sha256,
        cutter.name,
        cutter.unit,
        symbols,
        folder,
        cut,
        len(training) - cut,
        _held_out(scored, symbol_bytes),
        _held_out(final, symbol_bytes),
    )
    corpus.check_windows(1)
    if cutter.slow and not known:
        _keep(kept, tokens)
    _write(folder, training[:cut], training[cut:], symbols)
    return corpus


def _split(tokens: Tokens) -> tuple[Tokens, Tokens, Tokens]:
    first, second = len(tokens) * 8 // 10, len(tokens) * 9 // 10
    return tokens[:first], tokens[first:second], tokens[second:]


def _held_out(tokens: Tokens, symbol_bytes: NDArray[np.int64]) -> HeldOut:
    return HeldOut(tuple(np.array_split(tokens.astype(np.int32), SHARDS)), symbol_bytes)


def _load(path: Path) -> Tokens | None:
    """Tokens that were kept whole: their hash stands before them."""
    try:
        digest, _, raw = path.read_bytes().partition(b"\n")
    except FileNotFoundError:
        return None
    if hashlib.sha256(raw).hexdigest().encode() != digest:
        return None
    return np.frombuffer(raw, "<u2")


def _keep(path: Path, tokens: Tokens) -> None:
    """All tokens, the held-out ones among them: for this user only, in no folder of a genome."""
    path.parent.mkdir(parents=True, exist_ok=True)
    raw = tokens.astype("<u2").tobytes()
    handle, draft = tempfile.mkstemp(dir=path.parent, prefix=".draft-")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(hashlib.sha256(raw).hexdigest().encode() + b"\n" + raw)
        Path(draft).replace(path)
    finally:
        Path(draft).unlink(missing_ok=True)


def _meta(symbols: Symbols) -> bytes | None:
    """nanoGPT's meta.pkl; itos and stoi are for sample.py, which asks character by character."""
    if len(symbols) == GPT2_RANKS + 1:
        return None
    texts = [s if isinstance(s, str) else s.decode("utf-8", "replace") for s in symbols]
    stoi: dict[str, int] = {}
    for token, (symbol, text) in enumerate(zip(symbols, texts, strict=True)):
        if symbol in (text, text.encode()):  # else it is a part of a character
            stoi.setdefault(text, token)
    meta = {"vocab_size": len(symbols), "itos": dict(enumerate(texts)), "stoi": stoi}
    return pickle.dumps(meta, protocol=4)


def _write(folder: Path, train: Tokens, val: Tokens, symbols: Symbols) -> None:
    """All files or none; a folder that is there already holds the same bytes by its name."""
    meta = _meta(symbols)
    sizes = {"train.bin": 2 * len(train), "val.bin": 2 * len(val)}
    sizes |= {"meta.pkl": len(meta)} if meta else {}

    def complete() -> bool:
        return all(
            (folder / name).is_file() and (folder / name).stat().st_size == size
            for name, size in sizes.items()
        )

    if complete():
        return
    folder.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(dir=folder.parent, prefix=".draft-"))
    try:
        train.astype("<u2").tofile(draft / "train.bin")
        val.astype("<u2").tofile(draft / "val.bin")
        if meta:
            (draft / "meta.pkl").write_bytes(meta)
        for name in sizes:
            (draft / name).chmod(0o444)
        draft.chmod(0o755)  # a container's user must be able to read it
        if folder.exists():
            shutil.rmtree(folder)  # damaged: its sizes are wrong
        try:
            draft.rename(folder)
        except OSError:
            if not complete():
                raise  # else another process was faster
    finally:
        shutil.rmtree(draft, ignore_errors=True)
