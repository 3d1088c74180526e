"""What `certify` and `run` did, as the data that `--json` prints."""

from dataclasses import asdict

from darwin_git.commands.evolve import Run
from darwin_git.commands.read import Data, schema
from darwin_git.domain.claim import Claim
from darwin_git.domain.metric import Metric


def certified(claim: Claim, metric: Metric) -> Data:
    """A certificate; ``decision`` is None where the best tip is the champion already."""
    decision = claim.decision
    return {
        "schema": schema("certify"),
        "metric": metric.to_json(),
        "agent": claim.agent,
        "decision": None
        if decision is None
        else {
            **asdict(decision),
            "status": str(decision.status),
            "change": metric.change(decision.mean),
        },
        "race": claim.race,
        "final": claim.final,
        "final_values": None if claim.values is None else list(claim.values),
        "scale": None if claim.scale is None else claim.scale.to_json(),
        "scale_bound": claim.scale_bound,
        "reverted": list(claim.reverted),
        "moved": claim.moved,
    }


def ran(done: Run, metric: Metric) -> Data:
    """The generations that one `run` closed, why it ended, its certificate."""
    return {
        "schema": schema("run"),
        "generations": [one.plan.generation for one in done.generations],
        "ended": done.ended,
        "exit_code": done.exit_code,
        "certificate": None if done.claim is None else certified(done.claim, metric),
    }
