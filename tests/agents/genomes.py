"""The genomes that the operators are tried on: ours, and one in another hand."""

from functools import cache
from pathlib import Path

from darwin_git.agents.operators import CATALOGUE, GenomeView, apply

ROOT = Path(__file__).parents[2]


def read(root: Path, *arguments: str) -> GenomeView:
    """The Python files of a folder, without what lies in data/."""
    files = {
        path.relative_to(root).as_posix(): path.read_text(encoding="utf-8")
        for path in sorted(root.rglob("*.py"))
        if "data" not in path.relative_to(root).parts
    }
    return GenomeView(files, arguments)


@cache
def seed() -> GenomeView:
    return read(ROOT / "seed_repo", "train.py", "config/tiny_cpu.py")


@cache
def dialect() -> GenomeView:
    return read(ROOT / "tests" / "agents" / "dialect", "train.py", "config/small.py")


def changed(view: GenomeView, *names: str) -> GenomeView:
    """The view after the named operators, each of which must apply."""
    for name in names:
        files = apply(CATALOGUE[name], view)
        assert files is not None, f"{name} does not apply"
        view = GenomeView({**view.files, **files}, view.arguments, view.frozen)
    return view


# Some operators need a parent that others have made.
PARENTS = {
    "seed": {
        "embed_init_1": ("untie_head",),
        "beta2_0.99": ("beta2_0.999",),
        "bias_off": ("bias_on",),
    },
    "dialect": {"embed_init_1": ("untie_head",), "bias_on": ("bias_off",)},
}

# Some have nothing to do: the seed's AdamW is fused already; the dialect computes min_lr, sets
# n_layer in a tuple and returns its batch in one expression.
WITHOUT = {
    "seed": {"fused_adamw"},
    "dialect": {
        "linear_to_zero",
        "min_lr_0",
        "shallow_wide",
        "deep_thin",
        "seqlen_warmup",
    },
}


@cache
def parent(genome: str, name: str) -> GenomeView:
    """What the operator is applied to in the tests."""
    view = {"seed": seed, "dialect": dialect}[genome]()
    return changed(view, *PARENTS[genome].get(name, ()))


CASES = [(genome, name) for genome in WITHOUT for name in CATALOGUE if name not in WITHOUT[genome]]


@cache
def child(genome: str, name: str) -> GenomeView:
    return changed(parent(genome, name), name)
