"""The promises about error rates, on a small simulation of the functions that are shipped."""

import importlib
import sys
from pathlib import Path
from types import ModuleType

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def simulation(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    for name in ("simulate_deciding", "deciding_model"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    return importlib.import_module("simulate_deciding")


def test_the_numbers_to_reach_are_reached(simulation: ModuleType) -> None:
    results = simulation.everything(quick=True, seed=1)
    numbers = results.numbers

    for race in ("(1, 2, 4)", "(1,)"):
        moved = [v for k, v in numbers.items() if k.startswith(f"A/A moved {race} | ")]
        assert len(moved) == 4
        runs = len(moved) * simulation.QUICK
        assert simulation.upper_limit(int(sum(moved)), runs) <= 0.02
        assert numbers[f"power {race} x1 j1 sd0.006 gain0.02"] >= 0.95
        assert numbers[f"A/A trainings over always 8 {race}"] <= 0.30
        for world in simulation.SEARCHES:
            night = f"{world.name} 240"
            assert numbers[f"gain {race} {night}"] > 1.5 * numbers[f"gain always 8 seeds {night}"]
        assert numbers[f"planted {race}"] >= 0.9
    # The check at 4 times the steps: noise grows 2 to 13 times there.
    assert numbers["check x2 sd0.006 gain0.02"] >= 0.9
    assert numbers["check x2 sd0.006 gain0.02"] > numbers["check x13 sd0.006 gain0.02"]
    # Whoever keeps what is lower on one seed always finds something, where nothing is.
    assert numbers["A/A moved keep if lower on one seed | measured noise"] == simulation.QUICK


def test_the_simulated_noise_is_the_measured_one(simulation: ModuleType) -> None:
    """Paired sd and seed sd of simulated trees are what the mutation and the baseline have."""
    import random
    import statistics

    import deciding_model as model

    run = model.Run(model.RACE_1, model.World("nothing"), random.Random(1))
    child = run.child(run.start, [(model.Mutation(1, 0.005, 0.004), 0.0)])
    grandchild = run.child(child, [(model.Mutation(2, 0.0, model.S0), 0.0)])
    seeds = range(20_000)
    x = run.effects(run.start, child, seeds)

    assert statistics.mean(x) == pytest.approx(0.005, abs=0.0001)
    assert statistics.stdev(x) == pytest.approx(0.004, rel=0.03)
    losses = [run.loss(child, s) for s in seeds]
    assert statistics.stdev(losses) == pytest.approx(model.S0 / 2**0.5, rel=0.03)
    broken = run.effects(run.start, grandchild, seeds)
    assert statistics.stdev(broken) == pytest.approx(model.S0, rel=0.03)
    # Measured again: a baseline sd of 0.0073 over 10 seeds.
    assert pytest.approx(2**0.5 * 0.0073, rel=0.01) == model.S0
    assert run.trainings == 3 * 20_000


def test_minimising_is_what_is_shipped_and_is_counted(simulation: ModuleType) -> None:
    """Useless mutations go, the trainings that it took are the run's."""
    import random

    import deciding_model as model

    run = model.Run(model.RACE_1, model.World("nothing"), random.Random(1))
    good = run.child(run.start, [(model.Mutation(1, 0.05, 0.004), 0.05)])
    useless = [(model.Mutation(idea, 0.0, 0.0001), 0.003) for idea in (2, 3)]
    spent = run.trainings
    least = run.minimised(run.child(good, useless))
    assert [m.idea for m, _ in least.mutations] == [1]
    assert run.trainings - spent == run.minimising == 4, "the tip and one group, on two seeds"


def test_a_limit_is_clopper_and_pearsons(simulation: ModuleType) -> None:
    from scipy.stats import binomtest

    for hits, n in ((0, 400), (3, 400), (400, 400)):
        expected = binomtest(hits, n).proportion_ci(0.95, "exact").high
        assert simulation.upper_limit(hits, n) == pytest.approx(expected)
