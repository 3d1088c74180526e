# ruff: noqa
"""A small GPT in another hand: nanoGPT's names and contract, none of its layout."""
import math
import torch, torch.nn as nn
import torch.nn.functional as F
from dataclasses import dataclass


class LayerNorm(nn.Module):
  def __init__(self, ndim, bias):
    super().__init__()
    self.weight = nn.Parameter(torch.ones(ndim))
    self.bias = nn.Parameter(torch.zeros(ndim)) if bias else None

  def forward(self, input): return F.layer_norm(input, self.weight.shape, self.weight, self.bias, 1e-5)


class CausalSelfAttention(nn.Module):
  def __init__(self, cfg):
    super().__init__(); assert cfg.n_embd % cfg.n_head == 0
    self.c_attn = nn.Linear(cfg.n_embd, 3 * cfg.n_embd, bias=cfg.bias)  # q, k and v at once
    self.c_proj = nn.Linear(cfg.n_embd, cfg.n_embd, bias=cfg.bias)
    self.resid_dropout, self.dropout = nn.Dropout(cfg.dropout), cfg.dropout
    self.n_head = cfg.n_head
    self.n_embd = cfg.n_embd

  def forward(self, inp):
    batch, length, width = inp.shape
    q, k, v = self.c_attn(inp).split(self.n_embd, dim=2)
    q, k, v = (t.view(batch, length, self.n_head, -1).transpose(1, 2) for t in (q, k, v))
    out = F.scaled_dot_product_attention(
      q, k, v,
      attn_mask=None,
      dropout_p=self.dropout if self.training else 0.0,
      is_causal=True,
    )
    return self.resid_dropout(self.c_proj(out.transpose(1, 2).contiguous().view(batch, length, width)))


class MLP(nn.Module):
  def __init__(self, cfg):
    super().__init__()
    self.c_fc = nn.Linear(cfg.n_embd, 4 * cfg.n_embd, bias=cfg.bias)
    self.act = nn.GELU()
    self.c_proj = nn.Linear(4 * cfg.n_embd, cfg.n_embd, bias=cfg.bias)
    self.dropout = nn.Dropout(cfg.dropout)

  def forward(self, inp):
    # Up, bend,
    h = self.c_fc(inp)
    h = self.act(h)
    # and down again.
    return self.dropout(self.c_proj(h))


class Block(nn.Module):
  def __init__(self, cfg):
    super().__init__()
    self.ln_1 = LayerNorm(cfg.n_embd, bias=cfg.bias); self.ln_2 = LayerNorm(cfg.n_embd, bias=cfg.bias)
    self.attn = CausalSelfAttention(cfg)
    self.mlp = MLP(cfg)

  def forward(self, h):
    h = self.attn(self.ln_1(h)) + h
    h = h + self.mlp(self.ln_2(h))  # keeps its name
    return h


@dataclass
class GPTConfig:
  block_size: int = 64; vocab_size: int = 64
  n_layer: int = 2; n_head: int = 2; n_embd: int = 32
  dropout: float = 0.0
  bias: bool = True


class GPT(nn.Module):
  def __init__(self, cfg):
    super().__init__()
    self.config = cfg
    self.transformer = nn.ModuleDict({
      'wte': nn.Embedding(cfg.vocab_size, cfg.n_embd),
      'wpe': nn.Embedding(cfg.block_size, cfg.n_embd),
      'drop': nn.Dropout(cfg.dropout),
      'h': nn.ModuleList(Block(cfg) for _ in range(cfg.n_layer)),
      'ln_f': LayerNorm(cfg.n_embd, bias=cfg.bias),
    })
    self.lm_head = nn.Linear(cfg.n_embd, cfg.vocab_size, bias=False)
    self.lm_head.weight = self.transformer.wte.weight
    self.apply(self._init_weights)
    for n, p in self.named_parameters():
      if n.endswith('c_proj.weight'): torch.nn.init.normal_(p, mean=0.0, std=0.02 / math.sqrt(2 * cfg.n_layer))

  def get_num_params(self, non_embedding=True):
    return sum(p.numel() for p in self.parameters()) - non_embedding * self.transformer.wpe.weight.numel()

  def _init_weights(self, m):
    if isinstance(m, nn.Linear):
      nn.init.normal_(m.weight, mean=0.0, std=0.02)
      if m.bias is not None: nn.init.zeros_(m.bias)
    elif isinstance(m, nn.Embedding):
      nn.init.normal_(m.weight, mean=0.0, std=0.02)

  def forward(self, tokens, targets=None):
    h = self.transformer.drop(
      self.transformer.wte(tokens) + self.transformer.wpe(torch.arange(tokens.size(1), device=tokens.device))
    )
    for layer_ in self.transformer.h:
      h = layer_(h)
    h = self.transformer.ln_f(h)
    if targets is None:
      out = self.lm_head(h[:, [-1], :])
      return out, None
    out = self.lm_head(h)
    loss = F.cross_entropy(
      out.view(-1, out.size(-1)),
      targets.view(-1),
      ignore_index=-1,
    )
    return out, loss

  def crop_block_size(self, block_size):
    self.config.block_size = block_size
    self.transformer.wpe.weight = nn.Parameter(self.transformer.wpe.weight[:block_size])

  def configure_optimizers(self, weight_decay, learning_rate, betas, device_type):
    params = [p for p in self.parameters() if p.requires_grad]
    groups = [{'params': [p for p in params if p.dim() >= 2], 'weight_decay': weight_decay},
              {'params': [p for p in params if p.dim() < 2], 'weight_decay': 0.0}]
    fused = True and device_type == 'cuda'
    extra = {'fused': True} if fused else {}
    opt = torch.optim.AdamW(groups, lr=learning_rate, betas=betas, **extra)
    return opt
