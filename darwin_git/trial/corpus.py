"""The corpus as characters: what the genome may train on, and what only the trusted side sees.

From the start: training 80 % (the last 5 % of it are a decoy validation split), scored 10 % in
four shards, final 10 %. The training folder looks like nanoGPT's data/<dataset>.
"""

import hashlib
import pickle
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from darwin_git.errors import DarwinError

TOKENIZER = "characters-1"
SHARDS = 4
DECOY = 0.05
MAX_SYMBOLS = 1 << 16
FILES = ("train.bin", "val.bin", "meta.pkl")


@dataclass(frozen=True)
class HeldOut:
    """Tokens that never enter a training.

    Attributes:
        shards: token arrays.
        symbol_bytes: UTF-8 length of each symbol.
    """

    shards: tuple[NDArray[np.int32], ...]
    symbol_bytes: NDArray[np.int64]


@dataclass(frozen=True)
class Corpus:
    """A text, cut and encoded.

    Attributes:
        sha256: of the bytes.
        symbols: the characters by token.
        folder: what the genome sees, named data/darwin there: train.bin, val.bin, meta.pkl.
        training_tokens: in train.bin.
        decoy_tokens: in val.bin.
        scored, final: the held-out splits.
    """

    sha256: str
    symbols: str
    folder: Path
    training_tokens: int
    decoy_tokens: int
    scored: HeldOut
    final: HeldOut

    @property
    def identity(self) -> str:
        """What Measurement.data says: corpus and tokenizer."""
        return f"{self.sha256}:{TOKENIZER}"

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
                hint=f"give at least {50 * (block_size + 1)} characters of text, "
                "or lower block_size",
            )


def prepare(data: bytes, cache: Path) -> Corpus:
    """Encode a text and write its training folder below `cache`, once per text.

    Raises:
        DarwinError: empty, not UTF-8, too small, or with too many symbols.
    """
    text = _decode(data)
    sha256 = hashlib.sha256(data).hexdigest()
    points = np.frombuffer(text.encode("utf-32-le"), "<u4")
    alphabet, tokens = np.unique(points, return_inverse=True)
    if len(alphabet) > MAX_SYMBOLS - 1:
        raise DarwinError(
            f"the corpus has {len(alphabet)} different characters, more than {MAX_SYMBOLS - 1}",
            hint="is it a text? tokens are kept in 16 bits",
        )
    symbols = "".join(map(chr, alphabet))
    symbol_bytes = np.array([len(symbol.encode()) for symbol in symbols], np.int64)
    training, scored, final = _split(tokens.reshape(-1).astype(np.int32))
    cut = len(training) - round(DECOY * len(training))
    folder = cache / f"{sha256[:32]}-{TOKENIZER}"
    corpus = Corpus(
        sha256,
        symbols,
        folder,
        cut,
        len(training) - cut,
        HeldOut(tuple(np.array_split(scored, SHARDS)), symbol_bytes),
        HeldOut(tuple(np.array_split(final, SHARDS)), symbol_bytes),
    )
    corpus.check_windows(1)
    _write(folder, training[:cut], training[cut:], symbols)
    return corpus


def _decode(data: bytes) -> str:
    if not data:
        raise DarwinError("the corpus is empty", hint="give a file with text")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise DarwinError(
            f"the corpus is not UTF-8: byte {error.start} is {data[error.start]:#04x}",
            hint="convert it, for example: iconv -f latin1 -t utf-8 OLD > NEW",
        ) from None


def _split(
    tokens: NDArray[np.int32],
) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int32]]:
    first, second = len(tokens) * 8 // 10, len(tokens) * 9 // 10
    return tokens[:first], tokens[first:second], tokens[second:]


def _write(folder: Path, train: NDArray[np.int32], val: NDArray[np.int32], symbols: str) -> None:
    """All three files or none; a folder that is there already holds the same bytes by its name."""
    sizes = {"train.bin": 2 * len(train), "val.bin": 2 * len(val)}
    if all((folder / name).is_file() for name in FILES) and all(
        (folder / name).stat().st_size == size for name, size in sizes.items()
    ):
        return
    folder.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(dir=folder.parent, prefix=".draft-"))
    try:
        (draft / "train.bin").write_bytes(train.astype("<u2").tobytes())
        (draft / "val.bin").write_bytes(val.astype("<u2").tobytes())
        meta = {
            "vocab_size": len(symbols),
            "itos": dict(enumerate(symbols)),
            "stoi": {symbol: token for token, symbol in enumerate(symbols)},
        }
        (draft / "meta.pkl").write_bytes(pickle.dumps(meta, protocol=4))
        for name in FILES:
            (draft / name).chmod(0o444)
        draft.chmod(0o755)  # a container's user must be able to read it
        if folder.exists():
            shutil.rmtree(folder)  # damaged: its sizes are wrong
        try:
            draft.rename(folder)
        except OSError:
            if not all((folder / name).is_file() for name in FILES):
                raise  # else another process was faster
    finally:
        shutil.rmtree(draft, ignore_errors=True)
