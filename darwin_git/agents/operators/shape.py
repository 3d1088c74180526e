"""Operators on the settings of model and batch: depth, width, heads, batch, dropout, biases."""

from .genome import Genome
from .operator import Operator, Transform
from .source import Edit, NotApplicable


def _batch(numerator: int, denominator: int) -> Transform:
    def transform(genome: Genome) -> list[Edit]:
        size, rest = divmod(genome.whole("batch_size") * numerator, denominator)
        if rest or not 1 <= size <= 4096:
            raise NotApplicable("the batch cannot be scaled so")
        return [genome.set("batch_size", size)]

    return transform


def _heads(numerator: int, denominator: int) -> Transform:
    def transform(genome: Genome) -> list[Edit]:
        heads, rest = divmod(genome.whole("n_head") * numerator, denominator)
        if rest or heads < 1 or not fits(genome.whole("n_embd"), heads):
            raise NotApplicable("the heads cannot be scaled so")
        return [genome.set("n_head", heads)]

    return transform


def fits(width: int, heads: int) -> bool:
    """Heads of an even size of at least 8: rotary encodings turn pairs of channels."""
    return width % (2 * heads) == 0 and width // heads >= 8


def _proportions(numerator: int, denominator: int) -> Transform:
    """Scale the depth and keep the blocks' parameters: depth times width squared."""

    def transform(genome: Genome) -> list[Edit]:
        old = genome.whole("n_layer")
        depth = max(1, old * numerator // denominator)
        heads = genome.whole("n_head")
        width = genome.whole("n_embd") * (old / depth) ** 0.5
        step = 2 * heads
        # Rounded down, so that computation does not grow.
        size = int(width // step) * step
        if depth > 96 or not fits(size, heads):
            raise NotApplicable("no such proportions")
        return [genome.set("n_layer", depth), genome.set("n_embd", size)]

    return transform


def _toggle(name: str, value: bool) -> Transform:
    return lambda genome: [genome.set(name, value)]


def dropout(genome: Genome) -> list[Edit]:
    return [genome.set("dropout", 0.2)]


OPERATORS = (
    Operator(
        name="half_batch",
        family="batch",
        title="Halve the batch",
        why="Below the critical batch size (McCandlish et al. 2018, arXiv:1812.06162) twice the"
        " steps at the same tokens learn more; record 21 of modded-nanogpt reduced its batch.",
        expected="better per token, slower per token on a GPU",
        prior_mean=-0.015,
        prior_sd=0.03,
        risk="low",
        transform=_batch(1, 2),
        repeatable=True,
    ),
    Operator(
        name="double_batch",
        family="batch",
        title="Double the batch",
        why="Half the steps at the same tokens: fewer updates cost more than less noise gains"
        " (McCandlish et al. 2018, arXiv:1812.06162), unless the batch is very small.",
        expected="worse per token; a control",
        prior_mean=0.03,
        prior_sd=0.03,
        risk="low",
        transform=_batch(2, 1),
        repeatable=True,
    ),
    Operator(
        name="half_heads",
        family="model",
        title="Halve the number of heads",
        why="nanochat uses few heads of 128 channels; the number hardly matters within a wide"
        " range (Kaplan et al. 2020, arXiv:2001.08361, figure 5).",
        expected="neutral",
        prior_mean=0.0,
        prior_sd=0.01,
        risk="low",
        transform=_heads(1, 2),
        repeatable=True,
    ),
    Operator(
        name="double_heads",
        family="model",
        title="Double the number of heads",
        why="More, smaller heads: neutral until their rank limits them (Bhojanapalli et al. 2020,"
        " arXiv:2002.07028).",
        expected="neutral",
        prior_mean=0.002,
        prior_sd=0.01,
        risk="low",
        transform=_heads(2, 1),
        repeatable=True,
    ),
    Operator(
        name="shallow_wide",
        family="model",
        title="Halve the depth, widen at equal parameters",
        why="Loss hardly depends on the proportions (Kaplan et al. 2020, arXiv:2001.08361, figure"
        " 5), and short runs train wide, shallow models faster.",
        expected="about neutral; better in very short runs",
        prior_mean=0.0,
        prior_sd=0.04,
        risk="medium",
        transform=_proportions(1, 2),
        repeatable=True,
    ),
    Operator(
        name="deep_thin",
        family="model",
        title="Double the depth, narrow at equal parameters",
        why="Deep and thin pays off for small models trained long (MobileLLM, Liu et al. 2024,"
        " arXiv:2402.14905); short runs train depth slowly.",
        expected="worse in short runs, and slower",
        prior_mean=0.02,
        prior_sd=0.03,
        risk="medium",
        transform=_proportions(2, 1),
        repeatable=True,
    ),
    Operator(
        name="dropout_0.2",
        family="regularisation",
        title="Drop a fifth of the activations",
        why="Dropout (Srivastava et al. 2014) helps when data is repeated many times; below one"
        " epoch it only costs (Liu et al. 2025, arXiv:2505.24788).",
        expected="worse in short runs; a control",
        prior_mean=0.06,
        prior_sd=0.04,
        risk="low",
        transform=dropout,
    ),
    Operator(
        name="bias_on",
        family="model",
        title="Give linear layers and normalisation a bias",
        why="GPT-2 has biases; PaLM and LLaMA left them out without loss (Chowdhery et al. 2022,"
        " section 2).",
        expected="neutral",
        prior_mean=0.003,
        prior_sd=0.006,
        risk="low",
        transform=_toggle("bias", True),
    ),
    Operator(
        name="bias_off",
        family="model",
        title="Remove the biases",
        why="Without biases training is as good and more stable (PaLM, Chowdhery et al. 2022,"
        " section 2); nanoGPT's comment: a bit better and faster.",
        expected="neutral, slightly faster",
        prior_mean=-0.003,
        prior_sd=0.006,
        risk="low",
        transform=_toggle("bias", False),
    ),
)
