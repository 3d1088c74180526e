"""Operators on attention: positions, queries, keys, values."""

import libcst as cst

from .anchors import attention, forward, module, wrap
from .genome import Genome
from .operator import Operator
from .source import Edit, NotApplicable, Source, dotted


def qk_norm(genome: Genome) -> list[Edit]:
    at = attention(genome)
    if at.source.calls(at.forward, "rms_norm"):
        raise NotApplicable("something is normalised already")
    return [
        at.source.insert_after(
            at.last_view(at.query, at.key),
            f"""
            # Bounded scores: attention cannot saturate at high learning rates.
            {at.query} = F.rms_norm({at.query}, ({at.query}.size(-1),))
            {at.key} = F.rms_norm({at.key}, ({at.key}.size(-1),))
            """,
        )
    ]


def temperature(genome: Genome) -> list[Edit]:
    at = attention(genome)
    head_count = at.source.line(at.source.assignment(at.init, "self.n_head"))
    return [
        at.source.insert_after(
            head_count,
            f"""
            # Each head learns how sharply it attends.
            self.temperature = nn.Parameter(torch.ones({at.config}.n_head, 1, 1))
            """,
        ),
        at.source.insert_after(
            at.view(at.query),
            f"""
            # Scores are linear in the queries.
            {at.query} = {at.query} * self.temperature
            """,
        ),
    ]


def attn_gate(genome: Genome) -> list[Edit]:
    at = attention(genome)
    at.projection()
    target = at.source.parent(at.call)
    if not isinstance(target, cst.Assign):
        raise NotApplicable("attention's output has no name")
    output = dotted(target.targets[0].target)
    made = at.source.line(at.source.assignment(at.init, "self.c_proj"))
    return [
        at.source.insert_after(
            made,
            f"""
            # Lets a head add nothing.
            self.gate = nn.Parameter(torch.zeros({at.config}.n_head, {at.config}.n_embd))
            """,
        ),
        at.source.insert_after(
            at.core,
            f"""
            # 2 * sigmoid(0) = 1: every head starts fully open.
            gate = 2 * torch.sigmoid(F.linear({at.input}, self.gate))
            {output} = {output} * gate.transpose(1, 2).unsqueeze(-1)
            """,
        ),
    ]


def token_shift(genome: Genome) -> list[Edit]:
    at = attention(genome)
    call = at.projection()
    x = at.input
    if [at.source.code(argument) for argument in call.args] != [x]:
        raise NotApplicable("c_attn does not read the layer's input")
    made = at.source.line(at.source.assignment(at.init, "self.c_attn"))
    return [
        at.source.insert_before(
            made,
            f"""
            # How much of the previous position each channel sees: nothing at first.
            self.shift = nn.Parameter(torch.zeros({at.config}.n_embd))
            """,
        ),
        at.source.insert_before(
            at.source.statement(call, at.forward),
            f"""
            # Bigrams need no head that looks back by one; before the first position are zeros.
            {x} = {x} + self.shift * F.pad({x}, (0, 0, 1, -1))
            """,
        ),
    ]


CONVOLUTION_HELPER = '''
def add_convolution(x, weight):
    """x (B, T, C) plus its causal convolution over time, each channel with its own filter."""
    past = F.pad(x.transpose(1, 2), (weight.size(-1) - 1, 0))
    return x + F.conv1d(past, weight, groups=weight.size(0)).transpose(1, 2)
'''


def qkv_conv(genome: Genome) -> list[Edit]:
    at = attention(genome)
    if at.source.names(at.source.module, "add_convolution"):
        raise NotApplicable("already there")
    made = at.source.line(at.source.assignment(at.init, "self.c_attn"))
    return [
        at.source.define_before(at.cls, CONVOLUTION_HELPER),
        at.source.insert_after(
            made,
            f"""
            # Zeros: the convolution adds nothing at first.
            self.filters = nn.Parameter(torch.zeros(3 * {at.config}.n_embd, 1, 3))
            """,
        ),
        wrap(at.source, at.projection(), "add_convolution({}, self.filters)"),
    ]


