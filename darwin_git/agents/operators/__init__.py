"""Built-in mutations of nanoGPT-like training code: pure functions from text to text."""

from .catalogue import CATALOGUE
from .draw import draw
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
    "draw",
    "numeric",
]
