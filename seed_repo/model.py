"""A GPT: token and position embeddings, blocks of attention and MLP, a tied output layer.

Parameter names follow nanoGPT, so that checkpoints can be exchanged with it. Every step stands
on its own line under its own comment: edits of different steps then merge without conflict.
"""

import math
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F


class LayerNorm(nn.Module):
    """Layer normalisation whose bias can be left out."""

    def __init__(self, ndim, bias):
        super().__init__()

        # Starts as the identity.
        self.weight = nn.Parameter(torch.ones(ndim))
        self.bias = nn.Parameter(torch.zeros(ndim)) if bias else None

    def forward(self, x):
        return F.layer_norm(x, self.weight.shape, self.weight, self.bias, 1e-5)


class CausalSelfAttention(nn.Module):
    """Every position looks at itself and at what came before: (B, T, C) to (B, T, C)."""

    def __init__(self, config):
        super().__init__()

        if config.n_embd % config.n_head:
            raise ValueError(f"n_embd={config.n_embd} is not a multiple of n_head={config.n_head}")

        # Queries, keys and values come out of one matrix, in this order.
        self.c_attn = nn.Linear(config.n_embd, 3 * config.n_embd, bias=config.bias)

        # Back into the residual stream.
        self.c_proj = nn.Linear(config.n_embd, config.n_embd, bias=config.bias)

        # Applied to what goes back.
        self.resid_dropout = nn.Dropout(config.dropout)

        # Shapes.
        self.n_head = config.n_head
        self.n_embd = config.n_embd

        # Rate for the attention weights.
        self.dropout = config.dropout

    def forward(self, x):
        B, T, C = x.size()
        heads = (B, T, self.n_head, C // self.n_head)

        # Each of the three is (B, T, C).
        q, k, v = self.c_attn(x).split(self.n_embd, dim=2)

        # Queries: (B, T, head, size).
        q = q.view(heads)

        # Keys: (B, T, head, size).
        k = k.view(heads)

        # Values: (B, T, head, size).
        v = v.view(heads)

        # Queries, the head in front: (B, head, T, size).
        q = q.transpose(1, 2)

        # Keys, the head in front: (B, head, T, size).
        k = k.transpose(1, 2)

        # Values, the head in front: (B, head, T, size).
        v = v.transpose(1, 2)

        # Attention weights are dropped only in training.
        dropout = self.dropout if self.training else 0.0

        # The fused kernel: scores over sqrt(size), causal mask, softmax, weighted sum.
        y = F.scaled_dot_product_attention(q, k, v, dropout_p=dropout, is_causal=True)

        # Heads side by side again: (B, T, C).
        y = y.transpose(1, 2).reshape(B, T, C)

        # Mix the heads.
        y = self.c_proj(y)

        # Regularise.
        y = self.resid_dropout(y)

        return y


class MLP(nn.Module):
    """Each position for itself: (B, T, C) to (B, T, C)."""

    def __init__(self, config):
        super().__init__()

        # Wider inside.
        self.c_fc = nn.Linear(config.n_embd, 4 * config.n_embd, bias=config.bias)

        # Back into the residual stream.
        self.c_proj = nn.Linear(4 * config.n_embd, config.n_embd, bias=config.bias)

        # Applied to what goes back.
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x):
        # Widen.
        x = self.c_fc(x)

        # The nonlinearity.
        x = F.gelu(x)

        # Narrow.
        x = self.c_proj(x)

        # Regularise.
        x = self.dropout(x)

        return x


class Block(nn.Module):
    """Attention, then the MLP; each reads a normalised stream and adds to the raw one."""

    def __init__(self, config):
        super().__init__()

        # What attention reads.
        self.ln_1 = LayerNorm(config.n_embd, bias=config.bias)

        # Moves information between positions.
        self.attn = CausalSelfAttention(config)

        # What the MLP reads.
        self.ln_2 = LayerNorm(config.n_embd, bias=config.bias)

        # Works on each position.
        self.mlp = MLP(config)

    def forward(self, x):
        # First residual add.
        x = x + self.attn(self.ln_1(x))

        # Second residual add.
        x = x + self.mlp(self.ln_2(x))

        return x


@dataclass
class GPTConfig:
    """The shape of a model; the defaults are GPT-2's smallest, its vocabulary padded to 64."""

    block_size: int = 1024
    vocab_size: int = 50304
    n_layer: int = 12
    n_head: int = 12
    n_embd: int = 768
    dropout: float = 0.0
    bias: bool = True


