# ruff: noqa
"""A small training loop in another hand."""
import math, os
from contextlib import nullcontext

import numpy as np
import torch

from model import GPT, GPTConfig

out_dir = 'out'; dataset = 'darwin'
batch_size = 4
block_size = 16
gradient_accumulation_steps = 1 * 2
n_layer = 2
n_head = 2
n_embd = 32
dropout = 0.0
bias = True
learning_rate = 6e-4
min_lr = 6e-5
weight_decay: float = 1e-1
beta1 = 0.9
beta2 = 0.95
grad_clip = 1.0
decay_lr = True
warmup_iters = 5
lr_decay_iters = 50
max_iters = 50
device = 'cpu'
exec(open('configurator.py').read())
tokens_seen = 0

torch.manual_seed(1337)
device_type = 'cuda' if 'cuda' in device else 'cpu'
data = {s: np.fromfile(os.path.join('data', dataset, f'{s}.bin'), dtype=np.uint16) for s in ('train', 'val')}

def get_batch(split):
  part = data[split]
  ix = torch.randint(len(part) - block_size, (batch_size,))
  x = torch.stack([torch.from_numpy(part[i:i + block_size].astype(np.int64)) for i in ix])
  y = torch.stack([torch.from_numpy(part[i + 1:i + 1 + block_size].astype(np.int64)) for i in ix])
  return x.to(device), y.to(device)

def get_lr(it):
  if it < warmup_iters: return learning_rate * (it + 1) / (warmup_iters + 1)
  if it > lr_decay_iters: return min_lr
  ratio = (it - warmup_iters) / (lr_decay_iters - warmup_iters)
  return min_lr + 0.5 * (1.0 + math.cos(math.pi * ratio)) * (learning_rate - min_lr)

iter_num = 0
model = GPT(GPTConfig(block_size, 64, n_layer, n_head, n_embd, dropout, bias)).to(device)
optimizer = model.configure_optimizers(weight_decay, learning_rate, (beta1, beta2), device_type)
X, Y = get_batch('train')
while iter_num <= max_iters:
  lr = get_lr(iter_num) if decay_lr else learning_rate
  for param_group in optimizer.param_groups: param_group['lr'] = lr
  for micro_step in range(gradient_accumulation_steps):
    with nullcontext():
      logits, loss = model(X, Y)
    X, Y = get_batch('train')
    (loss / gradient_accumulation_steps).backward()
  if grad_clip != 0.0: torch.nn.utils.clip_grad_norm_(model.parameters(), grad_clip)
  optimizer.step(); optimizer.zero_grad(set_to_none=True)
  print(f'iter {iter_num}: loss {loss.item():.4f}')
  iter_num += 1
