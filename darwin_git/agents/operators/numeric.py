"""Operators made for a genome: each scales one numeric setting that is in effect."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from darwin_git.domain.families import Family

from .genome import Genome, GenomeView, literal
from .operator import Operator
from .source import Edit, NotApplicable

FACTORS = (0.37, 0.5, 0.67, 1.5, 2.0, 2.7)


@dataclass(frozen=True)
class Range:
    """What a setting may become, and how much a change of it is expected to matter in nats."""

    family: Family
    low: float
    high: float
    sd: float = 0.02
    source: str = ""


RANGES: dict[str, Range] = {
    "learning_rate": Range(
        "schedule", 1e-5, 0.1, 0.05, "The best rate falls with size (Kaplan et al. 2020, D.6)."
    ),
    "min_lr": Range(
        "schedule", 0.0, 0.1, 0.01, "The last rate decides what noise stays (Bergsma et al. 2025)."
    ),
    "weight_decay": Range(
        "regularisation",
        1e-4,
        2.0,
        0.01,
        "Decay sets the effective rate of long runs (Andriushchenko et al. 2023).",
    ),
    "beta1": Range(
        "optimizer", 0.5, 0.99, 0.01, "Less momentum follows the schedule more closely."
    ),
    "beta2": Range(
        "optimizer", 0.8, 0.9999, 0.01, "Small batches want longer averages (Marek et al. 2025)."
    ),
    "grad_clip": Range("optimizer", 0.05, 20.0, 0.01, "Clipping tames rare gradients."),
    "warmup_iters": Range(
        "schedule", 1, 1e5, 0.01, "A longer warm-up allows higher rates (Wortsman et al. 2023)."
    ),
    "lr_decay_iters": Range(
        "schedule", 10, 1e8, 0.03, "A decay that ends with the run is best (Hoffmann et al. 2022)."
    ),
    "batch_size": Range(
        "batch", 1, 4096, 0.03, "More steps or less noise (McCandlish et al. 2018)."
    ),
    "gradient_accumulation_steps": Range(
        "batch", 1, 512, 0.03, "More steps or less noise (McCandlish et al. 2018)."
    ),
    "n_layer": Range(
        "model", 1, 96, 0.03, "Depth against steps at equal computation (Kaplan et al. 2020)."
    ),
    "n_head": Range(
        "model", 1, 96, 0.01, "The number of heads matters little (Kaplan et al. 2020)."
    ),
    "n_embd": Range(
        "model", 16, 8192, 0.03, "Width against steps at equal computation (Kaplan et al. 2020)."
    ),
    "block_size": Range("model", 8, 65536, 0.03, "Longer contexts predict more, at more work."),
    "dropout": Range("regularisation", 0.01, 0.5, 0.02, "Short runs want none."),
}

# Not the training's: output, logging and evaluation, in any dialect.
IGNORED = ("eval_", "log_", "wandb_", "seed", "save_", "num_workers", "max_iters")


def numeric(view: GenomeView, frozen_keys: Iterable[str] = ()) -> list[Operator]:
    """An operator for each numeric setting in effect and each factor that keeps it in bounds."""
    genome = Genome(replace(view, frozen=view.frozen | frozenset(frozen_keys)))
    try:
        settings = genome.settings
    except NotApplicable:
        return []
    found = []
    for name, setting in sorted(settings.items()):
        value = setting.value
        if isinstance(value, bool) or not value or not name.islower() or name.startswith(IGNORED):
            continue
        if not all(part.isalnum() and part.isascii() for part in name.split("_")):
            continue
        targets = {scaled(name, value, factor): factor for factor in reversed(FACTORS)}
        for target, factor in sorted(targets.items()):
            if target != value and allowed(genome, name, target):
                found.append(_operator(name, value, target, factor))
    return found


def scaled(name: str, value: int | float, factor: float) -> int | float:
    """The value times the factor, in the setting's own sense and type."""
    if name in ("beta1", "beta2"):
        # What counts is the length of the average, 1 / (1 - beta).
        return float(f"{1 - (1 - value) / factor:.4g}")
    if name == "n_embd":
        # Down to a multiple of 8, so that heads go on dividing it.
        return max(8, int(value * factor) // 8 * 8)
    if isinstance(value, int):
        return round(value * factor)
    return float(f"{value * factor:.4g}")


def allowed(genome: Genome, name: str, value: int | float) -> bool:
    """Whether the setting may take the value beside the others in effect."""
    known = RANGES.get(name)
    if known and not known.low <= value <= known.high:
        return False
    others = {key: setting.value for key, setting in genome.settings.items()}
    old, others[name] = others[name], value
    # Scored windows have the baseline's length.
    if name == "block_size" and value < old:
        return False
    return all(rule(others) for rule in _RULES)


Settings = dict[str, bool | int | float]


def _heads_divide(settings: Settings) -> bool:
    """Heads of equal and even size: rotary encodings turn pairs of channels."""
    width, heads = settings.get("n_embd"), settings.get("n_head")
    if width is None or heads is None:
        return True
    return heads >= 1 and width % (2 * heads) == 0


def _ordered(smaller: str, larger: str, strict: bool) -> Callable[[Settings], bool]:
    def rule(settings: Settings) -> bool:
        if smaller not in settings or larger not in settings:
            return True
        low, high = settings[smaller], settings[larger]
        return low < high if strict else low <= high

    return rule


_RULES: tuple[Callable[[Settings], bool], ...] = (
    _heads_divide,
    _ordered("warmup_iters", "lr_decay_iters", strict=True),
    _ordered("min_lr", "learning_rate", strict=False),
)


def _operator(name: str, old: int | float, new: int | float, factor: float) -> Operator:
    known = RANGES.get(name, Range("optimizer", 0, 0, 0.015, "Nothing is known about it here."))
    verb = "Raise" if new > old else "Lower"

    def transform(genome: Genome) -> list[Edit]:
        if genome.number(name) != old or not allowed(genome, name, new):
            raise NotApplicable(f"{name} is no longer {old}")
        return [genome.set(name, new)]

    return Operator(
        name=f"{name}-x{factor:g}",
        family=known.family,
        title=f"{verb} {name} from {literal(old)} to {literal(new)}",
        why=f"{known.source} Whether {literal(old)} is best here is not known, so a neighbour at"
        f" {literal(new)} is tried.",
        expected="unknown in sign; small",
        # Larger steps go further wrong: a quadratic around a setting that somebody chose.
        prior_mean=0.2 * known.sd,
        prior_sd=known.sd,
        risk="medium" if max(factor, 1 / factor) > 2 else "low",
        transform=transform,
        kind="numeric",
    )
