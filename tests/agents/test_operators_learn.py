"""Operators as training code: what they make keeps nanoGPT's contract, learns, and is causal."""

import math
import sys
import types

import pytest
import torch

from darwin_git.agents.operators import GenomeView

from .genomes import CASES, child, parent

MODEL_CASES = [
    (genome, name)
    for genome, name in CASES
    if child(genome, name).files["model.py"] != parent(genome, name).files["model.py"]
]


def load(view: GenomeView) -> types.ModuleType:
    module = types.ModuleType("variant_model")
    # dataclasses look their module up.
    sys.modules["variant_model"] = module
    exec(compile(view.files["model.py"], "model.py", "exec"), module.__dict__)
    return module


def build(module: types.ModuleType, bias: bool = False, n_layer: int = 3) -> torch.nn.Module:
    torch.manual_seed(0)
    config = module.GPTConfig(
        block_size=8, vocab_size=17, n_layer=n_layer, n_head=2, n_embd=32, dropout=0.0, bias=bias
    )
    return module.GPT(config)


@pytest.mark.parametrize(("genome", "name"), MODEL_CASES)
def test_the_contract_holds(genome: str, name: str) -> None:
    module = load(child(genome, name))
    # The dialect's biases and the seed's lack of them; odd depth, even depth.
    model = build(module, bias=genome == "dialect", n_layer=3 if genome == "seed" else 2)
    idx = torch.randint(17, (4, 8))

    optimizer = model.configure_optimizers(0.1, 1e-2, (0.9, 0.95), "cpu")
    scaler = torch.amp.GradScaler("cpu", enabled=False)
    first = model(idx, idx)[1].item()
    for step in range(3):
        for group in optimizer.param_groups:
            group["lr"] = 1e-2 * (1 + step) / 3
        loss = model(idx, idx)[1]
        scaler.scale(loss).backward()
        scaler.unscale_(optimizer)
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        assert math.isfinite(norm) and norm > 0
        scaler.step(optimizer)
        scaler.update()
        optimizer.zero_grad(set_to_none=True)
    assert model(idx, idx)[1].item() < first
    optimizer.load_state_dict(optimizer.state_dict())

    model.eval()
    with torch.no_grad():
        logits, loss = model(idx, targets=idx)
        last, nothing = model(idx)
        assert logits.shape == (4, 8, 17) and last.shape == (4, 1, 17) and nothing is None
        torch.testing.assert_close(logits[:, -1:], last)
        # In evaluation the loss is the plain cross-entropy of the logits.
        plain = torch.nn.functional.cross_entropy(logits.reshape(-1, 17), idx.reshape(-1))
        torch.testing.assert_close(loss, plain)
        # Causal: another last token changes nothing before it, nor do other rows of the batch.
        other = idx.clone()
        other[:, -1] = (idx[:, -1] + 1) % 17
        torch.testing.assert_close(model(other, other)[0][:, :-1], logits[:, :-1])
        torch.testing.assert_close(model(idx[:1], idx[:1])[0], logits[:1])
        # Shorter than a block, and after cropping.
        short = idx[:, :5].contiguous()
        torch.testing.assert_close(model(short, short)[0], logits[:, :5])
        model.crop_block_size(6)
        torch.testing.assert_close(model(short, short)[0], logits[:, :5])
        assert model.get_num_params() > 0


# What starts as zero or one changes nothing at first: pairs of trainings keep their seed's start.
IDENTITY_AT_FIRST = [
    "qk_temperature",
    "attn_gate",
    "token_shift",
    "qkv_conv",
    "value_embed",
    "layer_scale",
    "x0_lambdas",
    "unet_skip",
    "smear",
    "bigram_embed",
    "head_bias",
    "muon",
    "cautious_decay",
]


@pytest.mark.parametrize("name", IDENTITY_AT_FIRST)
def test_new_parameters_draw_no_random_numbers(name: str) -> None:
    idx = torch.randint(17, (2, 8), generator=torch.Generator().manual_seed(1))
    old, new = (build(load(view)).eval() for view in (parent("seed", name), child("seed", name)))
    torch.testing.assert_close(new(idx, idx)[0], old(idx, idx)[0])


def test_rotary_attends_by_distance() -> None:
    """Scores depend on the difference of positions only (Su et al. 2021, equation 11)."""
    module = load(child("seed", "rotary"))
    cos, sin = module.rotary_table(16, 8)
    q, k = torch.randn(8).expand(1, 1, 16, 8), torch.randn(8).expand(1, 1, 16, 8)
    q, k = module.rotate(q, cos, sin)[0, 0], module.rotate(k, cos, sin)[0, 0]
    scores = q @ k.T
    torch.testing.assert_close(scores[1:, 1:], scores[:-1, :-1])


def test_muon_takes_the_matrices_of_the_blocks() -> None:
    model = build(load(child("seed", "muon")))
    pair = model.configure_optimizers(0.1, 1e-2, (0.9, 0.95), "cpu")
    _, muon = pair.optimizers
    assert {id(p) for g in muon.param_groups for p in g["params"]} == {
        id(p) for p in model.transformer.h.parameters() if p.dim() == 2
    }
    owned = [id(p) for g in pair.param_groups for p in g["params"]]
    assert len(owned) == len(set(owned)) == len(list(model.parameters()))


def test_a_scaled_group_survives_the_loop() -> None:
    model = build(load(child("dialect", "embed_lr_x5")))
    optimizer = model.configure_optimizers(0.0, 1e-3, (0.9, 0.95), "cpu")
    for group in optimizer.param_groups:
        group["lr"] = 1e-3
    before = {n: p.detach().clone() for n, p in model.named_parameters()}
    idx = torch.arange(8).view(1, 8)
    model(idx, idx)[1].backward()
    optimizer.step()
    # Adam's first step is as long as the rate.
    moved = {n: (p - before[n]).abs().max().item() for n, p in model.named_parameters()}
    assert moved["transformer.wte.weight"] == pytest.approx(5e-3, rel=1e-3)
    assert moved["transformer.h.0.mlp.c_fc.weight"] == pytest.approx(1e-3, rel=1e-3)
    assert {group["lr"] for group in optimizer.param_groups} == {1e-3}
