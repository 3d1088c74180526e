"""A proposer that asks: its questions are answered by a function of the test."""

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from darwin_git.domain.exchange import Purpose, Reply, Usage
from darwin_git.domain.learning.lesson import Draft, Reflection
from darwin_git.ports import (
    Ask,
    Assignment,
    Conflict,
    Declined,
    Dialog,
    Proposal,
    Repair,
    Review,
    Slot,
)

Answer = Callable[[Mapping[str, Any]], Reply | str]
PRICE = Usage(tokens_in=100, tokens_out=50, usd=0.01, counted="api", calls=1)


def line(idea: str, effect: float) -> str:
    """What the free trials read: a gain of `effect` nats."""
    return f"idea_{idea} = {effect}\n"


@dataclass
class Talker:
    """Adds the answered text to train.py; everything it knows is in the request."""

    answer: Answer
    asked: list[Mapping[str, Any]] = field(default_factory=list)
    most: Usage = PRICE
    signature: str = "talker-1"
    builtin: bool = False
    gpu: str | None = None
    lock: Any = field(default_factory=threading.Lock)

    def ask(self, purpose: Purpose, **request: Any) -> Ask:
        def perform(slot: Slot) -> Reply:
            with self.lock:
                self.asked.append(request)
            reply = self.answer(request)
            return Reply("ok", reply, PRICE) if isinstance(reply, str) else reply

        return Ask(purpose, request, perform, self.most)

    def propose(self, assignment: Assignment) -> Dialog[Proposal | Declined]:
        refusals = [refusal.reason for refusal in assignment.refusals]
        reply = yield self.ask(
            "propose",
            variant=assignment.variant,
            mutator=assignment.mutator,
            refusals=refusals,
            lessons=[lesson.text for lesson in assignment.lessons],
            past=[one.subject for one in assignment.past],
            loss=assignment.fitness.loss if assignment.fitness else None,
        )
        if reply.status == "infra":
            return Declined(reply.reason, infra=True)
        return self.proposal(assignment.files["train.py"] + reply.text, reply.text)

    def proposal(self, text: str, added: str) -> Proposal:
        idea = added.split("idea_")[-1].split(" ")[0].strip() or "nothing"
        return Proposal(
            {"train.py": text},
            idea,
            f"Try {idea}",
            "It may help.",
            "a little",
            {"Darwin-Model": self.signature, "Darwin-Idea": idea, "Darwin-Repair": "99"},
        )

    def repair(self, assignment: Assignment, broken: Repair) -> Dialog[Proposal | Declined]:
        before = broken.proposal.files["train.py"] or ""
        reply = yield self.ask(
            "repair",
            variant=assignment.variant,
            attempt=broken.attempt,
            failure=broken.failure.failure,
            log=broken.failure.log,
        )
        if reply.status == "infra":
            return Declined(reply.reason, infra=True)
        return self.proposal(before.replace("syntax error\n", "") + reply.text, reply.text)

    def resolve(
        self, assignment: Assignment, conflicts: Sequence[Conflict]
    ) -> Dialog[Mapping[str, str] | Declined]:
        marked = {conflict.path: conflict.marked for conflict in conflicts}
        reply = yield self.ask("resolve", variant=assignment.variant, marked=marked)
        return dict.fromkeys(marked, reply.text)

    def reflect(self, review: Review) -> Dialog[Reflection | Declined]:
        reply = yield self.ask(
            "reflect",
            trials=[one.idea for one in review.trials],
            lessons=[one.text for one in review.lessons],
        )
        return Reflection((Draft("recipe", reply.text, ("talk",)),))
