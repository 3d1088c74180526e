"""Train a GPT: python train.py [config.py ...] [--key=value ...], from the repository's root.

On several GPUs: torchrun --standalone --nproc_per_node=4 train.py [...]

The settings below are the keys; files and --key=value override them, from left to right.
"""

import math
import os
import pickle
import sys
import time
from contextlib import nullcontext

import numpy as np
import torch
from configurator import configure
from model import GPT, GPTConfig

# ---- Settings: GPT-2 (124M) on eight GPUs ----

# Output. Every eval_interval iterations losses are estimated, then a checkpoint may be written.
out_dir = "out"
eval_interval = 2000
log_interval = 1
eval_iters = 200
eval_only = False
always_save_checkpoint = True
# 'scratch' or 'resume' (from out_dir).
init_from = "scratch"

# Weights & Biases.
wandb_log = False
wandb_project = "gpt"
wandb_run_name = "gpt2"

# Data, in data/<dataset>/. One update sees accumulation x batch sequences of block_size tokens.
dataset = "openwebtext"
# Shared out among the GPUs.
gradient_accumulation_steps = 40
# Sequences in one forward pass.
batch_size = 12
# Tokens in one sequence.
block_size = 1024

# Model.
n_layer = 12
# Must divide n_embd.
n_head = 12
# Channels.
n_embd = 768
# 0 for pretraining.
dropout = 0.0
# In linear layers and norms.
bias = False

# Optimizer.
learning_rate = 6e-4
# The last iteration.
max_iters = 600000
# On matrices and tables.
weight_decay = 1e-1
# Averaging of gradients.
beta1 = 0.9
# Averaging of their squares.
beta2 = 0.95
# Largest gradient norm, 0.0 for any.
grad_clip = 1.0

# Schedule.
decay_lr = True
# Iterations of linear warm-up.
warmup_iters = 2000
# Where the decay ends, usually at max_iters.
lr_decay_iters = 600000
# What it ends at.
min_lr = 6e-5

# System. dtype is 'float32', 'bfloat16' or 'float16'; on CPU it is always float32.
backend = "nccl"
device = "cuda"
dtype = "bfloat16" if torch.cuda.is_available() and torch.cuda.is_bf16_supported() else "float16"
compile = True

config = configure(globals(), sys.argv[1:])

# ---- Processes: one, or one for each GPU under torchrun ----

ddp = "RANK" in os.environ
seed_offset = int(os.environ["RANK"]) if ddp else 0
world_size = int(os.environ["WORLD_SIZE"]) if ddp else 1
master_process = seed_offset == 0
if ddp:
    torch.distributed.init_process_group(backend=backend)
    device = f"cuda:{os.environ['LOCAL_RANK']}"
    torch.cuda.set_device(device)
    if gradient_accumulation_steps % world_size:
        sys.exit(f"gradient_accumulation_steps is not a multiple of {world_size} processes")
    gradient_accumulation_steps //= world_size

tokens_per_iter = gradient_accumulation_steps * world_size * batch_size * block_size
if master_process:
    print(f"tokens per iteration will be: {tokens_per_iter:,}")
    os.makedirs(out_dir, exist_ok=True)

torch.manual_seed(1337 + seed_offset)

# ---- Numbers ----

device_type = "cuda" if "cuda" in device else "cpu"
torch.backends.cuda.matmul.allow_tf32 = True
torch.backends.cudnn.allow_tf32 = True

precisions = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
if dtype not in precisions:
    sys.exit(f"dtype is {dtype!r}; it can be {', '.join(precisions)}")
ptdtype = precisions[dtype]
ctx = nullcontext() if device_type == "cpu" else torch.amp.autocast(device_type, dtype=ptdtype)

# Small float16 gradients would vanish; other types do not need it.
scaler = torch.amp.GradScaler("cuda", enabled=device_type == "cuda" and dtype == "float16")

# ---- Data ----

