"""darwin-git: evolve the training code of a GPT, with git as the only database."""

__version__ = "0.1.0"
