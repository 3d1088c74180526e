"""Operators on the optimizer: GPT.configure_optimizers and its settings."""

from dataclasses import dataclass

import libcst as cst

from .genome import Genome
from .operator import Operator, Transform
from .source import Edit, NotApplicable, Source, dotted, only, walk


@dataclass(frozen=True)
class Construction:
    """`optimizer = torch.optim.AdamW(groups, ...)` ... `return optimizer`."""

    source: Source
    cls: cst.ClassDef
    function: cst.FunctionDef
    call: cst.Call
    optimizer: str
    groups: str

    def line(self) -> cst.CSTNode:
        return self.source.alone(self.call)

    def grouped(self) -> cst.CSTNode:
        """The last statement before the construction that works on the parameter groups."""
        source = self.source
        uses = [
            n
            for n in source.names(self.function, self.groups)
            if source.comes_before(n, self.call.func)
        ]
        if not uses:
            raise NotApplicable("the groups are not made here")
        return source.statement(uses[-1], self.function)

    def returned(self) -> cst.Return:
        found = [
            n
            for n in walk(self.function)
            if isinstance(n, cst.Return) and n.value and dotted(n.value) == self.optimizer
        ]
        return only(found, "return of the optimizer")

    def keyword(self, name: str, value: str) -> Edit:
        """One more argument, in front of the last one (which may be **extra)."""
        if any(a.keyword and a.keyword.value == name for a in self.call.args):
            raise NotApplicable(f"{name} is given already")
        first = self.call.args[0].value
        position = self.call.args[1]
        if position.keyword is None:
            raise NotApplicable("arguments by position follow the groups")
        return self.source.replace(first, f"{self.source.code(first)}, {name}={value}")


def construction(genome: Genome) -> Construction:
    source = genome.model
    cls = source.class_("GPT")
    function = source.definition("configure_optimizers", cls)
    call = source.call(function, "AdamW")
    assign = source.parent(call)
    if not isinstance(assign, cst.Assign) or len(call.args) < 2:
        raise NotApplicable("the optimizer is not assigned")
    groups, target = dotted(call.args[0].value), dotted(assign.targets[0].target)
    if not groups or not target or call.args[0].keyword:
        raise NotApplicable("the optimizer or its groups have no name")
    return Construction(source, cls, function, call, target, groups)


PAIR = '''
class OptimizerPair:
    """Two optimizers behind the interface of one: the training loop need not know."""

    def __init__(self, *optimizers):
        self.optimizers = optimizers

    @property
    def param_groups(self):
        return [group for optimizer in self.optimizers for group in optimizer.param_groups]

    def zero_grad(self, set_to_none=True):
        for optimizer in self.optimizers:
            optimizer.zero_grad(set_to_none=set_to_none)

    def step(self):
        for optimizer in self.optimizers:
            optimizer.step()

    def state_dict(self):
        return {"optimizers": [optimizer.state_dict() for optimizer in self.optimizers]}

    def load_state_dict(self, state):
        for optimizer, saved in zip(self.optimizers, state["optimizers"]):
            optimizer.load_state_dict(saved)
'''


def muon(genome: Genome) -> list[Edit]:
    at = construction(genome)
    source = at.source
    if source.names(source.module, "OptimizerPair"):
        raise NotApplicable("there are two optimizers already")
    arguments = [source.parameter(at.function, i) for i in (1, 2)]
    if arguments != ["weight_decay", "learning_rate"]:
        raise NotApplicable("configure_optimizers takes other parameters")
    return [
        source.define_before(at.cls, PAIR),
        source.insert_after(
            at.grouped(),
            f"""
            # The blocks' matrices go to Muon; embeddings, head, gains and biases stay with AdamW.
            matrices = [p for p in self.transformer.h.parameters() if p.dim() == 2]
            owned = {{id(p) for p in matrices}}
            for group in {at.groups}:
                group["params"] = [p for p in group["params"] if id(p) not in owned]
            """,
        ),
        source.replace_line(
            source.alone(at.returned()),
            f"""
            # Updates as large as AdamW's: the schedule's one learning rate fits both.
            muon = torch.optim.Muon(
                matrices,
                lr=learning_rate,
                weight_decay=weight_decay,
                adjust_lr_fn="match_rms_adamw",
            )
            return OptimizerPair({at.optimizer}, muon)
            """,
        ),
    ]