data_dir = os.path.join("data", dataset)
data = {}
for split in ("train", "val"):
    path = os.path.join(data_dir, f"{split}.bin")
    if not os.path.exists(path):
        sys.exit(f"{path} is missing: python data/prepare.py FILE --out {data_dir} makes it")
    data[split] = np.memmap(path, dtype=np.uint16, mode="r")
    if len(data[split]) <= block_size:
        sys.exit(f"{path} has {len(data[split])} tokens; block_size={block_size} needs more")

# The vocabulary, where the data set describes it.
vocab_size = 50304
meta_path = os.path.join(data_dir, "meta.pkl")
if os.path.exists(meta_path):
    with open(meta_path, "rb") as file:
        vocab_size = pickle.load(file)["vocab_size"]
    print(f"found vocab_size = {vocab_size} (inside {meta_path})")
else:
    print(f"defaulting to vocab_size of GPT-2 to {vocab_size} (50257 rounded up)")


def get_batch(split):
    """Random windows (batch_size, block_size), and the same windows one token later."""
    tokens = data[split]

    # Where the windows start.
    starts = torch.randint(len(tokens) - block_size, (batch_size,))

    # One read for both: a window and the token after it.
    window = np.arange(block_size + 1)
    rows = torch.from_numpy(tokens[starts.numpy()[:, None] + window].astype(np.int64))

    # What is read.
    x = rows[:, :-1].contiguous()

    # What is to be predicted.
    y = rows[:, 1:].contiguous()

    # Pinned memory is copied while the GPU computes.
    if device_type == "cuda":
        x = x.pin_memory()
        y = y.pin_memory()
    x = x.to(device, non_blocking=True)
    y = y.to(device, non_blocking=True)
    return x, y


# ---- Model ----

model_args = {
    "n_layer": n_layer,
    "n_head": n_head,
    "n_embd": n_embd,
    "block_size": block_size,
    "bias": bias,
    "vocab_size": vocab_size,
    "dropout": dropout,
}
checkpoint_path = os.path.join(out_dir, "ckpt.pt")
checkpoint = None
iter_num = 0
best_val_loss = 1e9

if init_from == "resume":
    if not os.path.exists(checkpoint_path):
        sys.exit(f"init_from='resume', but there is no {checkpoint_path}")
    print(f"Resuming training from {out_dir}")
    checkpoint = torch.load(checkpoint_path, map_location=device, weights_only=True)
    # The shape is the checkpoint's; dropout may change.
    model_args.update(checkpoint["model_args"], dropout=dropout)
    iter_num = checkpoint["iter_num"]
    best_val_loss = checkpoint["best_val_loss"]
elif init_from == "scratch":
    print("Initializing a new model from scratch")
else:
    sys.exit(f"init_from is {init_from!r}; it can be 'scratch' or 'resume'")

model = GPT(GPTConfig(**model_args))
if checkpoint:
    # torch.compile puts a prefix before each name.
    weights = {k.removeprefix("_orig_mod."): v for k, v in checkpoint["model"].items()}
    model.load_state_dict(weights)
if block_size < model.config.block_size:
    model.crop_block_size(block_size)
    model_args["block_size"] = block_size
print(f"number of parameters: {model.get_num_params() / 1e6:.2f}M")
model.to(device)

# ---- Optimizer ----

optimizer = model.configure_optimizers(weight_decay, learning_rate, (beta1, beta2), device_type)
if checkpoint:
    optimizer.load_state_dict(checkpoint["optimizer"])
# Its memory is needed.
checkpoint = None

if compile:
    print("compiling the model... (about a minute)")
    model = torch.compile(model)
if ddp:
    model = torch.nn.parallel.DistributedDataParallel(model, device_ids=[torch.device(device)])
raw_model = model.module if ddp else model