def value_embed(genome: Genome) -> list[Edit]:
    at, block, gpt = attention(genome), module(genome, "Block"), forward(genome)
    source = at.source
    inner = source.call(block.forward, "self.attn")
    if len(inner.args) != 1 or len(gpt.block.args) != 1:
        raise NotApplicable("the blocks already take more than the hidden state")
    return [
        source.insert_after(
            source.line(source.assignment(gpt.init, "self.config")),
            f"""
            # Another embedding of the tokens, for values only; zeros draw no random number.
            size = ({gpt.config}.vocab_size, {gpt.config}.n_embd)
            self.value_embed = nn.Parameter(torch.zeros(size))
            """,
        ),
        source.insert_after(
            source.statement(source.call(gpt.forward, "self.transformer.wte"), gpt.forward),
            f"""
            # What every layer's values are reminded of.
            embedded = F.embedding({gpt.tokens}, self.value_embed)
            """,
        ),
        source.replace(gpt.block, f"{source.code(gpt.block)[:-1]}, embedded)"),
        _add_parameter(source, block.forward, "embedded"),
        source.replace(inner, source.code(inner)[:-1] + ", embedded)"),
        _add_parameter(source, at.forward, "embedded"),
        source.insert_after(
            at.view(at.value),
            f"""
            # The token itself, whatever the layers below made of it.
            reminder = embedded.unflatten(-1, ({at.value}.size(1), -1))
            {at.value} = {at.value} + reminder.transpose(1, 2)
            """,
        ),
    ]


def _add_parameter(source: Source, function: cst.FunctionDef, name: str) -> Edit:
    """One more positional parameter behind the input."""
    if len(function.params.params) != 2:
        raise NotApplicable(f"{function.name.value} takes more than its input")
    last = function.params.params[1]
    return source.replace(last.name, f"{last.name.value}, {name}")


OPERATORS = (
    Operator(
        name="qk_norm",
        family="model",
        title="Normalise queries and keys per head",
        why="Normalised queries and keys bound the attention logits (Henry et al. 2020; Dehghani"
        " et al. 2023, arXiv:2302.05442); in modded-nanogpt since record 5, also in nanochat.",
        expected="slightly better, and higher learning rates become stable",
        prior_mean=-0.015,
        prior_sd=0.02,
        risk="low",
        transform=qk_norm,
    ),
    Operator(
        name="qk_temperature",
        family="model",
        title="Learn a temperature for each attention head",
        why="A learned scale per head lets it choose how sharply it attends (Henry et al. 2020,"
        " arXiv:2010.04245, there with normalised queries).",
        expected="about neutral alone, useful beside qk_norm",
        prior_mean=-0.003,
        prior_sd=0.012,
        risk="low",
        transform=temperature,
    ),
    Operator(
        name="attn_gate",
        family="model",
        title="Gate each attention head by its input",
        why="A sigmoid gate after attention lets a head do nothing (Qiu et al. 2025,"
        " arXiv:2505.06708); record 28 of modded-nanogpt has it, nanochat saw no gain.",
        expected="about neutral in short runs",
        prior_mean=-0.006,
        prior_sd=0.015,
        risk="low",
        transform=attn_gate,
    ),
    Operator(
        name="token_shift",
        family="model",
        title="Let attention see the previous token in every layer",
        why="Shifting part of the input by one position (RWKV, Peng et al. 2023,"
        " arXiv:2305.13048) gives induction and bigrams without a head learning to look back"
        " by one.",
        expected="better, mostly with characters",
        prior_mean=-0.02,
        prior_sd=0.025,
        risk="low",
        transform=token_shift,
    ),
    Operator(
        name="qkv_conv",
        family="model",
        title="Add a short causal convolution to queries, keys, values",
        why="Depthwise convolutions of width 3 after the projections were half of Primer's gain"
        " (So et al. 2021, arXiv:2109.08668); Canon layers (Allen-Zhu 2025) found the same.",
        expected="better per step, somewhat slower",
        prior_mean=-0.025,
        prior_sd=0.025,
        risk="medium",
        transform=qkv_conv,
    ),
    Operator(
        name="value_embed",
        family="model",
        title="Add a token embedding of their own to the values",
        why="Value embeddings give attention direct access to the tokens: records 14 to 17 of"
        " modded-nanogpt (4.66 to 4.41 min and on); nanochat keeps them.",
        expected="slightly better; more parameters, hardly more computation",
        prior_mean=-0.01,
        prior_sd=0.025,
        risk="low",
        transform=value_embed,
    ),
)
