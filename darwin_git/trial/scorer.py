"""A trained model behind the wall that answers logits for tokens; every length is checked here.

The process on the other side opens the checkpoint with none of the genome's code beside it; the
code is sent only after it has said what the checkpoint holds.
"""

import json
import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from darwin_git.domain import strict_json
from darwin_git.domain.flops import Tensor
from darwin_git.domain.measurement import Measurement
from darwin_git.ports import (
    Artifact,
    Command,
    Dialogue,
    DialogueEnded,
    File,
    Limits,
    Runner,
    Slot,
)
from darwin_git.trial.training import CHECKPOINT, inside

MAX_DESCRIPTION = 4 << 20
MAX_VOCABULARY = 1 << 17
MAX_TENSORS = 20_000
BLOCK_LOGITS = 1 << 18
"""Logits looked at in one go: in float64 they fit into a core's cache."""

Tokens = NDArray[np.int32]
Floats = NDArray[np.float32] | NDArray[np.float64]


class Unscorable(Exception):
    """The model cannot be scored, and it is the genome's fault.

    Attributes:
        failure: class as in Screened.failure.
        reason: chosen here, never by the other side: it might carry held-out text.
    """

    def __init__(self, failure: str, reason: str) -> None:
        super().__init__(reason)
        self.failure = failure
        self.reason = reason


@dataclass(frozen=True)
class Checkpoint:
    """What stands in a checkpoint, read without the genome's code."""

    tensors: tuple[Tensor, ...]
    model_args: Mapping[str, Any]

    def size(self, name: str) -> int:
        """A positive integer of model_args, 0 where there is none."""
        value = self.model_args.get(name)
        return value if isinstance(value, int) and value > 0 else 0


