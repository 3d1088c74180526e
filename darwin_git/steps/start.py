"""The baseline: the genome as it stands, its noise, and the population's first branches."""

import json
from collections.abc import Mapping
from typing import Any

from darwin_git.domain.names import CHAMPION, agent_ref
from darwin_git.domain.population import State, start
from darwin_git.domain.statistics import noise
from darwin_git.domain.trial import Allowance, Replicate, Screened, Subject, Verdict
from darwin_git.errors import DarwinError
from darwin_git.ports import Move
from darwin_git.steps import measure
from darwin_git.steps.drive import Steps, drive
from darwin_git.steps.world import World


def baseline(world: World, commit: str, measured: Mapping[str, Any], seeds: int) -> State:
    """Measure a commit under seeds 1..`seeds` and make the population's references.

    Args:
        commit: the genome to start from.
        measured: the measurement conditions in words.
        seeds: how many; at least as many as the race needs.

    Raises:
        DarwinError: the genome cannot be measured; nothing but notes was written.
    """
    _refuse_existing(world)
    subject = world.subject(commit, "baseline")
    seeds = max(seeds, world.config.selection.race[-1], 2)
    outcome = drive({"baseline": _measured(world, subject, seeds)}, world.executor, world.waiting)[
        "baseline"
    ]
    allowance, losses, seconds = outcome
    # A metric may well be the same under every seed; a training never is.
    if world.config.genome.contract == "nanogpt" and len(set(losses.values())) == 1:
        raise DarwinError(
            "every seed gave the same loss: the genome ignores its seed",
            hint="train.py must call torch.manual_seed(...); the launcher adds the seed to it",
        )
    event = {
        "kind": "baseline",
        "island": world.history.island,
        "commit": commit,
        "tree": subject.tree,
        "protocol": world.trials.protocol,
        "measured": dict(measured),
        "agents": sorted(world.config.agents),
        "losses": losses,
        "s0": noise(list(losses.values())),
        "parameters": allowance.parameters,
        "trainings": len(losses),
        "seconds": round(seconds, 3),
    }
    state = start(event)
    moves = [Move(CHAMPION, None, commit)]
    moves += [Move(agent_ref(name), None, commit) for name in sorted(world.config.agents)]
    fitness = {
        "schema": "darwin-git/fitness/1",
        "generation": 0,
        "losses": losses,
        "s0": event["s0"],
        "allowance": allowance.__dict__,
    }
    world.history.settle(
        moves,
        0,
        [event],
        state,
        {"fitness/0000.json": (json.dumps(fitness, indent=1, sort_keys=True) + "\n").encode()},
        "Measure the baseline",
    )
    world.history.fold()
    return state


def _refuse_existing(world: World) -> None:
    """Somebody's branches where ours must go are named before anything is trained."""
    for ref in (CHAMPION, *(agent_ref(name) for name in sorted(world.config.agents))):
        if world.history.resolve(ref) is not None:
            name = ref.removeprefix("refs/heads/")
            raise DarwinError(
                f"the branch {name} exists, and there is no baseline in this repository",
                hint=f"git branch -m {name} old-{name.replace('/', '-')}, or work in a fresh clone",
            )


def _measured(
    world: World, subject: Subject, seeds: int
) -> Steps[tuple[Allowance, dict[str, float], float]]:
    screened = yield from measure.screen(world, subject, None, 0)
    _refuse_fault(screened)
    if screened.verdict is not Verdict.OK or screened.allowance is None:
        raise DarwinError(
            f"the genome cannot be measured: {screened.reason}" + _quoted(screened.log),
            hint=f"mend {_culprits(world)} in darwin.toml, commit, run this again",
        )
    results = yield from measure.replicates(
        world, subject, range(1, seeds + 1), screened.allowance, 0
    )
    bad = measure.failure(results)
    if bad is not None:
        _refuse_fault(next((r for r in results if r.verdict is Verdict.INFRA), bad))
        raise DarwinError(
            f"the baseline failed under seed {bad.seed}: {bad.verdict}: {bad.reason}"
            + _quoted(bad.log),
            hint="mend the genome or [budget] in darwin.toml, commit, and run this again",
        )
    losses = {str(r.seed): r.loss for r in results}
    return screened.allowance, losses, sum(r.seconds for r in results)


def _refuse_fault(found: Screened | Replicate) -> None:
    """A fault of infrastructure is nothing that the genome can be mended for."""
    if found.verdict is Verdict.INFRA:
        raise DarwinError(
            f"the baseline could not be measured: {found.reason}",
            hint="mend that and run this again; what was trained is kept",
        )


def _culprits(world: World) -> str:
    if world.config.genome.contract == "nanogpt":
        return "the genome or [genome]"
    return "the genome, the judge or [metric]"


def _quoted(log: str) -> str:
    tail = log.strip().splitlines()[-12:]
    return "".join(f"\n  | {line}" for line in tail)
