"""All named operators."""

from collections.abc import Iterable

from . import (
    attention,
    data,
    embedding,
    feedforward,
    head,
    initialisation,
    optimizer,
    positions,
    residual,
    schedule,
    shape,
    update,
)
from .operator import Operator

_PARTS: tuple[Iterable[Operator], ...] = (
    positions.OPERATORS,
    attention.OPERATORS,
    feedforward.OPERATORS,
    residual.OPERATORS,
    embedding.OPERATORS,
    head.OPERATORS,
    initialisation.OPERATORS,
    optimizer.OPERATORS,
    update.OPERATORS,
    schedule.OPERATORS,
    data.OPERATORS,
    shape.OPERATORS,
)

CATALOGUE: dict[str, Operator] = {operator.name: operator for part in _PARTS for operator in part}
