"""Operators on the residual stream: normalisation, branches, skips, what enters at the bottom."""

import libcst as cst

from .anchors import Forward, branches, forward, wrap
from .genome import Genome
from .operator import Operator
from .source import Edit, NotApplicable, named, walk

RMS_NORM = '''
class RMSNorm(nn.Module):
    """Divide by the root mean square: LayerNorm without centring and without a bias."""

    def __init__(self, ndim):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(ndim))

    def forward(self, input):
        return F.rms_norm(input, self.weight.shape, self.weight, 1e-5)
'''


def rmsnorm(genome: Genome) -> list[Edit]:
    source = genome.model
    old = source.class_("LayerNorm")
    uses = [
        n for n in walk(source.module) if isinstance(n, cst.Call) and named(n.func, "LayerNorm")
    ]
    mentions = source.names(source.module, "LayerNorm")
    if not uses or len(mentions) != len(uses) + 1 or not all(use.args for use in uses):
        raise NotApplicable("LayerNorm is used in other ways")
    return [
        source.replace_line(old, RMS_NORM),
        *(source.replace(use, f"RMSNorm({source.code(use.args[0].value)})") for use in uses),
    ]


def parallel_block(genome: Genome) -> list[Edit]:
    parts, attn, mlp, x = branches(genome)
    source = parts.source
    first, second = source.alone(attn), source.alone(mlp)
    body = list(parts.forward.body.body)
    if first not in body or body[body.index(first) + 1 :][:1] != [second]:
        raise NotApplicable("the branches are not neighbours")
    both = f"{x} = {x} + {source.code(attn)} + {source.code(mlp)}"
    return [source.replace_line(first, both), *source.delete(second)]


def sandwich_norm(genome: Genome) -> list[Edit]:
    parts, attn, mlp, x = branches(genome)
    return [wrap(parts.source, n, f"F.rms_norm({{}}, ({x}.size(-1),))") for n in (attn, mlp)]


def layer_scale(genome: Genome) -> list[Edit]:
    parts, attn, mlp, _ = branches(genome)
    source = parts.source
    size = f"{parts.config}.n_embd"
    return [
        source.insert_after(
            source.line(source.assignment(parts.init, "self.mlp")),
            f"""
            # A gain for each channel; ones change nothing at first.
            self.attn_scale = nn.Parameter(torch.ones({size}))
            self.mlp_scale = nn.Parameter(torch.ones({size}))
            """,
        ),
        wrap(source, attn, "self.attn_scale * {}"),
        wrap(source, mlp, "self.mlp_scale * {}"),
    ]


def rezero(genome: Genome) -> list[Edit]:
    parts, attn, mlp, _ = branches(genome)
    source = parts.source
    return [
        source.insert_after(
            source.line(source.assignment(parts.init, "self.mlp")),
            """
            # Every block starts as the identity.
            self.attn_weight = nn.Parameter(torch.zeros(1))
            self.mlp_weight = nn.Parameter(torch.zeros(1))
            """,
        ),
        wrap(source, attn, "self.attn_weight * {}"),
        wrap(source, mlp, "self.mlp_weight * {}"),
    ]


def post_norm(genome: Genome) -> list[Edit]:
    parts, attn, mlp, x = branches(genome)
    source = parts.source
    edits = []
    for call, norm in ((attn, "ln_1"), (mlp, "ln_2")):
        inner = call.args[0].value if call.args else call
        if source.code(inner) != f"self.{norm}({x})":
            raise NotApplicable("the branch does not begin with its normalisation")
        rest = source.code(call).replace(source.code(inner), x, 1)
        edits.append(source.replace_line(source.alone(call), f"{x} = self.{norm}({x} + {rest})"))
    return edits


def x0_lambdas(genome: Genome) -> list[Edit]:
    gpt = forward(genome)
    source, x = gpt.source, gpt.hidden
    return [
        _parameters(
            gpt,
            """
            # Per layer: how much of the stream, and of the embedding, goes into the block.
            self.stream_mix = nn.Parameter(torch.ones({config}.n_layer))
            self.embedding_mix = nn.Parameter(torch.zeros({config}.n_layer))
            """,
        ),
        source.insert_before(
            gpt.loop,
            f"""
            # Kept for every layer.
            embedding = {x}
            """,
        ),
        *_enumerated(gpt),
        source.insert_before(
            source.line(gpt.block),
            f"{x} = self.stream_mix[layer] * {x} + self.embedding_mix[layer] * embedding",
        ),
    ]


