"""What a number depends on: the protocol of a run's measurements, and its hash.

Numbers are compared only within one protocol; protocol and tree together are the measurement
identity, and identity and seed are the key under which nothing is trained twice.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from darwin_git.domain.metric import Metric

EVALUATOR = 1
"""Raise it when scoring changes: numbers of two evaluators are never compared."""

FROZEN = frozenset(
    {
        "always_save_checkpoint",
        "backend",
        "compile",
        "dataset",
        "device",
        "dtype",
        "eval_interval",
        "eval_iters",
        "eval_only",
        "init_from",
        "log_interval",
        "max_iters",
        "out_dir",
        "wandb_log",
        "wandb_project",
        "wandb_run_name",
    }
)
"""Settings that the override file fixes, or that measure nothing: editing them is refused."""

Setting = int | float | str | bool


@dataclass(frozen=True)
class Measurement:
    """How each variant of a run is trained and measured.

    Attributes:
        train: script and arguments, run from the genome's root.
        model: the file that defines GPT and GPTConfig.
        overrides: settings that the person froze for all variants.
        tokens: training tokens per replicate, more than 0.
        data: identity of corpus and tokenizer (Corpus.identity).
        device: ``cpu`` or ``cuda``.
        dtype: what the genome's ``dtype`` setting is frozen to.
        compile: what the genome's ``compile`` setting is frozen to.
        threads: CPU threads of one training: they change the order of sums, and the wall time.
        flops_ratio: training FLOPs per token over the baseline's that cost nothing.
        wall_ratio: wall time per token over the baseline's that costs nothing.
        wall_refuse: wall time per token over the baseline's that is refused.
        scored_tokens: at most this many tokens of a held-out split are scored, spread over its
            shards: the same ones for everyone.
        smoke_steps: optimizer steps of the smoke run.
        min_deadline_seconds: no command is killed before.
        max_parameters: trees with more are refused.
        evaluator: version of the scoring code.
    """

    train: tuple[str, ...]
    tokens: int
    data: str
    model: str = "model.py"
    overrides: Mapping[str, Setting] = field(default_factory=dict)
    device: str = "cpu"
    dtype: str = "float32"
    compile: bool = False
    threads: int = 1
    flops_ratio: float = 1.05
    wall_ratio: float = 1.25
    wall_refuse: float = 2.5
    scored_tokens: int = 1 << 16
    smoke_steps: int = 24
    min_deadline_seconds: float = 60.0
    max_parameters: int | None = None
    evaluator: int = EVALUATOR

    def __post_init__(self) -> None:
        if self.tokens <= 0:
            raise ValueError(f"a replicate needs training tokens, not {self.tokens}")
        if not self.train:
            raise ValueError("the train command is empty")
        # a copy of our own: what the caller changes later is not what was measured
        object.__setattr__(self, "overrides", dict(self.overrides))


JUDGING = 1
"""Raise it when the reading of a judge's output changes."""


@dataclass(frozen=True)
class Judgement:
    """How each variant is measured where a person's own program does it.

    Attributes:
        program: sha256 of the packed program.
        command: how it is started; ``{judge}``, ``{seed}``, ``{split}`` and the runner's
            placeholders are replaced.
        metric: which of its numbers counts, and what is better.
        device: ``cpu`` or ``cuda``.
        threads: CPU threads of one run.
        judging: version of the reading code.
    """

    program: str
    command: tuple[str, ...]
    metric: Metric
    device: str = "cpu"
    threads: int = 1
    judging: int = JUDGING

    def in_words(self) -> dict[str, Any]:
        """JSON that tells what changed between two judgements."""
        parts = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return parts | {
            "contract": "command",
            "command": list(self.command),
            "metric": self.metric.to_json(),
        }


def canonical(value: Any) -> str:
    """JSON in one spelling only: sorted keys, no spaces, ASCII, no NaN."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def protocol_hash(measurement: Measurement | Judgement, environment: Mapping[str, str]) -> str:
    """sha256[:32] over everything but the tree.

    Args:
        environment: what the runner says its numbers depend on (Runner.environment).
    """
    if isinstance(measurement, Judgement):
        judged = measurement.in_words()
        return _short(canonical({"judgement": judged, "environment": dict(environment)}))
    parts = {name: getattr(measurement, name) for name in measurement.__dataclass_fields__}
    parts["overrides"] = dict(measurement.overrides)
    parts["train"] = list(measurement.train)
    # When we refuse or kill is no part of what is measured.
    del parts["min_deadline_seconds"], parts["max_parameters"]
    return _short(canonical({"measurement": parts, "environment": dict(environment)}))


def identity(protocol: str, tree: str) -> str:
    """Measurement identity: two results with one identity and one seed are the same result."""
    return _short(canonical([protocol, tree]))


def _short(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:32]
