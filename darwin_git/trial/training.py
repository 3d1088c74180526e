"""One training as a command, and what its standard output says by the outside clock."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from itertools import pairwise
from pathlib import Path

from darwin_git.domain.measurement import Measurement
from darwin_git.ports import Command, File, Finished, Limits
from darwin_git.trial.override import DATASET, STEPS, Grant, render

STARTED = "darwin-git: started"
CURVE_POINTS = 64
CHECKPOINT = "ckpt.pt"
BURST_SECONDS = 5e-4

_NUMBER = r"([-+]?(?:\d+(?:\.\d*)?(?:[eE][-+]?\d+)?|nan|inf))"
_ITER = re.compile(rf"iter (\d{{1,9}}): loss {_NUMBER}(?:,|$)")
_STEP = re.compile(rf"step (\d{{1,9}}): train loss {_NUMBER}, val loss {_NUMBER}$")
_STEPS = re.compile(re.escape(STEPS) + r" (\d{1,9}) of (\d{1,9}) tokens$")


@dataclass(frozen=True)
class Progress:
    """What a training printed; the times are ours, the rest is the genome's word.

    Attributes:
        seconds: from the start marker, when imports were done, to the end; with torch.compile
            from the first printed iteration, when the compilation was done. That line is the
            genome's word, so what it says of speed decides no training's length.
        since: the iteration whose line started that clock; 0 for the start marker.
        steps: updates that the override file asked for, None where it did not report once.
        tokens_per_step: as the variant's settings say.
        printed: (second, iteration, loss) of each line.
        finite: no printed loss was NaN or infinite.
    """

    seconds: float
    since: int
    steps: int | None
    tokens_per_step: int
    printed: tuple[tuple[float, int, float], ...]
    finite: bool

    @property
    def curve(self) -> tuple[tuple[int, float], ...]:
        """(iteration, loss) pairs, thinned."""
        stride = max(1, math.ceil(len(self.printed) / CURVE_POINTS))
        return tuple((n, loss) for _, n, loss in self.printed[::stride] if math.isfinite(loss))

    def rate(self, tokens: int) -> float:
        """Tokens per second, of those `tokens` that were trained on while the clock ran."""
        if self.seconds <= 0 or not self.steps:
            return 0.0
        return tokens * max(0, self.steps - self.since) / self.steps / self.seconds

    @property
    def step_seconds(self) -> float | None:
        """Seconds per optimizer step: a low quantile, so that a busy machine matters less.

        Lines that came in one burst say nothing apart: we were late, not the genome fast. None
        where fewer than five iterations were printed after the first three.
        """
        told = [(at, n) for at, n, _ in self.printed[3:]]
        if len(told) < 5 or told[-1][1] <= told[0][1]:
            return None
        points = told[:1]
        for at, n in told[1:]:
            if at - points[-1][0] < BURST_SECONDS:
                points[-1] = points[-1][0], max(n, points[-1][1])
            elif n > points[-1][1]:
                points.append((at, n))
        deltas = sorted((b[0] - a[0]) / (b[1] - a[1]) for a, b in pairwise(points))
        if len(deltas) >= 4:
            return deltas[len(deltas) // 4]
        elapsed = max(told[-1][0] - told[0][0], BURST_SECONDS)
        return elapsed / (told[-1][1] - told[0][1])


def inside(name: str) -> bytes:
    """One of the scripts that run behind the wall."""
    return resources.files("darwin_git.trial.inside").joinpath(name).read_bytes()


def command(
    measurement: Measurement,
    checkout: Mapping[str, File],
    training_data: Path,
    grant: Grant,
    seed: int,
    limits: Limits,
    *,
    label: str,
    trusted: bool,
    key: str = "",
    cache: str = "",
) -> Command:
    """The training of one checkout."""
    out = "{out}"
    return Command(
        label=label,
        trusted=trusted,
        genome=checkout,
        tools={"launch.py": inside("launch.py"), "override.py": render(measurement, grant)},
        argv=(
            "{python}",
            "{tools}/launch.py",
            str(seed),
            out,
            *measurement.train,
            "{tools}/override.py",
        ),
        limits=limits,
        data={f"data/{DATASET}": training_data},
        artifacts={},
        key=key,
        keep=(CHECKPOINT,),
        cache=cache,
    )


def progress(finished: Finished, *, compiled: bool = False) -> Progress:
    """Read the lines of a training; `compiled`: see Progress.seconds."""
    began, finite = 0.0, True
    printed: list[tuple[float, int, float]] = []
    said: set[tuple[int, int]] = set()
    for line in finished.lines:
        if line.text == STARTED:
            began = began or line.at
        elif found := _STEPS.fullmatch(line.text):
            said.add((int(found[1]), int(found[2])))
        elif found := _ITER.match(line.text):
            loss = float(found[2])
            finite = finite and math.isfinite(loss)
            printed.append((line.at, int(found[1]), loss))
        elif found := _STEP.fullmatch(line.text):
            finite = finite and all(math.isfinite(float(found[n])) for n in (2, 3))
    since = 0
    if compiled and printed:
        began, since, _ = printed[0]
    seconds = max(0.0, finished.seconds - began)
    # two different reports: one of them is not the override file's
    steps, per_step = said.pop() if len(said) == 1 else (None, 0)
    return Progress(seconds, since, steps, per_step, tuple(printed), finite)