def unet_skip(genome: Genome) -> list[Edit]:
    gpt = forward(genome)
    source, x = gpt.source, gpt.hidden
    blocks = source.code(gpt.loop.iter)
    return [
        _parameters(
            gpt,
            """
            # Zeros: the skips are closed at first. An odd middle layer has none.
            self.skip_weights = nn.Parameter(torch.zeros({config}.n_layer // 2))
            """,
        ),
        source.insert_before(
            gpt.loop,
            f"""
            # What the first half of the layers leaves for the second.
            skips = []
            depth = len({blocks})
            """,
        ),
        *_enumerated(gpt),
        source.insert_before(
            source.line(gpt.block),
            f"""
            if layer >= depth - depth // 2:
                {x} = {x} + self.skip_weights[depth - 1 - layer] * skips.pop()
            """,
        ),
        source.insert_after(
            source.line(gpt.block),
            f"""
            if layer < depth // 2:
                skips.append({x})
            """,
        ),
    ]


def _enumerated(gpt: Forward) -> list[Edit]:
    """The loop over the blocks, with the layer's number."""
    source = gpt.source
    return [
        source.replace(gpt.loop.target, f"layer, {source.code(gpt.loop.target)}"),
        wrap(source, gpt.loop.iter, "enumerate({})"),
    ]


def _parameters(gpt: Forward, code: str) -> Edit:
    """New parameters above the initialisation of the weights, which does not know them."""
    source = gpt.source
    apply = source.line(source.call(gpt.init, "self.apply"))
    return source.insert_before(apply, code.replace("{config}", gpt.config))


OPERATORS = (
    Operator(
        name="rmsnorm",
        family="model",
        title="Normalise by the root mean square only",
        why="RMSNorm (Zhang & Sennrich 2019, arXiv:1910.07467) matches LayerNorm at less work;"
        " LLaMA, modded-nanogpt and nanochat use it.",
        expected="neutral, a little faster where it is fused",
        prior_mean=-0.001,
        prior_sd=0.008,
        risk="low",
        transform=rmsnorm,
    ),
    Operator(
        name="parallel_block",
        family="model",
        title="Run attention and MLP side by side",
        why="Parallel blocks (GPT-J; PaLM, Chowdhery et al. 2022, section 2) are faster on"
        " accelerators, slightly worse for small models.",
        expected="slightly worse per step",
        prior_mean=0.01,
        prior_sd=0.015,
        risk="low",
        transform=parallel_block,
    ),
    Operator(
        name="sandwich_norm",
        family="model",
        title="Normalise each residual branch's output as well",
        why="A second normalisation (CogView, Ding et al. 2021; Gemma 2; Peri-LN, Kim et al."
        " 2025, arXiv:2502.02732) steadies large runs; in small ones the branches start too"
        " loud.",
        expected="about neutral",
        prior_mean=0.0,
        prior_sd=0.025,
        risk="medium",
        transform=sandwich_norm,
    ),
    Operator(
        name="post_norm",
        family="model",
        title="Normalise after each residual addition",
        why="The original Transformer's order needs warm-up and trains less stably than"
        " normalisation first (Xiong et al. 2020, arXiv:2002.04745).",
        expected="worse; a control",
        prior_mean=0.04,
        prior_sd=0.04,
        risk="high",
        transform=post_norm,
    ),
    Operator(
        name="layer_scale",
        family="model",
        title="Learn a gain for each channel of the branches",
        why="LayerScale (Touvron et al. 2021, arXiv:2103.17239) helps deep image models; from"
        " ones it changes nothing at first.",
        expected="about neutral in shallow models",
        prior_mean=0.0,
        prior_sd=0.01,
        risk="low",
        transform=layer_scale,
    ),
    Operator(
        name="rezero",
        family="model",
        title="Open each residual branch from zero",
        why="ReZero (Bachlechner et al. 2020, arXiv:2003.04887) starts every block as the"
        " identity and speeds up deep models; in shallow ones it delays learning.",
        expected="about neutral, slower first steps",
        prior_mean=0.01,
        prior_sd=0.025,
        risk="medium",
        transform=rezero,
    ),
    Operator(
        name="x0_lambdas",
        family="model",
        title="Mix the embedding into every layer",
        why="Learned scalars for stream and embedding: record 9 of modded-nanogpt; nanochat"
        " measured -0.010 bits per byte at depth 8, -0.004 at depth 20.",
        expected="slightly better, less so in shallow models",
        prior_mean=-0.01,
        prior_sd=0.015,
        risk="low",
        transform=x0_lambdas,
    ),
    Operator(
        name="unet_skip",
        family="model",
        title="Join early and late layers by skips",
        why="A U-net pattern of skips: record 11 of modded-nanogpt (7.8 to 7.2 min, together with"
        " a doubled learning rate); nanochat found it slightly worse.",
        expected="about neutral in shallow models",
        prior_mean=-0.002,
        prior_sd=0.015,
        risk="low",
        transform=unet_skip,
    ),
)