SCALED = '''
class ScaledAdamW(torch.optim.AdamW):
    """AdamW whose groups multiply the learning rate by their "lr_scale".

    The training loop writes the same rate into every group before each step.
    """

    def step(self, closure=None):
        rates = [group["lr"] for group in self.param_groups]
        for group in self.param_groups:
            group["lr"] = group["lr"] * group.get("lr_scale", 1.0)
        loss = super().step(closure)
        for group, rate in zip(self.param_groups, rates):
            group["lr"] = rate
        return loss
'''


def embed_lr(genome: Genome) -> list[Edit]:
    at = construction(genome)
    source = at.source
    separate = source.insert_before(
        at.line(),
        f"""
        # A row is seen rarely, so it may move further each time.
        table = self.transformer.wte.weight
        for group in {at.groups}:
            group["params"] = [p for p in group["params"] if p is not table]
        {at.groups}.append({{"params": [table], "weight_decay": weight_decay, "lr_scale": 5.0}})
        """,
    )
    if source.parameter(at.function, 1) != "weight_decay" or "lr_scale" in source.text.replace(
        "# A group may carry lr_scale", ""
    ):
        raise NotApplicable("rates are scaled already")
    if "lr_scale" in genome.train.text:
        return [separate]
    return [
        source.define_before(at.cls, SCALED),
        separate,
        source.replace(at.call.func, "ScaledAdamW"),
    ]


CAUTIOUS = '''
class CautiousAdamW(torch.optim.AdamW):
    """AdamW that decays a weight only where the step already moves it towards zero."""

    @torch.no_grad()
    def step(self, closure=None):
        decays = [group["weight_decay"] for group in self.param_groups]
        before = [[p.clone() for p in group["params"]] for group in self.param_groups]
        for group in self.param_groups:
            group["weight_decay"] = 0.0
        loss = super().step(closure)
        for group, olds, decay in zip(self.param_groups, before, decays):
            group["weight_decay"] = decay
            for p, old in zip(group["params"], olds):
                p.sub_(old * ((p - old) * old < 0), alpha=group["lr"] * decay)
        return loss
'''


def cautious_decay(genome: Genome) -> list[Edit]:
    at = construction(genome)
    source = at.source
    return [source.define_before(at.cls, CAUTIOUS), source.replace(at.call.func, "CautiousAdamW")]


def no_decay_embed(genome: Genome) -> list[Edit]:
    at = construction(genome)
    return [
        at.source.insert_before(
            at.line(),
            f"""
            # Decay would shrink the rows of rare tokens, which few gradients restore.
            tables = (self.transformer.wte, self.transformer.wpe, self.lm_head)
            kept = {{id(table.weight): table.weight for table in tables}}
            for group in {at.groups}:
                group["params"] = [p for p in group["params"] if id(p) not in kept]
            {at.groups}.append({{"params": list(kept.values()), "weight_decay": 0.0}})
            """,
        )
    ]


def _argument(name: str, value: str) -> Transform:
    return lambda genome: [construction(genome).keyword(name, value)]


def fused(genome: Genome) -> list[Edit]:
    source = genome.model
    function = source.definition("configure_optimizers", source.class_("GPT"))
    found = [
        n
        for n in walk(function)
        if isinstance(n, cst.BooleanOperation)
        and isinstance(n.operator, cst.And)
        and isinstance(n.right, cst.Comparison)
        and dotted(n.right.left) == "device_type"
    ]
    test = only(found, "test for a fused optimizer")
    return [source.replace(test, source.code(test.left))]


