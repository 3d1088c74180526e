"""Operators on the output: the head, its logits, the training loss."""

import libcst as cst

from .anchors import Forward, forward, tie, wrap
from .genome import Genome
from .operator import Operator, Transform
from .source import Edit, NotApplicable, only


def untie_head(genome: Genome) -> list[Edit]:
    gpt = forward(genome)
    return gpt.source.delete(gpt.source.alone(tie(gpt)))


def untie_zero_head(genome: Genome) -> list[Edit]:
    gpt = forward(genome)
    drawn = gpt.source.line(gpt.source.call(gpt.init, "self.apply"))
    return [
        *untie_head(genome),
        gpt.source.insert_after(
            drawn,
            """
            # All tokens are equally likely at first.
            torch.nn.init.zeros_(self.lm_head.weight)
            """,
        ),
    ]


def head_bias(genome: Genome) -> list[Edit]:
    gpt = forward(genome)
    made = gpt.source.line(gpt.source.assignment(gpt.init, "self.lm_head"))
    return [
        gpt.source.insert_after(
            made,
            f"""
            # How frequent each token is, whatever came before.
            self.logit_bias = nn.Parameter(torch.zeros({gpt.config}.vocab_size))
            """,
        ),
        *(wrap(gpt.source, call, "{} + self.logit_bias") for call in gpt.logits()),
    ]


def _softcap(limit: float) -> Transform:
    def transform(genome: Genome) -> list[Edit]:
        gpt = forward(genome)
        pattern = f"{limit} * torch.tanh({{}} / {limit})"
        return [wrap(gpt.source, call, pattern) for call in gpt.logits()]

    return transform


def label_smooth(genome: Genome) -> list[Edit]:
    gpt = forward(genome)
    source, call = gpt.source, gpt.loss()
    if any(a.keyword and a.keyword.value == "label_smoothing" for a in call.args):
        raise NotApplicable("labels are smoothed already")
    # A comma may stand behind the last argument: the new one goes before it.
    last = call.args[-1].value
    return [
        source.insert_before(
            source.alone(call),
            """
            # What is evaluated stays the plain loss.
            smoothing = 0.1 if self.training else 0.0
            """,
        ),
        source.replace(last, f"{source.code(last)}, label_smoothing=smoothing"),
    ]


def z_loss(genome: Genome) -> list[Edit]:
    gpt = forward(genome)
    source, call = gpt.source, gpt.loss()
    loss = _target(gpt, call)
    names = {_target(gpt, logits) for logits in gpt.logits()}
    name = only(sorted(names), "name of the logits")
    return [
        source.insert_after(
            source.alone(call),
            f"""
            if self.training:
                # Keep the partition function near 1; what is evaluated stays the plain loss.
                {loss} = {loss} + 1e-4 * torch.logsumexp({name}, dim=-1).square().mean()
            """,
        )
    ]


def _target(gpt: Forward, call: cst.Call) -> str:
    """The name that the call's value is given."""
    assign = gpt.source.parent(call)
    if not isinstance(assign, cst.Assign) or len(assign.targets) != 1:
        raise NotApplicable("the value has no name")
    return gpt.source.code(assign.targets[0].target)


OPERATORS = (
    Operator(
        name="untie_head",
        family="model",
        title="Untie the head from the embedding",
        why="Embedding and head want different scales and learning rates: record 8 of"
        " modded-nanogpt (12.0 to 10.8 min) unties them. More parameters, no more computation.",
        expected="slightly better, more so with a small vocabulary",
        prior_mean=-0.015,
        prior_sd=0.02,
        risk="low",
        transform=untie_head,
    ),
    Operator(
        name="untie_zero_head",
        family="model",
        title="Untie the head and start it from zero",
        why="modded-nanogpt and nanochat start an untied head from zero, so that the first loss"
        " is that of the uniform guess; very short runs lose steps by it.",
        expected="better in long runs, a slow start in short ones",
        prior_mean=-0.008,
        prior_sd=0.03,
        risk="medium",
        transform=untie_zero_head,
    ),
    Operator(
        name="head_bias",
        family="model",
        title="Add a bias for each token to the logits",
        why="A bias learns how frequent each token is within a few steps, which the weights then"
        " need not express; its initialisation matters for early loss (Karpathy 2019, A recipe"
        " for training neural networks).",
        expected="a faster start, about neutral at the end",
        prior_mean=-0.003,
        prior_sd=0.012,
        risk="low",
        transform=head_bias,
    ),
    Operator(
        name="softcap15",
        family="model",
        title="Cap the logits softly at 15",
        why="15 * tanh(x / 15) on the logits (Gemma 2; records 9 and 18 of modded-nanogpt);"
        " nanochat found 15 to 20 best and 5 terrible.",
        expected="a small gain at most",
        prior_mean=-0.004,
        prior_sd=0.01,
        risk="low",
        transform=_softcap(15.0),
    ),
    Operator(
        name="softcap30",
        family="model",
        title="Cap the logits softly at 30",
        why="30 * tanh(x / 30) on the logits as in Gemma 2 and record 9 of modded-nanogpt; short"
        " runs hardly reach such logits.",
        expected="neutral in short runs",
        prior_mean=-0.002,
        prior_sd=0.008,
        risk="low",
        transform=_softcap(30.0),
    ),
    Operator(
        name="label_smooth",
        family="regularisation",
        title="Smooth the training labels by a tenth",
        why="Label smoothing (Szegedy et al. 2016) lowers confidence; the original Transformer"
        " gained translation quality and lost perplexity by it (Vaswani et al. 2017, section"
        " 5.4).",
        expected="worse cross-entropy by construction; a control",
        prior_mean=0.05,
        prior_sd=0.03,
        risk="low",
        transform=label_smooth,
    ),
    Operator(
        name="z_loss",
        family="regularisation",
        title="Hold the softmax normaliser near one in training",
        why="A penalty of 1e-4 log^2 Z steadies large runs (PaLM, Chowdhery et al. 2022, section"
        " 5); small ones rarely need it.",
        expected="neutral",
        prior_mean=0.0,
        prior_sd=0.008,
        risk="low",
        transform=z_loss,
    ),
)
