"""seed_repo keeps nanoGPT's contract, and edits of its different steps merge without conflict.

Most trainings run in this process (importing torch costs seconds), each with fresh globals, as
`python train.py` would; one runs as a process of its own.
"""

import ast
import itertools
import math
import os
import re
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

SEED_REPO = Path(__file__).parents[2] / "seed_repo"
SCRIPTS = ("model.py", "train.py", "configurator.py", "sample.py")

KEYS = [
    *("out_dir", "eval_interval", "log_interval", "eval_iters", "eval_only"),
    *("always_save_checkpoint", "init_from", "wandb_log", "wandb_project", "wandb_run_name"),
    *("dataset", "gradient_accumulation_steps", "batch_size", "block_size"),
    *("n_layer", "n_head", "n_embd", "dropout", "bias"),
    *("learning_rate", "max_iters", "weight_decay", "beta1", "beta2", "grad_clip"),
    *("decay_lr", "warmup_iters", "lr_decay_iters", "min_lr"),
    *("backend", "device", "dtype", "compile"),
]

OVERRIDES = """
out_dir = "out"
eval_interval = 4
eval_iters = 1
log_interval = 1
dataset = "tiny"
gradient_accumulation_steps = 1
batch_size = 4
block_size = 16
n_layer = 2
n_head = 2
n_embd = 16
learning_rate = 1e-2
max_iters = 10
lr_decay_iters = 10
warmup_iters = 2
device = "cpu"
dtype = "float32"
compile = False
"""

STEP = re.compile(r"^step (\d+): train loss ([\d.naif+-]+), val loss ([\d.naif+-]+)$", re.M)
ITER = re.compile(r"^iter (\d+): loss (\d+\.\d{4}), time \d+\.\d\dms, mfu (-?\d+\.\d\d)%$", re.M)


def copy_genome(folder):
    """seed_repo as a commit would hold it: no data, no results."""
    ignored = shutil.ignore_patterns("*.bin", "*.pkl", "*.pt", "out*", "__pycache__")
    return Path(shutil.copytree(SEED_REPO, folder, ignore=ignored))


@pytest.fixture(scope="module")
def genome(tmp_path_factory):
    """A genome with a tiny text prepared."""
    torch.set_num_threads(1)
    folder = copy_genome(tmp_path_factory.mktemp("seed") / "genome")
    text = folder / "input.txt"
    text.write_text("".join(f"{n} and {n * 7 % 100}; " for n in range(400)))
    prepare = runpy.run_path(str(folder / "data/prepare.py"))["prepare"]
    train, val = prepare(str(text), str(folder / "data/tiny"))
    assert train == (train + val) * 9 // 10
    return folder


@pytest.fixture(scope="module")
def override(tmp_path_factory):
    """A file of settings outside the genome, as the runner writes one."""
    path = tmp_path_factory.mktemp("run") / "override.py"
    path.write_text(OVERRIDES)
    return path


@pytest.fixture
def train(genome, override, monkeypatch, capsys):
    """Run train.py with fresh globals; return what it printed and its globals."""

    def run(*arguments, seed=0, files=(override,)):
        manual_seed = torch.manual_seed
        with monkeypatch.context() as patch:
            patch.chdir(genome)
            patch.syspath_prepend(genome)
            patch.setattr(sys, "argv", ["train.py", *map(str, files), *arguments])
            patch.setattr(torch, "manual_seed", lambda value: manual_seed(value + seed))
            for name in ("model", "configurator"):
                patch.delitem(sys.modules, name, raising=False)
            scope = runpy.run_path("train.py", run_name="__main__")
            for name in ("model", "configurator"):
                patch.delitem(sys.modules, name, raising=False)
        return capsys.readouterr().out, scope

    return run


@pytest.fixture(scope="module")
def model_module(genome):
    return runpy.run_path(str(genome / "model.py"))


@pytest.fixture
def model(model_module):
    torch.manual_seed(0)
    config = model_module["GPTConfig"](
        block_size=16, vocab_size=11, n_layer=2, n_head=2, n_embd=16, dropout=0.0, bias=False
    )
    return model_module["GPT"](config).eval()


# ---- The training script ----