class Scorer:
    """Asks for logits. All answers of one scorer come from one process.

    Args:
        dialogue: with score.py.
        vocabulary: number of symbols of the corpus.
        checkout: the genome's files, sent by `build`.
    """

    def __init__(
        self, dialogue: Dialogue, vocabulary: int, checkout: Mapping[str, File] | None = None
    ) -> None:
        self.vocabulary = vocabulary
        self._dialogue = dialogue
        self._checkout = checkout or {}
        self._width: int | None = None
        self.dtype = ""
        """The logits' dtype, known after the first answer."""

    def describe(self) -> Checkpoint:
        """Phase 1, before any code of the genome is there; raises Unscorable."""
        (length,) = struct.unpack("<I", self._dialogue.receive(4))
        if length > MAX_DESCRIPTION:
            raise Unscorable("other", "the checkpoint's description is too long")
        said = strict_json.parse(self._dialogue.receive(length))
        if isinstance(said, dict) and "error" in said:
            if said["error"] == "settings":
                raise Unscorable("rule", f"model_args of {CHECKPOINT} are more than plain settings")
            raise Unscorable("other", f"{CHECKPOINT} holds no state dict 'model' and 'model_args'")
        return _checkpoint(said)

    def build(self) -> None:
        """Phase 2: the genome's files are sent, its code builds the model; raises Unscorable."""
        self._dialogue.send(_pack(self._checkout))
        if self._dialogue.receive(1) != b"\0":  # said before any of its code ran
            raise DialogueEnded("infra")  # there was no room for its files
        (state,) = struct.unpack("<B", self._dialogue.receive(1))
        if state == 1:
            raise Unscorable(
                "import",
                "GPT(GPTConfig(**model_args)) failed with the checkpoint's own model_args",
            )
        if state:
            raise Unscorable(
                "shape",
                "the model built from the checkpoint's model_args does not take its state dict: "
                "every setting that changes a shape belongs into model_args",
            )

    def logits(self, tokens: Tokens, first: int) -> Iterator[tuple[slice, Floats]]:
        """Logits of positions `first`.. of each row, some positions at a time.

        Args:
            tokens: (rows, length).

        Yields:
            (which of the rows x positions, flattened; their logits (some, vocabulary)).

        Raises:
            Unscorable: wrong shape or dtype, not finite, or no answer.
        """
        rows, length = tokens.shape
        request = struct.pack("<III", rows, length, first)
        self._dialogue.send(request + tokens.astype("<i4").tobytes())
        header = struct.unpack("<BBIII", self._dialogue.receive(14))
        state, code, got_rows, positions, width = header
        if state:
            raise Unscorable("other", "forward(idx, targets=idx) raised an exception when scored")
        if (got_rows, positions) != (rows, length - first):
            raise Unscorable("shape", "forward(idx, targets=idx) does not answer every position")
        self._check_width(width, code)
        total, size, block = rows * positions, _SIZES[code], max(1, BLOCK_LOGITS // width)
        for start in range(0, total, block):
            count = min(block, total - start)
            raw = self._dialogue.receive(count * width * size)
            values = _decode(raw, code).reshape(count, width)
            if not np.isfinite(values).all():
                raise Unscorable("nan", "the model's logits are not finite")
            yield slice(start, start + count), values

    def _check_width(self, width: int, code: int) -> None:
        if code >= len(_SIZES):
            raise Unscorable("shape", "the logits have no floating type")
        if not self.vocabulary <= width <= MAX_VOCABULARY:
            raise Unscorable("shape", f"{width} logits per position for {self.vocabulary} symbols")
        if width != (self._width or width):
            raise Unscorable("shape", "the number of logits changes from answer to answer")
        self._width = width
        self.dtype = _NAMES[code]


def _pack(checkout: Mapping[str, File]) -> bytes:
    """The genome's files as score.py takes them."""
    files = checkout.items()
    rows = [[path, file.executable, len(file.content)] for path, file in files]
    index = json.dumps(rows, ensure_ascii=False).encode()
    head = struct.pack("<I", len(index)) + index
    return b"".join([head, *(file.content for _, file in files)])


_NAMES = ("float32", "float16", "bfloat16", "float64")
_SIZES = (4, 2, 2, 8)


@contextmanager
def open_scorer(
    runner: Runner,
    slot: Slot,
    measurement: Measurement,
    checkout: Mapping[str, File],
    checkpoint: Artifact,
    vocabulary: int,
    limits: Limits,
    *,
    label: str,
    trusted: bool,
) -> Iterator[Scorer]:
    """Start score.py on a checkpoint; a dialogue that ends too early raises DialogueEnded.

    What the other side says is never quoted: broken JSON is the genome's fault like a broken
    shape.
    """
    command = Command(
        label=label,
        trusted=trusted,
        genome={},
        tools={"score.py": inside("score.py")},
        argv=(
            "{python}",
            "{tools}/score.py",
            measurement.model,
            f"{{tools}}/{CHECKPOINT}",
            measurement.device,
        ),
        limits=limits,
        data={},
        artifacts={CHECKPOINT: checkpoint},
    )
    with runner.converse(command, slot) as dialogue:
        try:
            yield Scorer(dialogue, vocabulary, checkout)
        except strict_json.UnsafeJson as error:
            raise Unscorable("other", f"the checkpoint's description: {error}") from None
        except DialogueEnded as error:
            if error.cause in ("exit", "processes", "output"):
                raise Unscorable("other", "the model's process ended while it was scored") from None
            if error.cause == "memory":
                raise Unscorable("oom", "scoring needed more memory than allowed") from None
            if error.cause == "deadline":
                raise Unscorable("timeout", "scoring took longer than allowed") from None
            raise


def _checkpoint(said: Any) -> Checkpoint:
    try:
        listed, model_args = said["tensors"], said["model_args"]
        if not isinstance(model_args, dict) or not 0 < len(listed) <= MAX_TENSORS:
            raise ValueError
        tensors = []
        for name, shape, dtype, group in listed:
            if not all(isinstance(n, int) and 0 <= n < 1 << 40 for n in (*shape, group)):
                raise ValueError
            tensors.append(Tensor(str(name), tuple(shape), str(dtype), group))
    except (TypeError, ValueError, KeyError):
        raise Unscorable("other", "the checkpoint's description is malformed") from None
    return Checkpoint(tuple(tensors), model_args)


def _decode(raw: bytes, code: int) -> Floats:
    if _NAMES[code] == "bfloat16":  # numpy has none: the upper half of a float32
        return (np.frombuffer(raw, "<u2").astype(np.uint32) << 16).view(np.float32)
    if _NAMES[code] == "float16":
        return np.frombuffer(raw, "<f2").astype(np.float32)
    return np.frombuffer(raw, "<f4" if _NAMES[code] == "float32" else "<f8")
