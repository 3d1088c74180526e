"""Operators on the weights' initial scale."""

import libcst as cst

from .anchors import module
from .genome import Genome
from .operator import Operator, Transform
from .source import Edit, NotApplicable, Source, dotted, named, only, walk


def _branch(source: Source, layer: str) -> cst.If:
    """In GPT._init_weights: the branch for one kind of layer."""
    function = source.definition("_init_weights", source.class_("GPT"))
    found = [
        n
        for n in walk(function)
        if isinstance(n, cst.If)
        and source.calls(n.body, "normal_")
        and any(named(call.args[-1].value, layer) for call in source.calls(n.test, "isinstance"))
    ]
    return only(found, f"initialisation of {layer}")


def _normal(source: Source, branch: cst.If) -> cst.Call:
    """The branch's own call of normal_, not one in an else."""
    return source.call(branch.body, "normal_")


def _deviation(source: Source, call: cst.Call, value: str) -> Edit:
    keywords = [a for a in call.args if a.keyword and a.keyword.value == "std"]
    return source.replace(only(keywords, "standard deviation").value, value)


def _layer_deviation(layer: str, value: str) -> Transform:
    """`value` may name {weight}, the tensor that is initialised."""

    def transform(genome: Genome) -> list[Edit]:
        source = genome.model
        call = _normal(source, _branch(source, layer))
        if not call.args:
            raise NotApplicable("nothing is initialised")
        weight = source.code(call.args[0].value)
        return [_deviation(source, call, value.replace("{weight}", weight))]

    return transform


def orthogonal(genome: Genome) -> list[Edit]:
    source = genome.model
    call = _normal(source, _branch(source, "Linear"))
    if not call.args:
        raise NotApplicable("nothing is initialised")
    return [_drawn(source, call, "orthogonal_")]


def _drawn(source: Source, call: cst.Call, name: str) -> Edit:
    """The same tensor, initialised by another function of the same module."""
    module = source.code(call.func).removesuffix("normal_")
    return source.replace(call, f"{module}{name}({source.code(call.args[0].value)})")


def _projections(source: Source, init: cst.FunctionDef) -> cst.Call:
    """The call that scales the residual projections' weights in GPT.__init__."""
    loops = [
        n
        for n in walk(init)
        if isinstance(n, cst.For) and source.calls(n, "normal_") and "c_proj" in source.code(n)
    ]
    return source.call(only(loops, "loop over the projections"), "normal_")


def zero_proj(genome: Genome) -> list[Edit]:
    gpt = module(genome, "GPT")
    call = _projections(gpt.source, gpt.init)
    if not call.args:
        raise NotApplicable("nothing is initialised")
    return [_drawn(gpt.source, call, "zeros_")]


def unscaled_proj(genome: Genome) -> list[Edit]:
    gpt = module(genome, "GPT")
    call = _projections(gpt.source, gpt.init)
    return [_deviation(gpt.source, call, "0.02")]


def embed_init(genome: Genome) -> list[Edit]:
    """A tied embedding takes the head's scale: only one of its own is drawn wider."""
    gpt = module(genome, "GPT")
    if "self.transformer.wte.weight" in map(dotted, walk(gpt.init)):
        raise NotApplicable("the embedding is tied")
    return list(_layer_deviation("Embedding", "1.0")(genome))


OPERATORS = (
    Operator(
        name="init_fan_in",
        family="init",
        title="Scale initial weights by their number of inputs",
        why="A standard deviation of 1/sqrt(inputs) (LeCun et al. 1998; muP, Yang et al. 2022,"
        " arXiv:2203.03466; nanochat) keeps activations at one scale at every width; 0.02 is"
        " too small for narrow models.",
        expected="clearly better where the model is narrow",
        prior_mean=-0.02,
        prior_sd=0.04,
        risk="low",
        transform=_layer_deviation("Linear", "{weight}.size(-1) ** -0.5"),
    ),
    Operator(
        name="small_init",
        family="init",
        title="Draw initial weights with deviation sqrt(2 / 5d)",
        why="SmallInit (Nguyen & Salazar 2019, arXiv:1910.05895; GPT-NeoX): between 0.02 and"
        " fan-in scaling for narrow models.",
        expected="slightly better where the model is narrow",
        prior_mean=-0.01,
        prior_sd=0.03,
        risk="low",
        transform=_layer_deviation("Linear", "(0.4 / {weight}.size(-1)) ** 0.5"),
    ),
    Operator(
        name="orthogonal_init",
        family="init",
        title="Start linear layers from orthogonal matrices",
        why="Orthogonal weights keep norms through depth (Saxe et al. 2013, arXiv:1312.6120); in"
        " Transformers with normalisation mostly the scale matters.",
        expected="like fan-in scaling",
        prior_mean=-0.01,
        prior_sd=0.04,
        risk="medium",
        transform=orthogonal,
    ),
    Operator(
        name="zero_proj",
        family="init",
        title="Start the residual projections from zero",
        why="Every block starts as the identity: record 5 of modded-nanogpt (muP-like), nanochat;"
        " with untuned learning rates the first steps are slower.",
        expected="about neutral alone, good with higher learning rates",
        prior_mean=-0.005,
        prior_sd=0.02,
        risk="low",
        transform=zero_proj,
    ),
    Operator(
        name="unscaled_proj",
        family="init",
        title="Start the residual projections at the common scale",
        why="GPT-2 divides their deviation by sqrt(2 layers) (Radford et al. 2019, section 2.3)"
        " so that the stream does not grow; shallow models hardly need it.",
        expected="neutral in shallow models; a control",
        prior_mean=0.004,
        prior_sd=0.012,
        risk="low",
        transform=unscaled_proj,
    ),
    Operator(
        name="embed_init_1",
        family="init",
        title="Draw initial embeddings with deviation 1",
        why="nanochat draws embeddings with deviation 1 (muP's rule for inputs, Yang et al."
        " 2022); only for an embedding that is not the head as well.",
        expected="better with an untied head, if the learning rate follows",
        prior_mean=-0.005,
        prior_sd=0.04,
        risk="medium",
        transform=embed_init,
    ),
)
