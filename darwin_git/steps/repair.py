"""Show the mutator what went wrong with its mutation; what it mends is one more commit."""

from collections.abc import Mapping
from dataclasses import replace

from darwin_git.domain.planning import Plan, Planned
from darwin_git.domain.population import State
from darwin_git.domain.quoting import line
from darwin_git.domain.trial import Screened, Verdict
from darwin_git.ports import Declined, Proposal, Repair
from darwin_git.steps.brief import assignment
from darwin_git.steps.drive import Steps
from darwin_git.steps.exchange import led
from darwin_git.steps.propose import Made, commit
from darwin_git.steps.world import World

REASON = 200
"""Characters of a failure's reason in a trailer."""


def repair(
    world: World, state: State, plan: Plan, planned: Planned, made: Made, failed: Screened
) -> Steps[Made | Declined]:
    """One attempt, as long as there are any; a cheat gets none."""
    most = world.config.repair.attempts
    if planned.how != "mutate" or made.repairs >= most or failed.verdict is Verdict.CHEATED:
        return Declined(failed.reason)
    proposer = world.proposers[planned.mutator]
    if proposer.builtin:
        return Declined(failed.reason)
    task = assignment(world, state, plan, planned)
    now: Mapping[str, str] = world.history.files(made.commit)
    changes: dict[str, str | None] = {
        path: text for path, text in now.items() if task.files.get(path) != text
    }
    changes |= {path: None for path in task.files if path not in now}
    previous = Proposal(changes, made.idea, made.subject, "", "", {})
    broken = Repair(previous, failed, made.repairs + 1, most)
    world.tell("repair", variant=task.variant, agent=planned.mutator, failure=failed)
    dialog = proposer.repair(task, broken)
    answer = yield from led(world, task.variant, planned.mutator, proposer, dialog)
    if isinstance(answer, Declined):
        return answer
    failures = (*made.failures, failed.failure or "other")
    reason = line(failed.reason, REASON)
    more = {
        "Darwin-Repair": str(broken.attempt),
        "Darwin-Mutation": made.subject,
        "Darwin-Failures": " ".join(failures),
        "Darwin-Mended": reason,
        "Darwin-Memory": " ".join(made.lessons),
    }
    mended = commit(world, plan, planned, answer, more)
    if isinstance(mended, Declined):
        return mended
    return replace(
        made,
        commit=mended.commit,
        repairs=broken.attempt,
        failures=failures,
        mended=reason,
        repair=mended.subject,
    )
