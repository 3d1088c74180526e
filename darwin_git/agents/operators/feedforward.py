"""Operators on the MLP: its activation and its width."""

import libcst as cst

from .anchors import Module, module
from .genome import Genome
from .operator import Operator, Transform
from .source import Edit, NotApplicable, dotted, only, walk


def _activation(genome: Genome) -> tuple[Module, cst.Call, list[Edit]]:
    """MLP, the call of its activation, and the removal of the module where GELU is one."""
    parts = module(genome, "MLP")
    source = parts.source
    functional = source.calls(parts.forward, "F.gelu") + source.calls(
        parts.forward, "functional.gelu"
    )
    if functional:
        return parts, only(functional, "call of gelu"), []
    made = source.parent(source.call(parts.init, "GELU"))
    if not isinstance(made, cst.Assign):
        raise NotApplicable("the activation is not an attribute")
    call = source.call(parts.forward, dotted(made.targets[0].target))
    return parts, call, source.delete(source.alone(made))


def _activate(pattern: str) -> Transform:
    """Write the activation as a function of its argument, in place of the module."""

    def transform(genome: Genome) -> list[Edit]:
        parts, call, removal = _activation(genome)
        argument = call.args[0] if call.args else call
        return [
            *removal,
            parts.source.replace(call, pattern.replace("{}", parts.source.code(argument))),
        ]

    return transform


def _gated(pattern: str) -> Transform:
    """Two projections of 8/3 the width, one gates the other: as many parameters as before."""

    def transform(genome: Genome) -> list[Edit]:
        parts, call, removal = _activation(genome)
        source, size = parts.source, f"{parts.config}.n_embd"
        line = source.alone(call)
        statement = source.parent(call)
        if not isinstance(statement, cst.Assign) or not call.args:
            raise NotApplicable("the activation is not assigned")
        target = source.code(statement.targets[0].target)
        argument = source.code(call.args[0])
        wide, narrow = _widths(parts)
        return [
            *removal,
            source.replace(wide, f"2 * (8 * {size} // 3)"),
            source.replace(narrow, f"8 * {size} // 3"),
            source.replace_line(
                line,
                f"""
                # One half decides how much of the other passes.
                gate, {target} = {argument}.chunk(2, dim=-1)
                {target} = {pattern.replace("{}", "gate")} * {target}
                """,
            ),
        ]

    return transform


def _widths(parts: Module) -> tuple[cst.BinaryOperation, cst.BinaryOperation]:
    """The two `4 * config.n_embd` of MLP.__init__: c_fc's output, c_proj's input."""
    found = [
        n
        for n in walk(parts.init)
        if isinstance(n, cst.BinaryOperation)
        and isinstance(n.operator, cst.Multiply)
        and isinstance(n.left, cst.Integer)
        and n.left.value == "4"
        and dotted(n.right) == f"{parts.config}.n_embd"
    ]
    if len(found) != 2:
        raise NotApplicable("the hidden width is not 4 * n_embd twice")
    return found[0], found[1]


def _ratio(ratio: int) -> Transform:
    def transform(genome: Genome) -> list[Edit]:
        parts = module(genome, "MLP")
        return [
            parts.source.replace(width, f"{ratio} * {parts.config}.n_embd")
            for width in _widths(parts)
        ]

    return transform


OPERATORS = (
    Operator(
        name="relu2",
        family="model",
        title="Square a ReLU instead of using GELU",
        why="Squared ReLU was the larger part of Primer's gain (So et al. 2021,"
        " arXiv:2109.08668); in modded-nanogpt since record 5; nanochat keeps it over SwiGLU.",
        expected="slightly better and cheaper",
        prior_mean=-0.01,
        prior_sd=0.015,
        risk="low",
        transform=_activate("F.relu({}).square()"),
    ),
    Operator(
        name="leaky_relu2",
        family="model",
        title="Square a leaky ReLU instead of using GELU",
        why="A leak of 0.5 keeps a gradient for negative inputs: better per step in"
        " modded-nanogpt's later experiments, lost again in time there.",
        expected="slightly better per step",
        prior_mean=-0.01,
        prior_sd=0.02,
        risk="low",
        transform=_activate("F.leaky_relu({}, 0.5).square()"),
    ),
    Operator(
        name="silu",
        family="model",
        title="Use SiLU instead of GELU",
        why="SiLU and GELU perform alike in Transformers without gates (Shazeer 2020,"
        " arXiv:2002.05202; Narang et al. 2021).",
        expected="neutral",
        prior_mean=0.002,
        prior_sd=0.01,
        risk="low",
        transform=_activate("F.silu({})"),
    ),
    Operator(
        name="swiglu",
        family="model",
        title="Gate the MLP with SiLU at equal parameters",
        why="SwiGLU beats GELU at equal parameters (Shazeer 2020, arXiv:2002.05202), but with"
        " weights of standard deviation 0.02 the product starts tiny, and nanochat found it"
        " worse than squared ReLU.",
        expected="better only with a larger initialisation",
        prior_mean=-0.003,
        prior_sd=0.03,
        risk="medium",
        transform=_gated("F.silu({})"),
    ),
    Operator(
        name="geglu",
        family="model",
        title="Gate the MLP with GELU at equal parameters",
        why="GEGLU beats GELU at equal parameters (Shazeer 2020, arXiv:2002.05202; Narang et al."
        " 2021, arXiv:2102.11972), with SwiGLU's trouble at small initial weights.",
        expected="better only with a larger initialisation",
        prior_mean=-0.003,
        prior_sd=0.03,
        risk="medium",
        transform=_gated("F.gelu({})"),
    ),
    Operator(
        name="mlp_ratio_3",
        family="model",
        title="Narrow the MLP to three times the embedding",
        why="The ratio hardly matters between 2 and 6 (Kaplan et al. 2020, arXiv:2001.08361,"
        " figure 5); a narrower MLP leaves more steps for equal computation.",
        expected="slightly worse per step, faster",
        prior_mean=0.01,
        prior_sd=0.012,
        risk="low",
        transform=_ratio(3),
    ),
    Operator(
        name="mlp_ratio_6",
        family="model",
        title="Widen the MLP to six times the embedding",
        why="The ratio hardly matters between 2 and 6 (Kaplan et al. 2020, arXiv:2001.08361,"
        " figure 5); a wider MLP adds capacity, and computation with it.",
        expected="slightly better per step, slower",
        prior_mean=-0.008,
        prior_sd=0.015,
        risk="low",
        transform=_ratio(6),
    ),
)