def nadam(genome: Genome) -> list[Edit]:
    at = construction(genome)
    # NAdam knows no `fused`, which may hide in a dictionary.
    kept = [
        at.source.code(a)
        for a in at.call.args
        if not a.star and not (a.keyword and a.keyword.value == "fused")
    ]
    arguments = ", ".join([*kept, "decoupled_weight_decay=True"])
    return [at.source.replace(at.call, f"torch.optim.NAdam({arguments})")]


OPERATORS = (
    Operator(
        name="muon",
        family="optimizer",
        title="Train the blocks' matrices with Muon",
        why="Muon orthogonalises the momentum of matrices (Jordan et al. 2024): records 3 and 4"
        " of modded-nanogpt (31.4 to 22.3 min). Scaled to AdamW's update size (Liu et al."
        " 2025, arXiv:2502.16982) the schedule's one learning rate fits.",
        expected="clearly better per token, slower per step on a CPU",
        prior_mean=-0.055,
        prior_sd=0.035,
        risk="medium",
        transform=muon,
    ),
    Operator(
        name="embed_lr_x5",
        family="optimizer",
        title="Train the embeddings at five times the rate",
        why="Each row of an embedding is seen rarely and stands larger steps: nanochat's rates"
        " are 0.2 against 0.02 for matrices; muP (Yang et al. 2022) says the same of inputs.",
        expected="slightly better; risky where the head is tied",
        prior_mean=-0.01,
        prior_sd=0.025,
        risk="medium",
        transform=embed_lr,
    ),
    Operator(
        name="cautious_decay",
        family="optimizer",
        title="Decay weights only where the step agrees",
        why="Cautious weight decay (Chen et al. 2025, arXiv:2510.12402) leaves weights alone that"
        " the gradient enlarges; nanochat's log calls it solid.",
        expected="a small gain, some time per step",
        prior_mean=-0.004,
        prior_sd=0.01,
        risk="low",
        transform=cautious_decay,
    ),
    Operator(
        name="no_decay_embed",
        family="optimizer",
        title="Do not decay embeddings and head",
        why="Decay shrinks the rows of rare tokens, which few gradients restore; nanochat decays"
        " matrices only.",
        expected="neutral in short runs",
        prior_mean=-0.001,
        prior_sd=0.008,
        risk="low",
        transform=no_decay_embed,
    ),
    Operator(
        name="adam_eps",
        family="optimizer",
        title="Lower Adam's epsilon to 1e-10",
        why="With tiny gradients 1e-8 damps the steps (Wortsman et al. 2023, arXiv:2309.14322);"
        " record 20 of modded-nanogpt lowered it.",
        expected="neutral in small models",
        prior_mean=-0.001,
        prior_sd=0.005,
        risk="low",
        transform=_argument("eps", "1e-10"),
    ),
    Operator(
        name="amsgrad",
        family="optimizer",
        title="Keep the largest second moment (AMSGrad)",
        why="AMSGrad (Reddi et al. 2018) repairs a proof; in language models it is no better than"
        " Adam and steps become smaller.",
        expected="neutral or worse; a control",
        prior_mean=0.005,
        prior_sd=0.012,
        risk="low",
        transform=_argument("amsgrad", "True"),
    ),
    Operator(
        name="nadam",
        family="optimizer",
        title="Use Nesterov momentum in Adam",
        why="NAdam (Dozat 2016) looks one step ahead; careful comparisons find Adam's variants"
        " close together (Schmidt et al. 2021, arXiv:2007.01547).",
        expected="slightly better in short runs",
        prior_mean=-0.004,
        prior_sd=0.012,
        risk="low",
        transform=nadam,
    ),
    Operator(
        name="fused_adamw",
        family="compute",
        title="Use the fused AdamW on every device",
        why="One kernel for all parameters saves time; the result is the same up to rounding.",
        expected="no change of the loss, a little faster",
        prior_mean=0.0,
        prior_sd=0.002,
        risk="low",
        transform=fused,
    ),
)