def test_a_training_prints_and_saves_what_the_contract_says(train, genome):
    printed, scope = train("--out_dir=whole")

    assert set(scope["config"]) == set(KEYS)
    assert len(KEYS) == 33
    assert printed.count("\ntokens per iteration will be: 64\n") == 1
    assert re.search(r"^found vocab_size = \d+ \(inside data/tiny/meta.pkl\)$", printed, re.M)
    assert re.search(r"^number of parameters: \d+\.\d\dM$", printed, re.M)
    assert "Overriding: out_dir = whole" in printed
    assert printed.count("\nsaving checkpoint to whole\n") == 2  # at 4 and 8, never at 0

    # Iterations 0 to max_iters inclusive; the last evaluation at the last multiple of 4.
    assert [int(n) for n, *_ in ITER.findall(printed)] == list(range(11))
    assert [int(n) for n, *_ in STEP.findall(printed)] == [0, 4, 8]
    assert [mfu for *_, mfu in ITER.findall(printed)][:5] == ["-100.00"] * 5

    saved = torch.load(genome / "whole/ckpt.pt", weights_only=True)
    assert set(saved) == {
        *("model", "optimizer", "model_args", "iter_num", "best_val_loss", "config")
    }
    assert set(saved["model_args"]) == {
        *("n_layer", "n_head", "n_embd", "block_size", "bias", "vocab_size", "dropout")
    }
    assert saved["iter_num"] == 8
    assert saved["best_val_loss"].shape == ()
    assert set(saved["config"]) == set(KEYS)
    assert saved["config"]["out_dir"] == "whole"


def test_a_seed_fixes_every_loss_and_another_seed_changes_them(train):
    def losses(seed):
        printed, _ = train("--max_iters=4", seed=seed)
        return [loss for _, loss, _ in ITER.findall(printed)] + STEP.findall(printed)

    first = losses(0)
    assert first == losses(0)
    assert first != losses(1)


def test_without_always_save_a_checkpoint_needs_a_better_loss(train):
    # Nothing is learned, so chance decides: some evaluations are better, some are not.
    still = ("--learning_rate=0.0", "--min_lr=0.0", "--eval_interval=1", "--max_iters=8")
    printed, _ = train("--always_save_checkpoint=False", *still)
    best, expected = math.inf, []
    for step, _, val in STEP.findall(printed):
        if float(val) < best and step != "0":
            expected.append(step)
        best = min(best, float(val))
    saved = re.findall(r"^step (\d+): .*\nsaving checkpoint to out$", printed, re.M)
    assert saved == expected
    assert 0 < len(saved) < 8


def test_eval_only_evaluates_once_and_saves_nothing(train, genome):
    printed, _ = train("--eval_only=True", "--out_dir=looked")
    assert [int(n) for n, *_ in STEP.findall(printed)] == [0]
    assert not ITER.findall(printed)
    assert list((genome / "looked").iterdir()) == []


def test_resume_goes_on_where_the_checkpoint_was_written(train):
    train("--max_iters=4", "--out_dir=resumed")
    printed, scope = train("--init_from=resume", "--max_iters=6", "--out_dir=resumed")
    iterations = ITER.findall(printed)
    assert [int(n) for n, *_ in iterations] == [4, 5, 6]
    assert float(iterations[0][1]) < 4.0  # not a new model
    assert scope["optimizer"].state_dict()["state"][0]["step"] == 4 + 3


def test_resume_may_crop_the_block_size(train):
    train("--max_iters=4", "--out_dir=cropped")
    _, scope = train(
        "--init_from=resume", "--max_iters=4", "--block_size=8", "--out_dir=cropped",
        "--eval_iters=0", "--eval_interval=100",
    )  # fmt: skip
    assert scope["model_args"]["block_size"] == 8
    assert scope["model"].transformer.wpe.weight.shape == (8, 16)


def test_gradient_accumulation_equals_one_larger_batch_in_scale(train):
    _, whole = train("--max_iters=0", "--grad_clip=0.0", "--eval_interval=100")
    printed, _ = train("--max_iters=0", "--gradient_accumulation_steps=3", "--eval_interval=100")
    assert "tokens per iteration will be: 192" in printed
    shown = float(ITER.findall(printed)[0][1])
    assert shown == pytest.approx(math.log(whole["vocab_size"]), rel=0.05)


