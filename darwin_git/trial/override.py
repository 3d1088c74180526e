"""The override file: settings that the harness fixes, and the budget turned into steps.

It is executed in the training script's own globals after the genome's configuration files, so it
sees the variant's batch, block and accumulation: half the batch means twice the steps.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from darwin_git.domain.measurement import Measurement, Setting

DATASET = "darwin"
STEPS = "darwin-git: steps"

# Names start with an underscore: nanoGPT takes public globals for settings. The echo of this file
# on standard output must not look like a report, so no line of it begins with one.
_TEMPLATE = """\
def _darwin_git():
    import os
    g = globals()
    for key, value in {frozen!r}.items():
        old = g.get(key, value)
        g[key] = float(value) if isinstance(old, float) and type(value) is int else value
    g["out_dir"] = os.environ["DARWIN_OUT"]
    tokens = g["gradient_accumulation_steps"] * g["batch_size"] * g["block_size"]
    old, full = g["max_iters"], max(1, {budget} // tokens)
    steps = {steps} or max(1, {granted} // tokens)
    g["max_iters"] = g["eval_interval"] = steps
    g["eval_iters"] = 1
    g["log_interval"] = {log_interval} or max(1, steps // 64)
    if "lr_decay_iters" in g:
        g["lr_decay_iters"] = max(1, round(g["lr_decay_iters"] * steps / old))
    if "warmup_iters" in g:
        if steps < full:
            g["warmup_iters"] = round(g["warmup_iters"] * steps / full)
        # equal lengths would divide by zero
        g["warmup_iters"] = max(0, min(g["warmup_iters"], g.get("lr_decay_iters", steps) - 1))
    print(f"{report} {{steps}} of {{tokens}} tokens", flush=True)
_darwin_git()
del _darwin_git
"""


@dataclass(frozen=True)
class Grant:
    """How long one training is.

    Attributes:
        budget: tokens that a tree as fast as the baseline gets.
        granted: tokens that this tree gets.
        steps: optimizer steps instead (the smoke run), None for the tokens.
    """

    budget: int
    granted: int
    steps: int | None = None


def render(measurement: Measurement, grant: Grant) -> bytes:
    """The override file's text.

    max_iters counts the updates that the saved checkpoint has seen: nanoGPT saves at iteration
    max_iters before that iteration's update. The decay keeps its proportion to the training, so
    that a tied schedule stays tied; the warm-up shrinks only where the grant is below the budget.
    """
    frozen: Mapping[str, Setting] = {
        **measurement.overrides,
        "dataset": DATASET,
        "device": measurement.device,
        "dtype": measurement.dtype,
        "compile": measurement.compile,
        "always_save_checkpoint": True,
        "eval_only": False,
        "init_from": "scratch",
        "wandb_log": False,
    }
    text = _TEMPLATE.format(
        frozen=dict(frozen),
        budget=grant.budget,
        granted=grant.granted,
        steps=grant.steps or 0,
        log_interval=1 if grant.steps else 0,
        report=STEPS,
    )
    return text.encode()
