"""Where nanoGPT's code can be changed: its parts, found by what they do, not by how they look."""

from dataclasses import dataclass

import libcst as cst

from .genome import Genome
from .source import Edit, NotApplicable, Source, dotted, only, walk


@dataclass(frozen=True)
class Module:
    """A class with its constructor and its forward pass."""

    source: Source
    cls: cst.ClassDef
    init: cst.FunctionDef
    forward: cst.FunctionDef

    @property
    def config(self) -> str:
        """What the constructor calls its configuration."""
        return self.source.parameter(self.init, 1)

    @property
    def input(self) -> str:
        """What the forward pass calls its input."""
        return self.source.parameter(self.forward, 1)


def module(genome: Genome, name: str) -> Module:
    source = genome.model
    cls = source.class_(name)
    init = source.definition("__init__", cls)
    return Module(source, cls, init, source.definition("forward", cls))


@dataclass(frozen=True)
class Attention(Module):
    """Queries, keys and values are (B, heads, T, head size) where `core` begins."""

    query: str
    key: str
    value: str
    call: cst.Call
    core: cst.CSTNode

    def view(self, name: str) -> cst.CSTNode:
        """The last statement before the core that assigns the name: where it got its heads."""
        source = self.source
        bound = source.bindings(self.forward, name)
        found = [n for n in bound if source.comes_before(n, self.core)]
        if not found:
            raise NotApplicable(f"{name} is not assigned")
        return source.statement(found[-1], self.forward)

    def last_view(self, *names: str) -> cst.CSTNode:
        """The statement after which all of the names have got their heads."""
        return max((self.view(name) for name in names), key=lambda node: self.source.span(node)[0])

    def projection(self) -> cst.Call:
        """The call of c_attn on the layer's input, which is not reassigned before."""
        call = self.source.call(self.forward, "self.c_attn")
        if self.source.bindings(self.forward, self.input):
            raise NotApplicable("the input is reassigned")
        return call


def attention(genome: Genome) -> Attention:
    parts = module(genome, "CausalSelfAttention")
    source = parts.source
    call = source.call(parts.forward, "scaled_dot_product_attention")
    tensors = [argument.value for argument in call.args[:3] if argument.keyword is None]
    names = [tensor.value for tensor in tensors if isinstance(tensor, cst.Name)]
    if len(names) != 3:
        raise NotApplicable("attention is not called on three names")
    core = source.statement(call, parts.forward)
    query, key, value = names
    return Attention(source, parts.cls, parts.init, parts.forward, query, key, value, call, core)


@dataclass(frozen=True)
class Forward(Module):
    """GPT.forward: tokens are embedded, the blocks applied, then come normalisation and head."""

    hidden: str
    loop: cst.For
    block: cst.Call

    @property
    def tokens(self) -> str:
        return self.source.parameter(self.forward, 1)

    def embedded(self) -> cst.CSTNode:
        """The last statement before the loop that gives the hidden state its value."""
        source = self.source
        found = [
            n
            for n in source.assignments(self.forward, self.hidden)
            if source.comes_before(n, self.loop)
            and source.line(n) is source.statement(n, self.forward)
        ]
        if not found:
            raise NotApplicable("the hidden state is not assigned before the blocks")
        return source.alone(found[-1])

    def logits(self) -> list[cst.Call]:
        """The head's calls, each the whole value of an assignment."""
        calls = self.source.calls(self.forward, "self.lm_head")
        if not calls or not all(isinstance(self.source.parent(c), cst.Assign) for c in calls):
            raise NotApplicable("logits are not just the head's output")
        return calls

    def loss(self) -> cst.Call:
        return self.source.call(self.forward, "cross_entropy")


def forward(genome: Genome) -> Forward:
    parts = module(genome, "GPT")
    source = parts.source
    loop = only(
        [
            n
            for n in walk(parts.forward)
            if isinstance(n, cst.For)
            and isinstance(n.target, cst.Name)
            and source.code(n.iter).endswith("transformer.h")
        ],
        "loop over the blocks",
    )
    assert isinstance(loop.target, cst.Name)  # for the type checker: filtered above
    block = source.call(loop, loop.target.value)
    assign = source.parent(block)
    if not isinstance(assign, cst.Assign) or not isinstance(assign.targets[0].target, cst.Name):
        raise NotApplicable("the block's output is not assigned to a name")
    hidden = assign.targets[0].target.value
    if [source.code(argument) for argument in block.args[:1]] != [hidden]:
        raise NotApplicable("the block is not applied to the hidden state")
    source.alone(assign)
    return Forward(source, parts.cls, parts.init, parts.forward, hidden, loop, block)


def branches(genome: Genome) -> tuple[Module, cst.Call, cst.Call, str]:
    """Block.forward's residual branches: `x = x + self.attn(...)`, then `self.mlp(...)`."""
    parts = module(genome, "Block")
    calls = [parts.source.call(parts.forward, f"self.{name}") for name in ("attn", "mlp")]
    for call in calls:
        _check_residual(parts, call)
    return parts, calls[0], calls[1], parts.input


def _check_residual(parts: Module, call: cst.Call) -> None:
    """The call is exactly what is added to the residual stream, which keeps its name."""
    source = parts.source
    parent = source.parent(call)
    if isinstance(parent, cst.AugAssign):
        target = source.code(parent.target)
        added = isinstance(parent.operator, cst.AddAssign) and target == parts.input
    else:
        assign = source.parent(parent)
        added = (
            isinstance(parent, cst.BinaryOperation)
            and isinstance(parent.operator, cst.Add)
            and source.code(parent.left if parent.right is call else parent.right) == parts.input
            and isinstance(assign, cst.Assign)
            and [source.code(target.target) for target in assign.targets] == [parts.input]
        )
    if not added:
        raise NotApplicable("the branch is not simply added")
    source.alone(call)


def tie(gpt: Forward) -> cst.Assign:
    """The assignment that makes embedding and head one weight."""
    ends = {"self.transformer.wte.weight", "self.lm_head.weight"}
    found = [
        n
        for n in walk(gpt.init)
        if isinstance(n, cst.Assign)
        and len(n.targets) == 1
        and {dotted(n.targets[0].target), dotted(n.value)} == ends
    ]
    return only(found, "weight tying")


def wrap(source: Source, node: cst.CSTNode, pattern: str) -> Edit:
    """Put the expression into a pattern: `F.rms_norm({}, ...)`."""
    return source.replace(node, pattern.replace("{}", source.code(node)))