def test_the_schedule_warms_up_decays_and_stays(train):
    _, scope = train("--eval_only=True", "--min_lr=1e-3")
    rates = [scope["get_lr"](it) for it in range(13)]
    assert rates[0] == pytest.approx(1e-2 / 3)
    assert max(rates) == rates[2] == pytest.approx(1e-2)
    assert rates[2:11] == sorted(rates[2:11], reverse=True)
    assert rates[6] == pytest.approx((1e-2 + 1e-3) / 2)  # half-way down the cosine
    assert rates[10:] == [pytest.approx(1e-3)] * 3


def test_targets_are_the_inputs_one_token_later(train):
    _, scope = train("--eval_only=True")
    x, y = scope["get_batch"]("train")
    assert x.shape == y.shape == (4, 16)
    assert torch.equal(x[:, 1:], y[:, :-1])
    text = bytes(scope["data"]["train"].astype("uint8"))
    assert bytes(x[0].tolist()) + bytes(y[0, -1:].tolist()) in text


def test_a_file_may_compute_from_the_settings_before_it(train, tmp_path, override):
    later = tmp_path / "later.py"
    later.write_text("max_iters = 96 // (batch_size * block_size)\n")
    printed, scope = train("--eval_interval=100", files=[override, later])
    assert scope["config"]["max_iters"] == 1
    assert len(ITER.findall(printed)) == 2


def test_the_shipped_configurations_name_only_keys(train, genome):
    for path in sorted((genome / "config").glob("*.py")):
        statements = ast.parse(path.read_text()).body
        assert all(isinstance(statement, ast.Assign) for statement in statements)
        names = [statement.targets[0].id for statement in statements]
        assert set(names) <= set(KEYS)
        assert len(names) == len(set(names))
        values = runpy.run_path(str(path))
        assert values["lr_decay_iters"] == values["max_iters"]
        assert values["max_iters"] % values["eval_interval"] == 0  # else the end is not saved


MISTAKES = {
    "--foo=1": "Unknown config key: foo",
    "--seed=1": "Unknown config key: seed",
    "--max_iters=many": "--max_iters=many: expected a whole number",
    "--max_iters=1e3": "--max_iters=1e3: expected a whole number",
    "--bias=0": "--bias=0: expected True or False",
    "--bias": "write --bias=value",
    "nowhere.py": "nowhere.py: No such file",
    "--init_from=gpt2": "init_from is 'gpt2'; it can be 'scratch' or 'resume'",
    "--dtype=int8": "dtype is 'int8'",
    "--dataset=none": "python data/prepare.py FILE --out data/none makes it",
    "--block_size=100000": "block_size=100000 needs more",
}


@pytest.mark.parametrize("argument", MISTAKES)
def test_a_mistake_is_named(train, argument):
    with pytest.raises(SystemExit) as stopped:
        train(argument)
    assert MISTAKES[argument] in str(stopped.value)


def test_a_value_takes_its_type_from_the_setting(train):
    arguments = ("--learning_rate=1", "--wandb_run_name=123", "--wandb_project=a=b")
    _, scope = train("--eval_only=True", *arguments)
    config = scope["config"]
    assert type(config["learning_rate"]) is float
    assert (config["wandb_run_name"], config["wandb_project"]) == ("123", "a=b")


