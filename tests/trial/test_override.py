"""The override file in a script's globals, and the allowance that it turns into steps."""

import os
from typing import Any

import pytest

from darwin_git.domain.measurement import Measurement, identity, protocol_hash
from darwin_git.domain.trial import Allowance
from darwin_git.ports import Finished, Line
from darwin_git.sandbox.output import NoOutputs
from darwin_git.trial import budget
from darwin_git.trial.override import Grant, render
from darwin_git.trial.training import progress

GLOBALS = {
    "gradient_accumulation_steps": 1,
    "batch_size": 12,
    "block_size": 64,
    "max_iters": 2000,
    "lr_decay_iters": 2000,
    "warmup_iters": 100,
    "learning_rate": 1e-3,
    "device": "cuda",
    "eval_iters": 200,
}
TOKENS = 1000 * 12 * 64


def measure(**changes: Any) -> Measurement:
    return Measurement(("train.py",), TOKENS, "data", **changes)


def execute(monkeypatch: pytest.MonkeyPatch, grant: Grant, **settings: Any) -> dict[str, Any]:
    """What the script's globals are after the file was executed in them."""
    monkeypatch.setitem(os.environ, "DARWIN_OUT", "../out")
    overrides = settings.pop("overrides", {})
    space = {**GLOBALS, **settings}
    before = set(space) | {"__builtins__"}
    exec(render(measure(overrides=overrides), grant), space)
    new = {k for k in space if k not in before}
    assert new <= {
        "out_dir", "dataset", "dtype", "compile", "eval_interval", "log_interval", "eval_only",
        "always_save_checkpoint", "init_from", "wandb_log", *overrides,
    }  # fmt: skip
    return space