def get_lr(it):
    """The learning rate of iteration it."""
    # Linear warm-up.
    if it < warmup_iters:
        return learning_rate * (it + 1) / (warmup_iters + 1)

    # After the decay.
    if it > lr_decay_iters:
        return min_lr

    # How much of the decay is done, 0 to 1.
    progress = (it - warmup_iters) / max(1, lr_decay_iters - warmup_iters)

    # Half a cosine, from 1 to 0.
    height = 0.5 * (1.0 + math.cos(math.pi * progress))

    return min_lr + height * (learning_rate - min_lr)


@torch.no_grad()
def estimate_loss():
    """Mean loss over eval_iters random batches of each split."""
    model.eval()
    means = {}
    for split in ("train", "val"):
        losses = torch.zeros(eval_iters)
        for k in range(eval_iters):
            x, y = get_batch(split)
            with ctx:
                _, loss = model(x, y)
            losses[k] = loss.item()
        means[split] = losses.mean()
    model.train()
    return means


if wandb_log and master_process:
    import wandb

    wandb.init(project=wandb_project, name=wandb_run_name, config=config)

# ---- Training ----

x, y = get_batch("train")
t0 = time.time()
local_iter_num = 0
running_mfu = -1.0
while iter_num <= max_iters:
    # This iteration's learning rate.
    lr = get_lr(iter_num) if decay_lr else learning_rate
    for group in optimizer.param_groups:
        group["lr"] = lr * group.get("lr_scale", 1.0)

    # Losses and a checkpoint, before the update.
    if iter_num % eval_interval == 0 and master_process:
        losses = estimate_loss()
        print(f"step {iter_num}: train loss {losses['train']:.4f}, val loss {losses['val']:.4f}")
        if wandb_log:
            wandb.log({"iter": iter_num, "lr": lr, "mfu": running_mfu * 100, **losses})
        if losses["val"] < best_val_loss or always_save_checkpoint:
            best_val_loss = losses["val"]
            if iter_num > 0:
                checkpoint = {
                    "model": raw_model.state_dict(),
                    "optimizer": optimizer.state_dict(),
                    "model_args": model_args,
                    "iter_num": iter_num,
                    "best_val_loss": best_val_loss,
                    "config": config,
                }
                print(f"saving checkpoint to {out_dir}")
                torch.save(checkpoint, checkpoint_path)
    if iter_num == 0 and eval_only:
        break

    for micro_step in range(gradient_accumulation_steps):
        # Processes exchange gradients only after the last of these.
        if ddp:
            model.require_backward_grad_sync = micro_step == gradient_accumulation_steps - 1

        # Forward.
        with ctx:
            _, loss = model(x, y)
            # Gradients add up; their mean is wanted.
            loss = loss / gradient_accumulation_steps

        # The next batch is read while the GPU is busy.
        x, y = get_batch("train")

        # Backward.
        scaler.scale(loss).backward()

    # Clip.
    if grad_clip != 0.0:
        scaler.unscale_(optimizer)
        # Scales all gradients by one factor.
        torch.nn.utils.clip_grad_norm_(model.parameters(), grad_clip)

    # Update.
    scaler.step(optimizer)
    scaler.update()

    # Free the gradients.
    optimizer.zero_grad(set_to_none=True)

    # Log. Reading the loss waits for the GPU.
    t1 = time.time()
    dt = t1 - t0
    t0 = t1
    if iter_num % log_interval == 0 and master_process:
        shown = loss.item() * gradient_accumulation_steps
        # The first iterations are slow.
        if local_iter_num >= 5:
            mfu = raw_model.estimate_mfu(batch_size * gradient_accumulation_steps, dt)
            running_mfu = mfu if running_mfu == -1.0 else 0.9 * running_mfu + 0.1 * mfu
        mfu_percent = running_mfu * 100
        print(f"iter {iter_num}: loss {shown:.4f}, time {dt * 1000:.2f}ms, mfu {mfu_percent:.2f}%")

    iter_num += 1
    local_iter_num += 1

if ddp:
    torch.distributed.destroy_process_group()
