"""Operators on the learning rate's course: its shape in get_lr, its settings."""

import libcst as cst

from .genome import Genome
from .operator import Operator, Transform
from .source import Edit, NotApplicable, Source, dotted, only, walk


def _coefficient(source: Source) -> tuple[cst.BaseExpression, str]:
    """The factor that goes from 1 to 0 in get_lr, and the name of the progress from 0 to 1.

    It is what multiplies (learning_rate - min_lr), or what the name there was assigned.
    """
    function = source.definition("get_lr")
    product = only(
        [
            n
            for n in walk(function)
            if isinstance(n, cst.BinaryOperation)
            and isinstance(n.operator, cst.Multiply)
            and (_is_range(n.left) or _is_range(n.right))
        ],
        "product with learning_rate - min_lr",
    )
    factor = product.left if _is_range(product.right) else product.right
    if isinstance(factor, cst.Name):
        factor = source.assignment(function, factor.value).value
    bound = {n.value for n in walk(factor) if isinstance(n, cst.Name)}
    progress = [name for name in sorted(bound) if source.assignments(function, name)]
    return factor, only(progress, "progress of the decay")


def _is_range(node: cst.CSTNode) -> bool:
    return (
        isinstance(node, cst.BinaryOperation)
        and isinstance(node.operator, cst.Subtract)
        and dotted(node.left) == "learning_rate"
        and dotted(node.right) == "min_lr"
    )


def _shape(pattern: str, comment: str) -> Transform:
    """Another course of the factor; {t} is the progress from 0 to 1 after the warm-up."""

    def transform(genome: Genome) -> list[Edit]:
        source = genome.train
        factor, progress = _coefficient(source)
        code = pattern.replace("{t}", progress)
        if source.code(factor) == code:
            raise NotApplicable("the course is this one already")
        parent = source.parent(factor)
        if isinstance(parent, cst.Assign):
            line = source.alone(factor)
            return [*source.recomment(line, comment), source.replace(factor, code)]
        # Parentheses that stand there stay there.
        inside = isinstance(parent, cst.BinaryOperation) and not factor.lpar
        return [source.replace(factor, f"({code})" if inside else code)]

    return transform


LINEAR = _shape("1.0 - {t}", "A straight line, from 1 to 0.")
WSD_40 = _shape("min(1.0, (1.0 - {t}) / 0.4)", "1, then a straight line to 0 over the last 40 %.")
WSD_20 = _shape("min(1.0, (1.0 - {t}) / 0.2)", "1, then a straight line to 0 over the last 20 %.")
WSD_SQRT = _shape(
    "1.0 - max(0.0, ({t} - 0.6) / 0.4) ** 0.5", "1, then steeply towards 0 over the last 40 %."
)
ONE_MINUS_SQRT = _shape("1.0 - {t} ** 0.5", "Steep first, from 1 to 0.")


def linear_to_zero(genome: Genome) -> list[Edit]:
    return [
        *LINEAR(genome),
        genome.set("min_lr", 0.0),
    ]


def min_lr_0(genome: Genome) -> list[Edit]:
    return [genome.set("min_lr", 0.0)]


def no_warmup(genome: Genome) -> list[Edit]:
    return [genome.set("warmup_iters", 0)]


def longer_warmup(genome: Genome) -> list[Edit]:
    warmup = genome.whole("warmup_iters")
    decay = genome.settings.get("lr_decay_iters")
    longer = max(3 * warmup, 10)
    if decay is not None and longer >= decay.value:
        raise NotApplicable("the warm-up would not end")
    return [genome.set("warmup_iters", longer)]


def constant_lr(genome: Genome) -> list[Edit]:
    return [genome.set("decay_lr", False)]


def _rate(factor: float, limit: float) -> Transform:
    def transform(genome: Genome) -> list[Edit]:
        rate = genome.number("learning_rate")
        if not 1e-5 <= rate * factor <= limit:
            raise NotApplicable("the learning rate leaves its bounds")
        return [genome.set("learning_rate", rate * factor)]

    return transform