def test_the_budget_becomes_steps(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    space = execute(monkeypatch, Grant(TOKENS, TOKENS))
    assert space["max_iters"] == space["eval_interval"] == space["lr_decay_iters"] == 1000
    assert space["warmup_iters"] == 100
    assert (space["device"], space["dataset"], space["out_dir"]) == ("cpu", "darwin", "../out")
    assert capsys.readouterr().out == "darwin-git: steps 1000 of 768 tokens\n"


@pytest.mark.parametrize(
    ("changed", "steps"),
    [
        ({"batch_size": 6}, 2000),
        ({"block_size": 128}, 500),
        ({"gradient_accumulation_steps": 4}, 250),
    ],
)
def test_half_the_batch_gets_twice_the_steps(
    monkeypatch: pytest.MonkeyPatch, changed: dict[str, int], steps: int
) -> None:
    space = execute(monkeypatch, Grant(TOKENS, TOKENS), **changed)
    assert space["max_iters"] == space["lr_decay_iters"] == steps


def test_a_schedule_keeps_its_proportion(monkeypatch: pytest.MonkeyPatch) -> None:
    space = execute(monkeypatch, Grant(TOKENS, TOKENS), lr_decay_iters=1500)
    assert space["lr_decay_iters"] == 750


def test_a_smaller_grant_shrinks_the_warm_up(monkeypatch: pytest.MonkeyPatch) -> None:
    space = execute(monkeypatch, Grant(TOKENS, TOKENS // 2))
    assert (space["max_iters"], space["lr_decay_iters"], space["warmup_iters"]) == (500, 500, 50)


@pytest.mark.parametrize("warmup", [0, 1, 5000])
@pytest.mark.parametrize("tokens", [1, 768, 5 * 768, TOKENS])
def test_the_warm_up_is_always_shorter_than_the_decay(
    monkeypatch: pytest.MonkeyPatch, warmup: int, tokens: int
) -> None:
    space = execute(monkeypatch, Grant(tokens, tokens), warmup_iters=warmup)
    assert space["max_iters"] >= 1
    assert 0 <= space["warmup_iters"] < space["lr_decay_iters"]
    assert type(space["warmup_iters"]) is type(space["lr_decay_iters"]) is int


def test_a_script_without_schedule_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(GLOBALS, "lr_decay_iters")
    monkeypatch.delitem(GLOBALS, "warmup_iters")
    space = execute(monkeypatch, Grant(TOKENS, TOKENS))
    assert "lr_decay_iters" not in space and "warmup_iters" not in space


def test_overrides_keep_the_types_of_the_script(monkeypatch: pytest.MonkeyPatch) -> None:
    overrides = {"learning_rate": 1, "batch_size": 24, "eval_iters": 7, "note": 'it\'s "so"\n'}
    space = execute(monkeypatch, Grant(TOKENS, TOKENS), overrides=overrides)
    assert space["learning_rate"] == 1.0 and type(space["learning_rate"]) is float
    assert space["max_iters"] == 500  # frozen batch counts
    assert space["eval_iters"] == 1  # ours
    assert space["note"] == 'it\'s "so"\n'


def test_its_own_echo_is_not_taken_for_a_report() -> None:
    echo = render(measure(), Grant(TOKENS, TOKENS, 24)).decode().splitlines()
    finished = Finished("exit", 0, 9.0, tuple(Line(1.0, text) for text in echo), "", NoOutputs())
    told = progress(finished)
    assert told.steps is None and told.printed == ()


def test_a_second_report_is_believed_as_little_as_the_first() -> None:
    lines = [
        Line(1.0, "darwin-git: started"),
        Line(1.1, "darwin-git: steps 10 of 768 tokens"),
        *(Line(2.0 + n / 10, f"iter {n}: loss {4 - n / 10}, time 1ms, mfu 0%") for n in range(12)),
    ]
    told = progress(Finished("exit", 0, 9.0, tuple(lines), "", NoOutputs()))
    assert (told.steps, told.tokens_per_step, told.seconds) == (10, 768, 8.0)
    assert told.step_seconds == pytest.approx(0.1)
    assert told.finite and told.curve[0] == (0, 4.0)
    lines.append(Line(8.0, "darwin-git: steps 10 of 7680 tokens"))
    assert progress(Finished("exit", 0, 9.0, tuple(lines), "", NoOutputs())).steps is None


# --- allowances ----------------------------------------------------------------------------------

BASE = Allowance(1000, 6000.0, 1e-4, 1.0, 1.0, TOKENS, 64)


def allow(flops: float = 6000.0, seconds: float = 1e-4, **changes: Any) -> Allowance:
    return budget.allowance(
        measure(**changes.pop("measurement", {})),
        changes.pop("reference", BASE),
        parameters=1000,
        flops_per_token=flops,
        token_seconds=seconds,
        block_size=changes.pop("block_size", 64),
    )


def test_the_baseline_gets_the_whole_budget() -> None:
    assert allow(reference=None) == BASE


@pytest.mark.parametrize(
    ("flops", "wall", "share"),
    [
        (1.05, 1.25, 1.0),
        (0.5, 0.5, 1.0),
        (2.1, 1.0, 0.5),
        (1.0, 2.5, 0.5),
        (2.1, 2.0, 0.5),  # the smaller grant, not the product
        (1.4, 2.5, 0.5),
    ],
)
def test_more_compute_means_fewer_tokens(flops: float, wall: float, share: float) -> None:
    given = allow(6000 * flops, 1e-4 * wall)
    assert given.tokens == pytest.approx(TOKENS * share, abs=1)
    assert given.flops_ratio == pytest.approx(flops) and given.wall_ratio == pytest.approx(wall)


def test_limits_refuse() -> None:
    with pytest.raises(budget.OverBudget, match=r"2\.60 times"):
        allow(seconds=2.6e-4)
    with pytest.raises(budget.OverBudget, match="1,000 parameters"):
        allow(measurement={"max_parameters": 999})
    with pytest.raises(budget.OverBudget, match="block_size 32"):
        allow(block_size=32)
    assert allow(block_size=128).block_size == 64


def test_the_protocol_names_everything_a_number_depends_on() -> None:
    one = protocol_hash(measure(), {"python": "3.11"})
    assert one == protocol_hash(measure(), {"python": "3.11"})
    assert len(one) == 32
    others = [
        protocol_hash(measure(), {"python": "3.12"}),
        protocol_hash(measure(overrides={"dropout": 0.1}), {"python": "3.11"}),
        protocol_hash(measure(device="cuda"), {"python": "3.11"}),
        protocol_hash(measure(threads=2), {"python": "3.11"}),
    ]
    assert len({one, *others}) == 5
    assert one == protocol_hash(measure(max_parameters=5), {"python": "3.11"})
    assert identity(one, "tree1") != identity(one, "tree2")
