"""Operators on positions: how attention knows where things stand, how far it sees."""

import libcst as cst

from .anchors import attention, forward
from .genome import Genome
from .operator import Operator
from .source import Edit, NotApplicable, Source, dotted

ROTARY_HELPERS = '''
def rotary_table(length, head_size):
    """Cosines and sines (length, head_size / 2) of each position's rotation angles."""
    frequencies = 10000.0 ** (-torch.arange(0, head_size, 2).float() / head_size)
    angles = torch.outer(torch.arange(length).float(), frequencies)
    return angles.cos(), angles.sin()


def rotate(x, cos, sin):
    """Rotate the channel pairs of x (B, heads, T, head size) by the angles of their position."""
    cos = cos[: x.size(-2)]
    sin = sin[: x.size(-2)]
    a, b = x.chunk(2, dim=-1)
    return torch.cat((a * cos - b * sin, a * sin + b * cos), dim=-1).type_as(x)
'''


def rotary(genome: Genome) -> list[Edit]:
    at = attention(genome)
    source, config = at.source, at.config
    if source.names(source.module, "rotary_table"):
        raise NotApplicable("already rotary")
    _check_even_heads(genome)
    return [
        source.define_before(at.cls, ROTARY_HELPERS),
        source.insert_after(
            source.line(source.assignment(at.init, "self.n_embd")),
            f"""
            # Not saved: the table follows from the block size.
            cos, sin = rotary_table({config}.block_size, {config}.n_embd // {config}.n_head)
            self.register_buffer("rotary_cos", cos, persistent=False)
            self.register_buffer("rotary_sin", sin, persistent=False)
            """,
        ),
        source.insert_before(
            at.core,
            f"""
            # Scores depend on how far apart two positions are.
            {at.query} = rotate({at.query}, self.rotary_cos, self.rotary_sin)
            {at.key} = rotate({at.key}, self.rotary_cos, self.rotary_sin)
            """,
        ),
        *no_positions(genome),
    ]


def _check_even_heads(genome: Genome) -> None:
    """Channels are rotated in pairs."""
    if {"n_embd", "n_head"} <= genome.settings.keys():
        size, odd = divmod(genome.whole("n_embd"), genome.whole("n_head"))
        if odd or size % 2:
            raise NotApplicable("the heads have an odd size")


def no_positions(genome: Genome) -> list[Edit]:
    """Stop adding learned positions to the tokens. Their table stays, unused, in checkpoints."""
    parts = forward(genome)
    source = parts.source
    lookup = source.call(parts.forward, "self.transformer.wpe")
    doomed = []
    term: cst.CSTNode = lookup
    assign = source.parent(lookup)
    if isinstance(assign, cst.Assign):
        name = dotted(assign.targets[0].target)
        uses = [
            n for n in source.names(parts.forward, name) if source.comes_before(assign.value, n)
        ]
        if len(uses) != 1:
            raise NotApplicable("position embeddings are used elsewhere")
        doomed.append(source.alone(assign))
        term = uses[0]
    total = source.parent(term)
    if not isinstance(total, cst.BinaryOperation) or not isinstance(total.operator, cst.Add):
        raise NotApplicable("position embeddings are not added")
    doomed += _position_indices(parts.forward, source, lookup)
    rest = source.code(total.left if total.right is term else total.right)
    edits = [source.replace(total, rest)]
    added = source.parent(total)
    if isinstance(added, cst.Assign) and [source.code(t.target) for t in added.targets] == [rest]:
        doomed.append(source.alone(added))
        edits = []
    return [
        *edits,
        *source.delete(*doomed),
        source.insert_after(
            source.line(source.assignment(parts.init, "self.transformer")),
            """
            # No longer read; kept so that counting, cropping and loading go on working.
            self.transformer.wpe.requires_grad_(False)
            """,
        ),
    ]


def _position_indices(
    function: cst.FunctionDef, source: Source, lookup: cst.Call
) -> list[cst.CSTNode]:
    """The statement that makes the indices 0..T-1, when nothing else reads them."""
    if len(lookup.args) != 1 or not isinstance(lookup.args[0].value, cst.Name):
        return []
    name = lookup.args[0].value.value
    made = source.assignments(function, name)
    if len(made) != 1 or len(source.names(function, name)) != 2:
        return []
    return [source.alone(made[0])]


def windowed(genome: Genome) -> list[Edit]:
    at = attention(genome)
    source = at.source
    given = {a.keyword.value: a for a in at.call.args if a.keyword}
    causal = given.get("is_causal")
    if causal is None or ("attn_mask" in given and source.code(given["attn_mask"].value) != "None"):
        raise NotApplicable("attention is not plainly causal")
    edits = [source.replace(causal, "is_causal=False")]
    mask = "window"
    if "attn_mask" in given:
        edits.append(source.replace(given["attn_mask"].value, mask))
    else:
        edits = [source.replace(causal, f"attn_mask={mask}")]
    config = at.config
    made = source.line(source.assignment(at.init, "self.c_proj"))
    return [
        *edits,
        source.insert_before(
            at.core,
            f"""
            # The mask is made for whole blocks.
            window = self.window[: {at.query}.size(-2), : {at.query}.size(-2)]
            """,
        ),
        source.insert_before(
            made,
            f"""
            # Look back over half of the block only; the mask is causal as well.
            ones = torch.ones({config}.block_size, {config}.block_size, dtype=torch.bool)
            window = ones.tril().triu(1 - {config}.block_size // 2)
            self.register_buffer("window", window, persistent=False)
            """,
        ),
    ]


OPERATORS = (
    Operator(
        name="rotary",
        family="model",
        title="Encode positions by rotating queries and keys",
        why="Rotary embeddings (Su et al. 2021, arXiv:2104.09864) make attention depend on"
        " relative positions; modded-nanogpt's second record (45 to 31.4 min) and nanochat use"
        " them instead of learned absolute positions.",
        expected="clearly better, most of all in short runs",
        prior_mean=-0.05,
        prior_sd=0.04,
        risk="low",
        transform=rotary,
    ),
    Operator(
        name="no_positions",
        family="model",
        title="Drop the position embeddings",
        why="A causal mask alone tells positions apart in principle (Haviv et al. 2022;"
        " Kazemnejad et al. 2023, arXiv:2305.19466), but small models learn that slowly.",
        expected="slightly worse; a control for rotary",
        prior_mean=0.03,
        prior_sd=0.04,
        risk="low",
        transform=no_positions,
    ),
    Operator(
        name="windowed",
        family="model",
        title="Attend to the last half of the block only",
        why="Sliding windows save time on long contexts (records 12 and 13 of modded-nanogpt) but"
        " take context away; with a dense mask there is nothing to save.",
        expected="slightly worse at this length; a control",
        prior_mean=0.01,
        prior_sd=0.015,
        risk="low",
        transform=windowed,
    ),
)
