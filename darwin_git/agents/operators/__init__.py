"""Built-in mutations of nanoGPT-like training code, and of constants in any: text to text."""

from .catalogue import CATALOGUE
from .constants import constants
from .draw import comparable, draw
from .genome import Files, GenomeView
from .numeric import numeric
from .operator import Operator, applicable, apply

__all__ = [
    "CATALOGUE",
    "Files",
    "GenomeView",
    "Operator",
    "applicable",
    "apply",
    "comparable",
    "constants",
    "draw",
    "numeric",
]
