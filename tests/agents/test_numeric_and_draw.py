"""Numeric operators keep to their bounds; sampling prefers what is promising, and learns."""

import numpy as np
import pytest

from darwin_git.agents.operators import (
    CATALOGUE,
    GenomeView,
    Operator,
    apply,
    draw,
    numeric,
)
from darwin_git.agents.operators.draw import posterior, transferred
from darwin_git.agents.operators.genome import Genome
from darwin_git.agents.operators.operator import NAME
from darwin_git.ports import Outcome

from .genomes import dialect, seed

VIEWS = {"seed": seed, "dialect": dialect}


def edited(view: GenomeView, operator: Operator) -> GenomeView:
    files = apply(operator, view)
    assert files is not None
    return GenomeView({**view.files, **files}, view.arguments)


@pytest.mark.parametrize("name", VIEWS)
def test_every_numeric_operator_does_what_its_title_says(name: str) -> None:
    """One setting moves, keeps its type, and stays consistent with the others."""
    view = VIEWS[name]()
    before = Genome(view).settings
    operators = numeric(view, ["max_iters", "eval_interval"])
    assert len(operators) > 25
    assert len({operator.name for operator in operators}) == len(operators)
    for operator in operators:
        setting = operator.name.rsplit("-", 1)[0]
        assert NAME.fullmatch(operator.name) and len(operator.title) <= 60
        after = Genome(edited(view, operator)).settings
        assert type(after[setting].value) is type(before[setting].value)
        assert operator.title.endswith(f"to {after[setting].value}")
        moved = {key for key in before if after[key].value != before[key].value}
        assert moved == {setting}
        check_consistent({key: setting.value for key, setting in after.items()})
        assert after["block_size"].value >= before["block_size"].value


def check_consistent(settings: dict[str, bool | int | float]) -> None:
    if {"n_embd", "n_head"} <= settings.keys():
        assert settings["n_embd"] % (2 * settings["n_head"]) == 0
    if "lr_decay_iters" in settings:
        assert settings["warmup_iters"] < settings["lr_decay_iters"]
    if "min_lr" in settings:
        assert settings["min_lr"] <= settings["learning_rate"]
    assert 0 < settings["beta1"] < 1 and 0 < settings["beta2"] < 1
    assert settings["batch_size"] >= 1


def test_frozen_settings_have_no_numeric_operator() -> None:
    names = {operator.name for operator in numeric(seed(), ["learning_rate"])}
    assert not any(name.startswith("learning_rate-") for name in names)
    assert any(name.startswith("weight_decay-") for name in names)


def test_settings_that_nobody_knows_are_scaled_too() -> None:
    files = dict(seed().files)
    files["config/tiny_cpu.py"] += "\nmomentum_decay = 0.25\n"
    view = GenomeView(files, seed().arguments)
    (double,) = [o for o in numeric(view) if o.name == "momentum_decay-x2"]
    changed = apply(double, view)
    assert changed is not None and "momentum_decay = 0.5\n" in changed["config/tiny_cpu.py"]


def test_an_operator_made_for_another_value_does_not_apply() -> None:
    (double,) = [o for o in numeric(seed()) if o.name == "learning_rate-x2"]
    assert apply(double, edited(seed(), double)) is None


def test_beta_moves_by_the_length_of_its_average() -> None:
    names = {o.name: o.title for o in numeric(seed())}
    assert names["beta2-x2"] == "Raise beta2 from 0.99 to 0.995"


def test_a_genome_without_settings_has_none() -> None:
    assert numeric(GenomeView({})) == []
    assert numeric(GenomeView({"train.py": "x = 1"})) == []


def test_published_gains_are_tried_first() -> None:
    rng = np.random.default_rng(0)
    drawn = [draw(list(CATALOGUE.values()), [], rng)[0].name for _ in range(300)]
    assert drawn.count("muon") + drawn.count("rotary") > 30
    assert drawn.count("label_smooth") + drawn.count("post_norm") < 30
    assert len(set(drawn)) > 10


def test_what_failed_is_left_and_what_crashed_is_avoided() -> None:
    rng = np.random.default_rng(0)
    pair = [CATALOGUE["rotary"], CATALOGUE["qk_norm"]]
    assert draw(pair, [], rng)[0].name
    for bad in (Outcome("rotary", 0.2, 0.01), Outcome("rotary", None, 0.0)):
        drawn = [draw(pair, [bad] * 3, rng)[0].name for _ in range(100)]
        assert drawn.count("qk_norm") > 80


def test_the_posterior_is_the_conjugate_normal() -> None:
    operator = CATALOGUE["rotary"]
    assert posterior(operator, []) == pytest.approx((operator.prior_mean, operator.prior_sd))
    mean, sd = posterior(operator, [Outcome("rotary", -0.2, 0.015), Outcome("muon", 1.0, 0.01)])
    noise = 0.015**2 + 0.02**2
    precision = operator.prior_sd**-2 + 1 / noise
    expected = (operator.prior_mean * operator.prior_sd**-2 - 0.2 / noise) / precision
    assert (mean, sd) == pytest.approx((expected, precision**-0.5))


def test_draws_differ_respect_exclusions_and_mix_the_kinds() -> None:
    rng = np.random.default_rng(1)
    operators = [*CATALOGUE.values(), *numeric(seed())]
    drawn = draw(operators, [], rng, k=5, exclude={"rotary"})
    assert len({operator.name for operator in drawn}) == 5
    assert "rotary" not in {operator.name for operator in drawn}
    kinds = [draw(operators, [], rng)[0].kind for _ in range(400)]
    assert 80 < kinds.count("numeric") < 160
    assert all(draw(operators, [], rng, numeric_share=0.0)[0].kind == "named" for _ in range(20))
    assert draw([], [], rng) == []
    assert len(draw([CATALOGUE["rotary"]], [], rng, k=3, numeric_share=1.0)) == 1


def test_the_same_generator_draws_the_same() -> None:
    operators = list(CATALOGUE.values())
    one, other = (draw(operators, [], np.random.default_rng(7), k=4) for _ in range(2))
    assert one == other


def test_one_step_of_a_setting_tells_of_the_others() -> None:
    lower_hurt = Outcome("learning_rate-x0.37", 0.06, 0.01)
    further = transferred("learning_rate-x2", lower_hurt)
    assert further is not None
    assert further[0] < 0, "lowering hurt: raising may help"
    same = transferred("learning_rate-x0.5", lower_hurt)
    assert same is not None
    assert 0 < same[0] < 0.06
    assert same[1] < further[1] + 0.05
    named = transferred("lr_x2.5", lower_hurt)
    assert named is not None
    assert named[0] < 0
    assert transferred("beta2-x2", lower_hurt) is None
    assert transferred("rotary", lower_hurt) is None
    crashed = transferred("learning_rate-x2.7", Outcome("learning_rate-x2", None, 0.0))
    assert crashed is not None
    assert crashed[0] > 0
