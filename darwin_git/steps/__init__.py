"""The steps of a generation, one module each; generation.py tells them in order."""
