"""The trusted loss: windows of a held-out split, logits from behind the wall, arithmetic here."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from darwin_git.domain.trial import Shard
from darwin_git.trial.corpus import HeldOut
from darwin_git.trial.scorer import Floats, Scorer, Tokens

BATCH_TOKENS = 4096
BATCH_LOGITS = 1 << 26
"""Of one answer: a model of 50 304 symbols is asked for a thousand tokens, not four."""

Cut = tuple[int, int]
"""A window's number, and how many of its tokens are shown."""

Answer = NDArray[np.float64]
"""Log-probabilities (vocabulary,) of the token after a cut."""

Deviations = dict[Cut, float]
"""How far two answers to the same cut are from each other, in nats. Whole answers are kept of the
prefixes only: 192 of them take 77 MB with 50 304 symbols.
"""

NOTHING: Mapping[Cut, Answer] = MappingProxyType({})


@dataclass(frozen=True)
class Windows:
    """The windows of a split that are scored: the same ones for everyone.

    Attributes:
        inputs, targets: (windows, block_size); targets are the inputs one token later.
        shard: which shard each window is from.
        target_bytes: (windows,) UTF-8 bytes of each window's targets.
    """

    inputs: Tokens
    targets: Tokens
    shard: NDArray[np.int64]
    target_bytes: NDArray[np.int64]


def windows(split: HeldOut, block_size: int, most: int) -> Windows:
    """From each shard's start, without overlap; at most `most` tokens, at least one window each."""
    inputs, targets, shard = [], [], []
    share = max(1, most // len(split.shards) // block_size)
    for number, tokens in enumerate(split.shards):
        count = min((len(tokens) - 1) // block_size, share)
        inputs.append(tokens[: count * block_size].reshape(count, block_size))
        targets.append(tokens[1 : count * block_size + 1].reshape(count, block_size))
        shard += [number] * count
    wanted = np.concatenate(targets)
    return Windows(
        np.concatenate(inputs),
        wanted,
        np.array(shard, np.int64),
        split.symbol_bytes[wanted].sum(axis=1),
    )


def log_softmax(logits: Floats) -> NDArray[np.float64]:
    """Log-probabilities over the last axis, in float64: whatever was sent is normalised here."""
    wide = logits.astype(np.float64)
    wide -= wide.max(axis=-1, keepdims=True)
    normalised: NDArray[np.float64] = wide - np.log(np.exp(wide).sum(axis=-1, keepdims=True))
    return normalised


def losses(logits: Floats, wanted: NDArray[np.int64]) -> NDArray[np.float64]:
    """Cross-entropy (positions,) in nats, bit for bit what log_softmax gives, without its copies.

    Args:
        wanted: (positions,) the tokens that come next.
    """
    wide = logits.astype(np.float64)
    wide -= wide.max(axis=-1, keepdims=True)
    chosen = np.take_along_axis(wide, wanted[:, None], -1)[:, 0]
    np.exp(wide, out=wide)
    nats: NDArray[np.float64] = -(chosen - np.log(wide.sum(axis=-1)))
    return nats


def batches(count: int, block_size: int, vocabulary: int = 1) -> Iterator[NDArray[np.int64]]:
    """Window numbers in batches; neighbours share one only where all windows fit into it: a
    window begins with the last target of the one before.
    """
    rows = max(1, min(BATCH_TOKENS, BATCH_LOGITS // vocabulary) // block_size)
    stride = -(-count // rows)
    for first in range(stride):
        yield np.arange(first, count, stride)


def sweep(
    scorer: Scorer, inputs: Tokens, targets: Tokens, alone: Mapping[Cut, Answer] = NOTHING
) -> tuple[NDArray[np.float64], Deviations]:
    """Ask all full windows once.

    Args:
        inputs, targets: (windows, block_size).
        alone: what was said after prefixes; the full windows' answers are compared with it.

    Returns:
        Nats per window (windows,), and how far the scored answers are from those alone.

    Raises:
        Unscorable: an answer of wrong shape, or one that is not finite.
    """
    count, length = inputs.shape
    nats = np.zeros(count)
    found: Deviations = {}
    for chosen in batches(count, length, scorer.vocabulary):
        row_of = {int(window): row for row, window in enumerate(chosen)}
        places = {row_of[w] * length + k - 1: (w, k) for w, k in alone if w in row_of}
        wanted = targets[chosen].reshape(-1).astype(np.int64)
        for part, logits in scorer.logits(inputs[chosen], 0):
            flat = np.arange(part.start, part.stop)
            np.add.at(nats, chosen[flat // length], losses(logits, wanted[part]))
            for at in [at for at in places if part.start <= at < part.stop]:
                said = log_softmax(logits[at - part.start])
                found[places[at]] = deviation(said, alone[places[at]])
    return nats, found


def prefixes(scorer: Scorer, inputs: Tokens, cuts: Collection[Cut]) -> Iterator[tuple[Cut, Answer]]:
    """Answers after each prefix, from calls that hold nothing but prefixes of one length."""
    for length in sorted({k for _, k in cuts}):
        same = sorted({cut for cut in cuts if cut[1] == length})
        tokens = inputs[[window for window, _ in same], :length]
        for part, logits in scorer.logits(tokens, length - 1):
            for cut, one in zip(same[part], logits, strict=True):
                yield cut, log_softmax(one)


def deviation(one: Answer, other: Answer) -> float:
    """The largest difference of a log-probability, in nats."""
    return float(np.abs(one - other).max())


def shards(scored: Windows, nats: NDArray[np.float64]) -> tuple[Shard, ...]:
    """Sums per shard."""
    block_size = scored.inputs.shape[1]
    found = []
    for number in range(int(scored.shard.max()) + 1):
        mine = scored.shard == number
        tokens, size = int(mine.sum()) * block_size, int(scored.target_bytes[mine].sum())
        found.append(Shard(float(nats[mine].sum()), tokens, size))
    return tuple(found)
