"""FLOPs from shapes, against counts by hand."""

import pytest

from darwin_git.domain.flops import Tensor, flops_per_token, mfu, parameters, peak_flops

V, C, T, L = 65, 32, 16, 2
ARGS = {"n_layer": L, "n_head": 4, "n_embd": C, "block_size": T, "vocab_size": V}
MATRICES = L * (3 * C * C + C * C + 8 * C * C)


def gpt(*, tied: bool = True, vocabulary: int = V) -> list[Tensor]:
    """nanoGPT's state dict without biases and gains."""
    shapes: list[tuple[str, tuple[int, ...]]] = [
        ("transformer.wte.weight", (vocabulary, C)),
        ("transformer.wpe.weight", (T, C)),
    ]
    for layer in range(L):
        shapes += [
            (f"transformer.h.{layer}.attn.c_attn.weight", (3 * C, C)),
            (f"transformer.h.{layer}.attn.c_proj.weight", (C, C)),
            (f"transformer.h.{layer}.mlp.c_fc.weight", (4 * C, C)),
            (f"transformer.h.{layer}.mlp.c_proj.weight", (C, 4 * C)),
        ]
    tensors = [Tensor(name, shape, "float32", n) for n, (name, shape) in enumerate(shapes)]
    group = 0 if tied else 99
    return [*tensors, Tensor("lm_head.weight", (vocabulary, C), "float32", group)]


def test_nanogpts_model_is_counted_as_palm_counts() -> None:
    assert parameters(gpt()) == V * C + T * C + MATRICES
    attention = 12 * L * C * T
    assert flops_per_token(gpt(), ARGS) == 6 * (MATRICES + V * C) + attention


def test_tables_are_looked_up_for_nothing_but_one_is_the_head() -> None:
    tied = flops_per_token(gpt(), ARGS)
    assert flops_per_token(gpt(tied=False), ARGS) == tied
    values = Tensor("value_embed", (V, C), "float32", 200)
    assert flops_per_token([*gpt(), values], ARGS) == tied
    assert parameters([*gpt(), values]) == parameters(gpt()) + V * C


def test_a_matrix_as_tall_as_the_vocabulary_is_no_table() -> None:
    args = {**ARGS, "vocab_size": 3 * C}
    tensors = gpt(vocabulary=3 * C)
    assert flops_per_token(tensors, args) == 6 * (MATRICES + 3 * C * C) + 12 * L * C * T


def test_a_square_matrix_as_tall_as_the_context_is_no_position_table() -> None:
    tensors = gpt()
    square = Tensor("transformer.h.0.gate.weight", (T, C), "float32", 300)
    assert flops_per_token([*tensors, square], ARGS) == flops_per_token(tensors, ARGS) + 6 * T * C


def test_masks_and_counters_are_no_parameters() -> None:
    extra = [
        Tensor("transformer.h.0.attn.bias", (1, 1, T, T), "float32", 400),
        Tensor("steps", (), "int64", 401),
    ]
    assert parameters([*gpt(), *extra]) == parameters(gpt())


def test_hidden_layers_are_counted_though_model_args_deny_them() -> None:
    assert flops_per_token(gpt(), {**ARGS, "n_layer": 0}) == flops_per_token(gpt(), ARGS)


@pytest.mark.parametrize(
    ("name", "dtype", "peak"),
    [
        ("NVIDIA A100-SXM4-80GB", "bfloat16", 312e12),
        ("NVIDIA H100 PCIe", "bfloat16", 756e12),
        ("NVIDIA H100 80GB HBM3", "bfloat16", 989e12),
        ("NVIDIA H200", "bfloat16", 989e12),
        ("Tesla T4", "bfloat16", None),
        ("AMD EPYC", "float32", None),
    ],
)
def test_peaks_are_known_by_name(name: str, dtype: str, peak: float | None) -> None:
    assert peak_flops(name, dtype) == peak


def test_mfu_needs_a_peak() -> None:
    assert mfu(1e6, 1e3, 1e10) == pytest.approx(0.1)
    assert mfu(1e6, 1e3, None) is None
