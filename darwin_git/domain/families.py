"""What the built-in operators change, one word for each kind of change."""

from typing import Literal, get_args

Family = Literal[
    "model",
    "init",
    "optimizer",
    "schedule",
    "data",
    "batch",
    "regularisation",
    "compute",
    "constants",
]
FAMILIES: frozenset[str] = frozenset(get_args(Family))
