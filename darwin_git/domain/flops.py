"""Model FLOPs from what a checkpoint holds, and how much of a device's peak they use.

PaLM (Chowdhery et al. 2022, arXiv 2204.02311, appendix B): training costs 6 N + 12 L H Q T FLOPs
per token (forward and backward), with N parameters, L layers, H heads of size Q, context T. It
counts what the model needs, not what the code does: recomputation and waste do not raise it.
"""

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

_LAYER = re.compile(r"(?:^|\.)(?:h|layers|blocks)\.(\d+)\.")
_POSITION = re.compile(r"(?:^|[._])(?:wpe|pos|position|positions|pos_emb)(?:[._]|$)")
_TABLE = re.compile(r"wte|emb|lm_head|head|unembed|vocab")

# Dense peaks in FLOP/s by a part of the device's name; the first that matches counts.
# Sources: NVIDIA's data sheets of each product (tensor cores, without sparsity).
_PEAKS: tuple[tuple[str, Mapping[str, float]], ...] = (
    ("B200", {"bfloat16": 2250e12, "float16": 2250e12, "float32": 75e12}),
    ("H200", {"bfloat16": 989e12, "float16": 989e12, "float32": 67e12}),
    ("H100 PCIe", {"bfloat16": 756e12, "float16": 756e12, "float32": 51e12}),
    ("H100 NVL", {"bfloat16": 835e12, "float16": 835e12, "float32": 60e12}),
    ("H100", {"bfloat16": 989e12, "float16": 989e12, "float32": 67e12}),
    ("A100", {"bfloat16": 312e12, "float16": 312e12, "float32": 19.5e12}),
    ("L40S", {"bfloat16": 362e12, "float16": 362e12, "float32": 91.6e12}),
    ("RTX 4090", {"bfloat16": 165.2e12, "float16": 165.2e12, "float32": 82.6e12}),
    ("RTX 3090", {"bfloat16": 71e12, "float16": 71e12, "float32": 35.6e12}),
    ("V100", {"float16": 125e12, "float32": 15.7e12}),
    ("T4", {"float16": 65e12, "float32": 8.1e12}),
)


@dataclass(frozen=True)
class Tensor:
    """An entry of a state dict.

    Attributes:
        group: entries with one group share their storage (tied weights).
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    group: int

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)


def weights(tensors: Iterable[Tensor]) -> list[Tensor]:
    """Trainable tensors, each tied group once; masks and integer buffers are no weights."""
    seen: set[int] = set()
    found = []
    for tensor in tensors:
        mask = len(tensor.shape) == 4 and tensor.shape[:2] == (1, 1)
        if tensor.group in seen or mask or "float" not in tensor.dtype:
            continue
        seen.add(tensor.group)
        found.append(tensor)
    return found


def parameters(tensors: Iterable[Tensor]) -> int:
    """Unique trainable parameters."""
    return sum(tensor.size for tensor in weights(tensors))


def flops_per_token(tensors: Iterable[Tensor], model_args: Mapping[str, object]) -> float:
    """Training FLOPs per token, 6 N + 12 L H Q T.

    N leaves out what costs no multiplication: one position table, and tables indexed by tokens
    but for the largest, which is counted as the head (tied or not). What cannot be told apart is
    counted: an error here costs the variant tokens, never gains any. Shared layers that run
    twice are not seen here; the wall-time ratio sees them.

    Args:
        model_args: nanoGPT's: n_layer, n_embd, block_size, vocab_size.
    """
    unique = weights(tensors)
    width, context = _number(model_args, "n_embd"), _number(model_args, "block_size")
    vocabulary = _number(model_args, "vocab_size")
    tables = [t for t in unique if _is_table(t, vocabulary, width)]
    tables.sort(key=lambda t: (-t.size, t.name))
    positions = [
        t
        for t in unique
        if t not in tables and t.shape == (context, width) and _POSITION.search(t.name)
    ]
    lookups = sum(t.size for t in tables[1:]) + sum(t.size for t in positions[:1])
    counted = sum(t.size for t in unique) - lookups
    numbered = {int(m[1]) for t in unique if (m := _LAYER.search(t.name))}
    layers = max(_number(model_args, "n_layer"), len(numbered))
    return float(6 * counted + 12 * layers * width * context)


def _is_table(tensor: Tensor, vocabulary: int, width: int) -> bool:
    if len(tensor.shape) != 2 or tensor.shape[0] != vocabulary:
        return False
    # A vocabulary of 256 and a width of 256 or 64 make a plain matrix look like a table.
    ambiguous = width > 0 and vocabulary % width == 0
    return not ambiguous or bool(_TABLE.search(tensor.name))


def _number(model_args: Mapping[str, object], name: str) -> int:
    value = model_args.get(name, 0)
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0


def peak_flops(device: str, dtype: str) -> float | None:
    """Published dense peak in FLOP/s of a device by its name, None where it is not known."""
    for part, peaks in _PEAKS:
        if re.search(rf"\b{re.escape(part)}\b", device, re.IGNORECASE):
            return peaks.get(dtype)
    return None


def mfu(flops_per_token: float, tokens_per_second: float, peak: float | None) -> float | None:
    """Model FLOPs utilization in [0, 1] (PaLM, appendix B), None without a peak in FLOP/s."""
    if not peak or peak <= 0:
        return None
    return min(1.0, flops_per_token * tokens_per_second / peak)