class GPT(nn.Module):
    """Next-token logits from token ids."""

    def __init__(self, config):
        super().__init__()
        self.config = config

        # Tokens to vectors.
        wte = nn.Embedding(config.vocab_size, config.n_embd)

        # Positions to vectors.
        wpe = nn.Embedding(config.block_size, config.n_embd)

        # Dropout on the embeddings.
        drop = nn.Dropout(config.dropout)

        # The blocks, in order.
        h = nn.ModuleList(Block(config) for _ in range(config.n_layer))

        # What the output layer reads.
        ln_f = LayerNorm(config.n_embd, bias=config.bias)

        # Named as in nanoGPT's checkpoints.
        parts = {"wte": wte, "wpe": wpe, "drop": drop, "h": h, "ln_f": ln_f}
        self.transformer = nn.ModuleDict(parts)

        # Vectors to logits.
        self.lm_head = nn.Linear(config.n_embd, config.vocab_size, bias=False)

        # Input and output share one matrix.
        self.transformer.wte.weight = self.lm_head.weight

        # Every module draws its own weights.
        self.apply(self._init_weights)

        # Each block adds to the stream twice: keep its variance independent of the depth.
        for name, parameter in self.named_parameters():
            if name.endswith("c_proj.weight"):
                nn.init.normal_(parameter, mean=0.0, std=0.02 / math.sqrt(2 * config.n_layer))

    def get_num_params(self, non_embedding=True):
        """Parameters, by default without the position table; shared matrices count once."""
        total = sum(parameter.numel() for parameter in self.parameters())
        if non_embedding:
            total -= self.transformer.wpe.weight.numel()
        return total

    def _init_weights(self, module):
        # Matrices.
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, mean=0.0, std=0.02)

        # Tables.
        if isinstance(module, nn.Embedding):
            nn.init.normal_(module.weight, mean=0.0, std=0.02)

        # Biases of matrices.
        if isinstance(module, nn.Linear) and module.bias is not None:
            nn.init.zeros_(module.bias)

    def forward(self, idx, targets=None):
        """Ids (B, T), T at most block_size, to (logits, loss).

        With targets (B, T): logits (B, T, vocab_size) and the mean cross-entropy in nats over
        targets other than -1. Without: logits (B, 1, vocab_size) of the last position, and None.
        """
        _, T = idx.size()
        if self.config.block_size < T:
            raise ValueError(f"{T} tokens do not fit into block_size={self.config.block_size}")

        # What stands there.
        tok_emb = self.transformer.wte(idx)

        # The stream starts with it.
        x = tok_emb

        # Where it stands.
        pos = torch.arange(T, device=idx.device)
        pos_emb = self.transformer.wpe(pos)

        # Add the position.
        x = x + pos_emb

        # Regularise.
        x = self.transformer.drop(x)

        # Through the blocks.
        for block in self.transformer.h:
            x = block(x)

        # What the output layer reads.
        x = self.transformer.ln_f(x)

        # Sampling needs only the last position.
        if targets is None:
            x = x[:, [-1], :]

        # One logit per token of the vocabulary.
        logits = self.lm_head(x)

        # Nothing to compare with.
        if targets is None:
            return logits, None

        # One row for each position.
        scores = logits.view(-1, logits.size(-1))

        # Their mean, in nats.
        loss = F.cross_entropy(scores, targets.reshape(-1), ignore_index=-1)

        return logits, loss

    def crop_block_size(self, block_size):
        """Forget the positions from block_size on."""
        if block_size > self.config.block_size:
            raise ValueError(f"block_size={block_size} exceeds the model's own")
        self.config.block_size = block_size

        # The position table is the only thing that knows the length.
        kept = self.transformer.wpe.weight[:block_size].detach().clone()
        self.transformer.wpe.weight = nn.Parameter(kept)

    def configure_optimizers(self, weight_decay, learning_rate, betas, device_type):
        """AdamW that decays matrices and tables, but neither norms nor biases."""
        parameters = [parameter for parameter in self.parameters() if parameter.requires_grad]

        # Two dimensions or more: these decay.
        decayed = [parameter for parameter in parameters if parameter.dim() >= 2]

        # Scales and biases: these do not.
        plain = [parameter for parameter in parameters if parameter.dim() < 2]

        # A group may carry lr_scale, a factor on the scheduled learning rate.
        groups = []
        groups.append({"params": decayed, "weight_decay": weight_decay})
        # Norms and biases.
        groups.append({"params": plain, "weight_decay": 0.0})

        # One kernel for all tensors, where the device has it.
        fused = device_type in ("cpu", "cuda")

        # Adam's update.
        optimizer = torch.optim.AdamW(groups, lr=learning_rate, betas=betas, fused=fused)

        return optimizer

    def estimate_mfu(self, fwdbwd_per_iter, dt):
        """Share of an A100's bf16 peak, for fwdbwd_per_iter sequences in dt seconds.

        Counted as in PaLM (Chowdhery et al. 2022, appendix B): per token 6 operations for each
        parameter, and 12 for each layer, channel and position attended to.
        """
        config = self.config

        # Operations for one token, forward and backward.
        attention = 12 * config.n_layer * config.n_embd * config.block_size
        per_token = 6 * self.get_num_params() + attention

        # Operations per second.
        achieved = per_token * config.block_size * fwdbwd_per_iter / dt

        # The A100's peak in bf16.
        return achieved / 312e12

    @torch.no_grad()
    def generate(self, idx, max_new_tokens, temperature=1.0, top_k=None):
        """Append max_new_tokens sampled ids to idx (B, T); call eval() first."""
        for _ in range(max_new_tokens):
            # Only this much fits.
            window = idx[:, -self.config.block_size :]
            logits, _ = self(window)
            logits = logits[:, -1, :] / temperature

            # Keep the k likeliest.
            if top_k is not None:
                best, _ = torch.topk(logits, min(top_k, logits.size(-1)))
                logits = logits.masked_fill(logits < best[:, [-1]], -math.inf)

            # Draw one.
            drawn = torch.multinomial(F.softmax(logits, dim=-1), num_samples=1)
            idx = torch.cat((idx, drawn), dim=1)
        return idx
