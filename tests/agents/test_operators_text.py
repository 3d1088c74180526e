"""Operators as functions from text to text: they apply where they should, once, or do nothing."""

import ast
import difflib
import random
import re

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from darwin_git.agents.operators import CATALOGUE, GenomeView, applicable, apply
from darwin_git.agents.operators.operator import NAME

from .genomes import CASES, WITHOUT, child, dialect, parent, seed


def test_the_catalogue_reads_like_a_list_of_commits() -> None:
    assert len(CATALOGUE) >= 40
    for name, operator in CATALOGUE.items():
        assert NAME.fullmatch(name) and len(name) <= 64
        assert len(operator.title) <= 60 and not operator.title.endswith(".")
        assert operator.title[0].isupper()
        assert operator.why.endswith(".") and operator.prior_sd > 0
        # Who said so: a paper, a repository.
        assert re.search(r"\d{4}|nanochat|modded-nanogpt|One kernel|distinct", operator.why), name


@pytest.mark.parametrize(("genome", "name"), CASES)
def test_it_applies_and_changes_few_lines(genome: str, name: str) -> None:
    before, after = parent(genome, name).files, child(genome, name).files
    assert before.keys() == after.keys()
    removed = [
        line
        for path in before
        for line in difflib.ndiff(before[path].splitlines(), after[path].splitlines())
        if line.startswith("- ")
    ]
    # rmsnorm replaces a class; all else touches a handful of lines.
    assert len(removed) <= (20 if name == "rmsnorm" else 10)


@pytest.mark.parametrize(("genome", "name"), CASES)
def test_it_applies_once(genome: str, name: str) -> None:
    operator = CATALOGUE[name]
    if not operator.repeatable:
        assert apply(operator, child(genome, name)) is None


@pytest.mark.parametrize("genome", ["seed", "dialect"])
def test_what_has_nothing_to_do_is_left_out(genome: str) -> None:
    view = {"seed": seed, "dialect": dialect}[genome]()
    found = {operator.name for operator in applicable(CATALOGUE.values(), view)}
    assert not found & WITHOUT[genome]
    assert len(found) >= 70


def test_frozen_and_shadowed_settings_are_not_edited() -> None:
    view = seed()
    names = {o.name for o in applicable(CATALOGUE.values(), view, ["learning_rate", "batch_size"])}
    assert not names & {"lr_x2.5", "lr_x0.3", "half_batch", "double_batch"}
    given = GenomeView(view.files, (*view.arguments, "--batch_size=4"))
    assert apply(CATALOGUE["half_batch"], given) is None
    assert apply(CATALOGUE["lr_x2.5"], given) is not None


def test_the_last_assignment_in_effect_is_edited() -> None:
    files = child("dialect", "half_batch").files
    assert "batch_size = 4; block_size = 16" in files["config/small.py"]
    # Without the configuration file the script's own default is in effect.
    bare = apply(CATALOGUE["half_batch"], GenomeView(dialect().files, ("train.py",)))
    assert bare is not None and "batch_size = 2\n" in bare["train.py"]


def test_no_genome_at_all_is_no_error() -> None:
    for files in ({}, {"model.py": "", "train.py": ""}, {"model.py": "class (", "train.py": "\0"}):
        assert applicable(CATALOGUE.values(), GenomeView(files)) == []
        assert applicable(CATALOGUE.values(), GenomeView(files, ())) == []


@settings(max_examples=25, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(genome=st.sampled_from(["seed", "dialect"]), chance=st.integers(0, 2**32))
def test_a_drifted_parent_is_never_mangled(genome: str, chance: int) -> None:
    """Lines are deleted, doubled, swapped, commented out: the answer is a program, or none."""
    rng = random.Random(chance)
    view = {"seed": seed, "dialect": dialect}[genome]()
    files = dict(view.files)
    for path in ("model.py", "train.py"):
        lines = files[path].splitlines(keepends=True)
        for _ in range(rng.randint(1, 4)):
            i, j = rng.randrange(len(lines)), rng.randrange(len(lines))
            kind = rng.randrange(4)
            if kind == 0:
                del lines[i]
            elif kind == 1:
                lines.insert(j, lines[i])
            elif kind == 2:
                lines[i], lines[j] = lines[j], lines[i]
            else:
                lines[i] = re.sub(r"\S", "# ", lines[i], count=1)
        files[path] = "".join(lines)
    drifted = GenomeView(files, view.arguments)
    repeated = rng.choice(list(CATALOGUE.values()))
    for operator in [repeated, *rng.sample(list(CATALOGUE.values()), 10)]:
        result = apply(operator, drifted)
        if result is not None:
            for path, text in result.items():
                ast.parse(text)
                assert text != files[path]
            # Parsing takes its time: once is tried for one of them.
            if operator is repeated and not operator.repeatable:
                again = GenomeView({**files, **result}, view.arguments)
                assert apply(operator, again) is None