def test_as_a_process_it_ends_with_1_and_one_line_on_a_bad_key(genome, override, tmp_path):
    done = subprocess.run(
        [sys.executable, "-W", "error", "train.py", str(override), "--n_layers=2"],
        cwd=genome, env=isolated(tmp_path), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.startswith("Unknown config key: n_layers. The keys are always_save")
    assert len(done.stderr.splitlines()) == 1


def test_as_a_process_it_trains_and_a_sample_can_be_drawn(genome, override, tmp_path):
    for command in (
        ["train.py", str(override), "--max_iters=4", "--out_dir=alone"],
        ["sample.py", "--out_dir=alone", "--num_samples=2", "--max_new_tokens=20", "--start=1 a"],
    ):
        done = subprocess.run(
            [sys.executable, "-W", "error", *command],
            cwd=genome, env=isolated(tmp_path), capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert (done.returncode, done.stderr) == (0, "")
    samples = done.stdout.partition("--start")[0].split("start = 1 a\n")[1].split("-" * 15)
    assert [len(sample.strip("\n")) for sample in samples[:2]] == [23, 23]


# ---- The model ----


def test_parameters_are_named_as_in_nanogpt(model):
    block = ("ln_1.weight", "attn.c_attn.weight", "attn.c_proj.weight",
             "ln_2.weight", "mlp.c_fc.weight", "mlp.c_proj.weight")  # fmt: skip
    assert list(model.state_dict()) == [
        "transformer.wte.weight",
        "transformer.wpe.weight",
        *(f"transformer.h.{layer}.{name}" for layer in range(2) for name in block),
        "transformer.ln_f.weight",
        "lm_head.weight",
    ]
    assert model.lm_head.weight is model.transformer.wte.weight
    assert model.state_dict()["transformer.h.0.attn.c_attn.weight"].shape == (48, 16)
    assert model.get_num_params() == sum(p.numel() for p in model.parameters()) - 16 * 16
    assert model.get_num_params(non_embedding=False) == sum(p.numel() for p in model.parameters())


def test_bias_adds_one_to_every_matrix_and_norm(model_module):
    config = model_module["GPTConfig"](block_size=4, vocab_size=5, n_layer=1, n_head=1, n_embd=8)
    names = [n for n in model_module["GPT"](config).state_dict() if n.endswith(".bias")]
    assert len(names) == 7


def test_forward_answers_as_the_contract_says(model):
    idx = torch.randint(11, (3, 9))
    targets = torch.randint(11, (3, 9))
    targets[0, :4] = -1

    logits, loss = model(idx, targets)
    assert logits.shape == (3, 9, 11)
    kept = targets != -1
    by_hand = -logits.log_softmax(-1)[kept].gather(-1, targets[kept][:, None]).mean()
    assert loss.item() == pytest.approx(by_hand.item(), rel=1e-5)

    last, nothing = model(idx)
    assert last.shape == (3, 1, 11)
    assert nothing is None
    torch.testing.assert_close(last, logits[:, -1:])

    with pytest.raises(ValueError, match="17 tokens do not fit into block_size=16"):
        model(torch.zeros(1, 17, dtype=torch.long))


def test_the_future_cannot_be_seen(model):
    idx = torch.randint(11, (2, 12))
    changed = idx.clone()
    changed[:, 7:] = (changed[:, 7:] + 1) % 11
    before = model(idx, idx)[0]
    after = model(changed, changed)[0]
    torch.testing.assert_close(before[:, :7], after[:, :7])
    assert not torch.allclose(before[:, 7:], after[:, 7:])


def test_only_matrices_and_tables_decay(model):
    optimizer = model.configure_optimizers(0.1, 1e-3, (0.9, 0.95), "cpu")
    dimensions = {
        group["weight_decay"]: {parameter.dim() for parameter in group["params"]}
        for group in optimizer.param_groups
    }
    assert dimensions == {0.1: {2}, 0.0: {1}}
    held = sum(len(group["params"]) for group in optimizer.param_groups)
    assert held == len(list(model.parameters()))


def test_mfu_counts_palms_operations_against_an_a100(model):
    per_token = 6 * model.get_num_params() + 12 * 2 * 16 * 16
    expected = per_token * 16 * 4 / 0.5 / 312e12
    assert model.estimate_mfu(4, 0.5) == pytest.approx(expected)


def test_generate_keeps_the_prompt_and_outgrows_the_block(model):
    prompt = torch.randint(11, (2, 3))
    grown = model.generate(prompt, 20, temperature=0.5, top_k=1)
    assert grown.shape == (2, 23)
    assert torch.equal(grown[:, :3], prompt)
    # top_k=1 leaves nothing to chance.
    assert torch.equal(grown, model.generate(prompt, 20, top_k=1))


# ---- Edits ----


@pytest.mark.parametrize("name", [*SCRIPTS, "data/prepare.py", *("config/tiny_cpu.py",)])
def test_one_statement_on_each_line(name):
    statements = [
        node for node in ast.walk(ast.parse((SEED_REPO / name).read_text()))
        if isinstance(node, ast.stmt)
    ]  # fmt: skip
    lines = [statement.lineno for statement in statements]
    assert len(lines) == len(set(lines))


# What mutations usually do: {name: [(file, line, what replaces it)]}.
EDITS = {
    "rotary": [
        ("model.py", "class CausalSelfAttention(nn.Module):", (
            "def rotate(x):\n"
            "    size = x.size(-1) // 2\n"
            "    rate = 10000 ** -(torch.arange(size, device=x.device) / size)\n"
            "    angle = torch.arange(x.size(-2), device=x.device)[:, None] * rate\n"
            "    a, b = x.chunk(2, dim=-1)\n"
            "    c, s = angle.cos(), angle.sin()\n"
            "    return torch.cat((a * c - b * s, a * s + b * c), dim=-1)\n\n\n"
            "class CausalSelfAttention(nn.Module):"
        )),
        ("model.py", "        q = q.transpose(1, 2)", "        q = rotate(q.transpose(1, 2))"),
        ("model.py", "        k = k.transpose(1, 2)", "        k = rotate(k.transpose(1, 2))"),
        ("model.py", "        x = x + pos_emb", "        x = x + 0 * pos_emb"),
    ],
    "qk_norm": [
        ("model.py", "        q = q.view(heads)",
         "        q = F.rms_norm(q.view(heads), (C // self.n_head,))"),
        ("model.py", "        k = k.view(heads)",
         "        k = F.rms_norm(k.view(heads), (C // self.n_head,))"),
    ],
    "value_scale": [
        ("model.py", "        self.n_embd = config.n_embd",
         "        self.n_embd = config.n_embd\n"
         "        self.value_scale = nn.Parameter(torch.ones(config.n_head, 1))"),
        ("model.py", "        v = v.view(heads)", "        v = v.view(heads) * self.value_scale"),
    ],
    "attention_gate": [
        ("model.py", "        self.resid_dropout = nn.Dropout(config.dropout)",
         "        self.resid_dropout = nn.Dropout(config.dropout)\n"
         "        self.gate = nn.Linear(config.n_embd, config.n_head)"),
        ("model.py", "        y = y.transpose(1, 2).reshape(B, T, C)",
         "        y = y.transpose(1, 2) * self.gate(x).sigmoid()[..., None]\n"
         "        y = y.reshape(B, T, C)"),
    ],
    "relu2": [("model.py", "        x = F.gelu(x)", "        x = F.relu(x).square()")],
    "wide_mlp": [
        ("model.py",
         "        self.c_fc = nn.Linear(config.n_embd, 4 * config.n_embd, bias=config.bias)",
         "        self.c_fc = nn.Linear(config.n_embd, 3 * config.n_embd, bias=config.bias)"),
        ("model.py",
         "        self.c_proj = nn.Linear(4 * config.n_embd, config.n_embd, bias=config.bias)",
         "        self.c_proj = nn.Linear(3 * config.n_embd, config.n_embd, bias=config.bias)"),
    ],
    "rmsnorm": [
        ("model.py",
         "        return F.layer_norm(x, self.weight.shape, self.weight, self.bias, 1e-5)",
         "        return F.rms_norm(x, self.weight.shape, self.weight, 1e-5)"),
    ],
    "attention_residual_scale": [
        ("model.py", "        x = x + self.attn(self.ln_1(x))",
         "        x = x + 0.5 * self.attn(self.ln_1(x))"),
    ],
    "mlp_residual_scale": [
        ("model.py", "        x = x + self.mlp(self.ln_2(x))",
         "        x = x + 0.5 * self.mlp(self.ln_2(x))"),
    ],
    "zero_projections": [
        ("model.py",
         "                nn.init.normal_(parameter, mean=0.0, "
         "std=0.02 / math.sqrt(2 * config.n_layer))",
         "                nn.init.zeros_(parameter)"),
    ],
    "fan_in": [
        ("model.py",
         "        if isinstance(module, nn.Linear):\n"
         "            nn.init.normal_(module.weight, mean=0.0, std=0.02)",
         "        if isinstance(module, nn.Linear):\n"
         "            nn.init.normal_(module.weight, std=module.in_features**-0.5)"),
    ],
    "embedding_init": [
        ("model.py",
         "        if isinstance(module, nn.Embedding):\n"
         "            nn.init.normal_(module.weight, mean=0.0, std=0.02)",
         "        if isinstance(module, nn.Embedding):\n"
         "            nn.init.normal_(module.weight, mean=0.0, std=0.1)"),
    ],
    "untie": [
        ("model.py", "        self.transformer.wte.weight = self.lm_head.weight\n", ""),
    ],
    "smear": [
        ("model.py",
         "        self.lm_head = nn.Linear(config.n_embd, config.vocab_size, bias=False)",
         "        self.lm_head = nn.Linear(config.n_embd, config.vocab_size, bias=False)\n"
         "        self.smear = nn.Parameter(torch.zeros(config.n_embd))"),
        ("model.py", "        x = tok_emb",
         "        x = tok_emb + self.smear * F.pad(tok_emb, (0, 0, 1, -1))"),
    ],
    "embedding_norm": [
        ("model.py", "        x = self.transformer.drop(x)",
         "        x = F.rms_norm(self.transformer.drop(x), (x.size(-1),))"),
    ],
    "skip_to_start": [
        ("model.py", "        for block in self.transformer.h:\n            x = block(x)",
         "        first = x\n        for block in self.transformer.h:\n"
         "            x = block(x + 0.1 * first)"),
    ],
    "softcap": [
        ("model.py", "        logits = self.lm_head(x)",
         "        logits = self.lm_head(x)\n        logits = 15 * torch.tanh(logits / 15)"),
    ],
    "label_smoothing": [
        ("model.py",
         "        loss = F.cross_entropy(scores, targets.reshape(-1), ignore_index=-1)",
         "        loss = F.cross_entropy(\n            scores, targets.reshape(-1), "
         "ignore_index=-1, label_smoothing=0.1 * self.training\n        )"),
    ],
    "plain_embeddings": [
        ("model.py",
         "        decayed = [parameter for parameter in parameters if parameter.dim() >= 2]",
         "        decayed = [p for p in parameters if p.dim() >= 2]"),
    ],
    "norm_rate": [
        ("model.py", '        groups.append({"params": plain, "weight_decay": 0.0})',
         '        groups.append({"params": plain, "weight_decay": 0.0, "lr_scale": 3.0})'),
    ],
    "nadam": [
        ("model.py",
         "        optimizer = torch.optim.AdamW("
         "groups, lr=learning_rate, betas=betas, fused=fused)",
         "        optimizer = torch.optim.NAdam(groups, lr=learning_rate, betas=betas)"),
    ],
    "trapezoid": [
        ("train.py", "    height = 0.5 * (1.0 + math.cos(math.pi * progress))",
         "    height = min(1.0, (1.0 - progress) / 0.4)"),
    ],
    "square_warmup": [
        ("train.py", "        return learning_rate * (it + 1) / (warmup_iters + 1)",
         "        return learning_rate * ((it + 1) / (warmup_iters + 1)) ** 2"),
    ],
    "short_sequences_first": [
        ("train.py", "    x = rows[:, :-1].contiguous()",
         "    x = rows[:, :-1].contiguous()\n    if iter_num < max_iters // 3:\n"
         "        x = x[:, : block_size // 2]"),
        ("train.py", "    y = rows[:, 1:].contiguous()",
         "    y = rows[:, 1:].contiguous()[:, : x.size(1)]"),
    ],
    "clip_each_tensor": [
        ("train.py", "        torch.nn.utils.clip_grad_norm_(model.parameters(), grad_clip)",
         "        for parameter in model.parameters():\n"
         "            torch.nn.utils.clip_grad_norm_([parameter], grad_clip)"),
    ],
    "no_warmup": [("config/tiny_cpu.py", "warmup_iters = 20", "warmup_iters = 0")],
    "rate": [("config/tiny_cpu.py", "learning_rate = 3e-3", "learning_rate = 8e-3")],
    "final_rate": [("config/tiny_cpu.py", "min_lr = 3e-4", "min_lr = 0.0")],
    "half_batch": [
        ("config/tiny_cpu.py", "batch_size = 16", "batch_size = 8"),
        ("config/tiny_cpu.py", "max_iters = 300", "max_iters = 600"),
        ("config/tiny_cpu.py", "lr_decay_iters = 300", "lr_decay_iters = 600"),
    ],
    "heads": [("config/tiny_cpu.py", "n_head = 4", "n_head = 2")],
    "shallow": [("config/tiny_cpu.py", "n_layer = 3", "n_layer = 2")],
    "width": [("config/tiny_cpu.py", "n_embd = 64", "n_embd = 96")],
    "weight_decay": [("config/tiny_cpu.py", "weight_decay = 0.1", "weight_decay = 0.01")],
    "beta1": [("config/tiny_cpu.py", "beta1 = 0.9", "beta1 = 0.95")],
    "beta2": [("config/tiny_cpu.py", "beta2 = 0.99", "beta2 = 0.95")],
    "grad_clip": [("config/tiny_cpu.py", "grad_clip = 1.0", "grad_clip = 0.5")],
    "dropout": [("config/tiny_cpu.py", "dropout = 0.0", "dropout = 0.1")],
}  # fmt: skip


def isolated(home):
    """An environment without the user's settings, and with fixed authors and dates."""
    names = {f"GIT_{who}_{what}": "a@b.invalid" for who in ("AUTHOR", "COMMITTER")
             for what in ("NAME", "EMAIL")}  # fmt: skip
    dates = {f"GIT_{who}_DATE": "2026-01-01T00:00:00Z" for who in ("AUTHOR", "COMMITTER")}
    fixed = {"HOME": str(home), "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
    threads = {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    return {"PATH": os.environ["PATH"], **fixed, **threads, **names, **dates}


@pytest.fixture(scope="module")
def variants(tmp_path_factory):
    """(git, {edit: commit}): seed_repo under git, and a commit on it for each edit."""
    folder = copy_genome(tmp_path_factory.mktemp("merges") / "genome")
    environment = isolated(folder.parent)

    def git(*arguments, ok=(0,)):
        done = subprocess.run(["git", *arguments], cwd=folder, env=environment,
                              capture_output=True, text=True, check=False)  # fmt: skip
        assert done.returncode in ok, done.stderr + done.stdout
        return done.stdout.strip()

    git("init", "-q", "-b", "main")
    git("add", "-A")
    git("commit", "-qm", "start")
    commits = {}
    for name, edits in EDITS.items():
        for file, old, new in edits:
            text = (folder / file).read_text()
            places = re.findall(f"^{re.escape(old)}" + ("$" if new else ""), text, re.M)
            assert len(places) == 1, (name, file, old)
            changed = re.sub(f"^{re.escape(old)}", lambda _, new=new: new, text, flags=re.M)
            (folder / file).write_text(changed)
        git("commit", "-qam", name)
        commits[name] = git("rev-parse", "HEAD")
        git("reset", "-q", "--hard", "HEAD~")
    return git, commits


def test_any_two_edits_merge(variants):
    git, commits = variants
    conflicts = [
        pair
        for pair in itertools.combinations(commits, 2)
        if "CONFLICT" in git("merge-tree", "--write-tree", *(commits[n] for n in pair), ok=(0, 1))
    ]
    assert conflicts == []


def test_two_edits_of_one_line_do_conflict(variants):
    git, commits = variants
    folder = Path(git("rev-parse", "--show-toplevel"))
    config = folder / "config/tiny_cpu.py"
    config.write_text(config.read_text().replace("n_head = 4", "n_head = 8"))
    git("commit", "-qam", "eight heads")
    rival = git("rev-parse", "HEAD")
    git("reset", "-q", "--hard", "HEAD~")
    assert "CONFLICT" in git("merge-tree", "--write-tree", commits["heads"], rival, ok=(1,))


def test_all_edits_together_merge_and_train(variants, genome, train, monkeypatch):
    git, commits = variants
    tip = git("rev-parse", "main")
    for name, commit in commits.items():
        tree = git("merge-tree", "--write-tree", tip, commit)
        tip = git("commit-tree", tree, "-p", tip, "-p", commit, "-m", f"Merge {name}")
    git("reset", "-q", "--hard", tip)
    united = Path(git("rev-parse", "--show-toplevel"))
    shutil.copytree(genome / "data/tiny", united / "data/tiny")

    chdir, prepend = monkeypatch.chdir, monkeypatch.syspath_prepend
    chdir(united)
    prepend(united)
    monkeypatch.setattr(
        sys, "argv", ["train.py", "config/tiny_cpu.py", "--dataset=tiny", "--max_iters=3"]
    )
    for name in ("model", "configurator"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    scope = runpy.run_path("train.py", run_name="__main__")
    for name in ("model", "configurator"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    assert math.isfinite(scope["loss"].item())
    assert type(scope["optimizer"]).__name__ == "NAdam"