OPERATORS = (
    Operator(
        name="wsd",
        family="schedule",
        title="Hold the learning rate, cool down over the last 40 %",
        why="Warm-up, stable, decay (Hu et al. 2024, MiniCPM; Haegele et al. 2024,"
        " arXiv:2405.18392) is as good as cosine and learns longer at full rate;"
        " modded-nanogpt and nanochat use such a trapezoid.",
        expected="slightly better in short runs",
        prior_mean=-0.015,
        prior_sd=0.02,
        risk="low",
        transform=WSD_40,
    ),
    Operator(
        name="wsd_20",
        family="schedule",
        title="Hold the learning rate, cool down over the last 20 %",
        why="A cool-down of 20 % reaches most of the gain (Haegele et al. 2024, arXiv:2405.18392,"
        " figure 5), and keeps the full rate for longer.",
        expected="like wsd, a little riskier",
        prior_mean=-0.01,
        prior_sd=0.025,
        risk="low",
        transform=WSD_20,
    ),
    Operator(
        name="wsd_sqrt",
        family="schedule",
        title="Cool down over the last 40 % by 1 - sqrt",
        why="Of the shapes of a cool-down, 1 - sqrt was best (Haegele et al. 2024,"
        " arXiv:2405.18392, section 3).",
        expected="slightly better than the linear cool-down",
        prior_mean=-0.015,
        prior_sd=0.02,
        risk="low",
        transform=WSD_SQRT,
    ),
    Operator(
        name="one_minus_sqrt",
        family="schedule",
        title="Lower the learning rate by 1 - sqrt from the start",
        why="1 - sqrt is a good cool-down (Haegele et al. 2024), but over the whole run it spends"
        " little time at high rates.",
        expected="worse; a control",
        prior_mean=0.015,
        prior_sd=0.02,
        risk="low",
        transform=ONE_MINUS_SQRT,
    ),
    Operator(
        name="linear_decay",
        family="schedule",
        title="Lower the learning rate linearly",
        why="Linear decay matches or beats cosine in theory and in trials (Defazio et al. 2023,"
        " arXiv:2310.07831); modded-nanogpt decays linearly since record 3.",
        expected="about neutral",
        prior_mean=-0.003,
        prior_sd=0.01,
        risk="low",
        transform=LINEAR,
    ),
    Operator(
        name="linear_to_zero",
        family="schedule",
        title="Lower the learning rate linearly to zero",
        why="Straight to zero (Bergsma et al. 2025, arXiv:2502.15938) beats 10 % cosine where"
        " training is long for its model; short runs lose little either way.",
        expected="slightly better, less so in short runs",
        prior_mean=-0.008,
        prior_sd=0.012,
        risk="low",
        transform=linear_to_zero,
    ),
    Operator(
        name="min_lr_0",
        family="schedule",
        title="Let the learning rate end at zero",
        why="A tenth of the peak at the end leaves noise in the weights (Bergsma et al. 2025,"
        " arXiv:2502.15938).",
        expected="slightly better",
        prior_mean=-0.006,
        prior_sd=0.01,
        risk="low",
        transform=min_lr_0,
    ),
    Operator(
        name="no_warmup",
        family="schedule",
        title="Start at the full learning rate",
        why="Warm-up protects Adam's first steps (Liu et al. 2019, arXiv:1908.03265); with Muon"
        " and normalised queries modded-nanogpt does without it.",
        expected="about neutral, risky at high rates",
        prior_mean=0.005,
        prior_sd=0.015,
        risk="medium",
        transform=no_warmup,
    ),
    Operator(
        name="longer_warmup",
        family="schedule",
        title="Warm up three times as long",
        why="A longer warm-up allows a higher peak (Wortsman et al. 2023, arXiv:2309.14322) and"
        " costs steps at low rates.",
        expected="slightly worse alone",
        prior_mean=0.006,
        prior_sd=0.012,
        risk="low",
        transform=longer_warmup,
        repeatable=True,
    ),
    Operator(
        name="constant_lr",
        family="schedule",
        title="Keep the learning rate constant",
        why="Without a decay the weights keep the noise of the last steps (Haegele et al. 2024,"
        " arXiv:2405.18392: averaging is needed to make up for it).",
        expected="worse at the end; a control",
        prior_mean=0.02,
        prior_sd=0.03,
        risk="medium",
        transform=constant_lr,
    ),
    Operator(
        name="lr_x2.5",
        family="schedule",
        title="Raise the learning rate 2.5 times",
        why="Small models stand much higher rates than the usual defaults: the best rate falls"
        " with size (Kaplan et al. 2020, arXiv:2001.08361, appendix D.6).",
        expected="better where the default is cautious, else divergence",
        prior_mean=-0.01,
        prior_sd=0.06,
        risk="high",
        transform=_rate(2.5, 0.1),
        repeatable=True,
    ),
    Operator(
        name="lr_x0.3",
        family="schedule",
        title="Lower the learning rate to three tenths",
        why="A check that the rate is not too high; short runs with low rates end under-trained"
        " (Kaplan et al. 2020, appendix D.6).",
        expected="worse in short runs",
        prior_mean=0.03,
        prior_sd=0.05,
        risk="low",
        transform=_rate(0.3, 0.1),
        repeatable=True,
    ),
)
