"""What a tree costs, and how many tokens it may train on: equal tokens must not buy compute."""

from darwin_git.domain.measurement import Measurement
from darwin_git.domain.trial import Allowance


class OverBudget(Exception):
    """The tree is refused; the message says by which limit."""


def allowance(
    measurement: Measurement,
    reference: Allowance | None,
    *,
    parameters: int,
    flops_per_token: float,
    token_seconds: float,
    block_size: int,
) -> Allowance:
    """Grant tokens; `reference` is the baseline's allowance, None for the baseline itself.

    A tree over a ratio gets fewer tokens by as much as it is over; of the two grants the smaller
    one holds, since FLOPs take time: they would be charged twice.

    Args:
        token_seconds: wall time per training token at the smoke run.
        block_size: of the trained model; only the baseline's counts for the windows.

    Raises:
        OverBudget: too many parameters, too slow, or too short a context for the windows.
    """
    most = measurement.max_parameters
    if most is not None and parameters > most:
        raise OverBudget(f"{parameters:,} parameters, more than max_parameters = {most:,}")
    if reference is None:
        return Allowance(
            parameters, flops_per_token, token_seconds, 1.0, 1.0, measurement.tokens, block_size
        )
    if block_size < reference.block_size:
        raise OverBudget(
            f"block_size {block_size} is below the {reference.block_size} of the scored windows"
        )
    flops_ratio = flops_per_token / reference.flops_per_token
    wall_ratio = token_seconds / reference.step_seconds
    if wall_ratio > measurement.wall_refuse:
        raise OverBudget(
            f"{wall_ratio:.2f} times the baseline's time per token, "
            f"more than wall_refuse = {measurement.wall_refuse:g}"
        )
    share = min(1.0, measurement.flops_ratio / flops_ratio, measurement.wall_ratio / wall_ratio)
    return Allowance(
        parameters,
        flops_per_token,
        token_seconds,
        flops_ratio,
        wall_ratio,
        max(1, int(measurement.tokens * share)),
        reference.block_size,
    )
