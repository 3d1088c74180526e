"""Operators on the optimizer's settings: averages, decay, clipping."""

from .operator import Operator, Transform


def _setting(name: str, value: float) -> Transform:
    return lambda genome: [genome.set(name, value)]


OPERATORS = (
    Operator(
        name="beta2_0.95",
        family="optimizer",
        title="Set Adam's beta2 to 0.95",
        why="0.95 is usual for large batches (Brown et al. 2020, appendix B); small batches want"
        " longer averages (nanoGPT's own configurations).",
        expected="slightly worse with small batches",
        prior_mean=0.005,
        prior_sd=0.012,
        risk="low",
        transform=_setting("beta2", 0.95),
    ),
    Operator(
        name="beta2_0.99",
        family="optimizer",
        title="Set Adam's beta2 to 0.99",
        why="With few tokens per step the second moment needs a longer average (nanoGPT's"
        " configuration for characters; Marek et al. 2025, arXiv:2507.07101).",
        expected="slightly better with small batches",
        prior_mean=-0.004,
        prior_sd=0.012,
        risk="low",
        transform=_setting("beta2", 0.99),
    ),
    Operator(
        name="beta2_0.999",
        family="optimizer",
        title="Set Adam's beta2 to 0.999",
        why="Keeping the half-life in tokens asks for larger beta2 at small batches (Marek et al."
        " 2025, arXiv:2507.07101); early steps adapt more slowly.",
        expected="about neutral",
        prior_mean=0.0,
        prior_sd=0.015,
        risk="low",
        transform=_setting("beta2", 0.999),
    ),
    Operator(
        name="wd_0",
        family="regularisation",
        title="Train without weight decay",
        why="Below one epoch decay acts through the effective learning rate (Andriushchenko et"
        " al. 2023, arXiv:2310.04415), for which short runs are too short.",
        expected="neutral in short runs",
        prior_mean=0.002,
        prior_sd=0.01,
        risk="low",
        transform=_setting("weight_decay", 0.0),
    ),
    Operator(
        name="no_grad_clip",
        family="optimizer",
        title="Do not clip gradients",
        why="nanochat's log (2026-01-08) saw no effect and 2 % more speed; clipping protects high"
        " learning rates (Pascanu et al. 2013).",
        expected="neutral, risky at high rates",
        prior_mean=0.004,
        prior_sd=0.015,
        risk="medium",
        transform=_setting("grad_clip", 0.0),
    ),
    Operator(
        name="grad_clip_0.5",
        family="optimizer",
        title="Clip gradients at 0.5",
        why="A tighter clip steadies noisy small batches (Pascanu et al. 2013); Adam rescales"
        " most of it away.",
        expected="neutral",
        prior_mean=0.0,
        prior_sd=0.01,
        risk="low",
        transform=_setting("grad_clip", 0.5),
    ),
)
