"""Lead a proposer's dialog: each question is reserved, asked, published, and only then used.

A question whose answer is in git already is not asked again: not after a kill, and not in the
replay of a recorded run.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import TypeVar

from darwin_git.config import Budget
from darwin_git.domain.account import Account, Allowed, Spend, total
from darwin_git.domain.exchange import Exchange, Reply, request_digest
from darwin_git.errors import SPENT, DarwinError
from darwin_git.ports import Ask, Dialog, History, Proposer, Slot
from darwin_git.steps.desk import Desk
from darwin_git.steps.drive import Call, Steps
from darwin_git.steps.world import World

R = TypeVar("R")


def open_account(
    history: History, budget: Budget, command: Allowed | None = None
) -> tuple[Account, float]:
    """The run's account as git has it, and the seconds that were trained so far.

    Args:
        command: what this command may spend at most.
    """
    state = history.state()
    before, trained = Spend(), 0.0
    if state is not None:
        # What an interrupted generation asked is paid, too.
        before = state.models.and_(spent_in(history.exchanges(f"{state.generation + 1:04d}")))
        trained = state.totals.train_seconds
    hours = budget.device_hours
    seconds = None if hours is None else hours * 3600
    whole = Allowed("[budget]", budget.model_tokens, budget.usd, seconds)
    return Account(before, whole, command or Allowed("this command")), trained


def led(world: World, variant: str, agent: str, proposer: Proposer, dialog: Dialog[R]) -> Steps[R]:
    """Lead a dialog to its end.

    Args:
        variant: ``0003/a2-on-a1``, where its exchanges are kept.

    Raises:
        DarwinError: the budget does not allow the next call (exit code 5), or a person must mend
            what a call needs (a refused key).
    """
    try:
        ask = next(dialog)
        while True:
            reply = yield from _answered(world, variant, agent, proposer, ask)
            ask = dialog.send(reply)
    except StopIteration as stop:
        result: R = stop.value
        return result


def unasked(dialog: Dialog[R]) -> R:
    """The result of a dialog that asks nobody."""
    try:
        next(dialog)
    except StopIteration as stop:
        result: R = stop.value
        return result
    raise AssertionError("a built-in proposer asks nobody")


def _answered(world: World, variant: str, agent: str, proposer: Proposer, ask: Ask) -> Steps[Reply]:
    desk, digest = world.desk, request_digest(ask.request)
    found = desk.recall(variant, digest)
    if found is not None:
        desk.published.setdefault(variant, []).append((world.history.publish(found), found))
        return found.reply
    recorded = _recorded(desk, variant, digest)
    ticket = _reserve(world, ask) if recorded is None else None
    number = recorded.number if recorded else desk.number(variant, digest)

    def perform(slot: Slot) -> Reply:
        if recorded is not None:
            desk.await_turn(recorded.order)
            return recorded.reply
        with world.executor.hold(proposer.gpu):
            return ask.perform(slot)

    def keep(reply: Reply) -> None:
        desk.order = recorded.order if recorded else desk.order + 1
        kept = (
            reply if recorded else replace(reply, usage=desk.with_outages(variant, digest, reply))
        )
        exchange = Exchange(
            variant, number, desk.order, agent, ask.purpose, ask.request, kept, digest
        )
        name = world.history.publish(exchange)
        if ticket is not None:
            world.account.settle(ticket, reply.usage)
        desk.published.setdefault(variant, []).append((name, exchange))
        desk.kept(exchange)
        world.tell("answer", variant=variant, agent=agent, exchange=exchange)

    world.tell("ask", variant=variant, agent=agent, purpose=ask.purpose)
    reply: Reply = (yield [Call(perform, keep, pool=ask.pool)])[0]
    return reply


def _recorded(desk: Desk, variant: str, digest: str) -> Exchange | None:
    if desk.recording is None:
        return None
    position = desk.used[variant] = desk.used.get(variant, 0) + 1
    found = desk.recording.answer(variant, digest, position)
    if found is None:
        raise DarwinError(
            f"the recording has no answer for question {position} of {variant}",
            hint="another version of darwin-git, or another darwin.toml, made the recording",
        )
    return found


def _reserve(world: World, ask: Ask) -> int:
    refusal = world.account.refusal(ask.most)
    if refusal:
        spent = world.account.total
        raise DarwinError(
            f"{refusal}; this call is not made. Spent so far: {spent_words(spent)}",
            hint="raise it, or go on without models: `darwin-git certify`, `darwin-git report`",
            exit_code=SPENT,
        )
    return world.account.reserve(ask.most)


def spent_words(spend: Spend) -> str:
    """What models took, in words."""
    words = f"{spend.calls} calls, {spend.tokens_in:,} tokens in, {spend.tokens_out:,} out"
    words += f", {spend.usd:.4f} USD"
    return words + (f" and {spend.unpriced} calls without a known price" if spend.unpriced else "")


def exchange_trailers(world: World, variant: str) -> dict[str, str]:
    """What the commit that follows says about the exchanges it came from, and forgets them."""
    published = world.desk.published.pop(variant, [])
    if not published:
        return {}
    spend = total(exchange.reply.usage for _, exchange in published)
    trailers = {"Darwin-Exchange": " ".join(name for name, _ in published)}
    if spend.calls:
        trailers["Darwin-Tokens"] = f"{spend.tokens_in} in, {spend.tokens_out} out"
        cost = "unknown" if spend.unpriced else f"{spend.usd:.6f}"
        trailers["Darwin-Cost-USD"] = cost
    return trailers


def spent_in(exchanges: Sequence[Exchange]) -> Spend:
    """What a generation's exchanges took."""
    return total(exchange.reply.usage for exchange in exchanges)
