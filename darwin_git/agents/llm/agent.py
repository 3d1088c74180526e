"""The language model as a proposer: dialogs that ask, read the answer, and ask again where needed.

Everything a model writes is hostile: it becomes edits that apply exactly, names and sentences that
are bounded and clean, or a refusal that goes back to the model.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, TypeVar

from darwin_git.agents.llm import reflection
from darwin_git.agents.llm.merge import Merge
from darwin_git.agents.llm.parts import TooLong
from darwin_git.agents.llm.prices import Price, cost
from darwin_git.agents.llm.prompt import LESSONS, MESSAGE, Prompts, Rendered, as_left
from darwin_git.config import Agent
from darwin_git.config import Repair as Limits
from darwin_git.domain.answers import conflicts, edits
from darwin_git.domain.answers import parse as answer
from darwin_git.domain.exchange import Purpose, Reply, Usage
from darwin_git.domain.learning.lesson import Reflection
from darwin_git.domain.quoting import cut, enclose, exact, hidden, line
from darwin_git.ports.agents import (
    Ask,
    Assignment,
    Declined,
    Dialog,
    Proposal,
    Repair,
    Review,
)
from darwin_git.ports.history import Conflict

R = TypeVar("R")

EARLIER = (24_000, 2_000)
"""Characters of an earlier answer that a model sees again; the second where those are too many."""
PROBLEM = 8_000
HYPOTHESIS = 2_000
EXPECTED = 600
WIDTH = 72
SIGNATURE = 60


class Chat(Protocol):
    """What an agent needs of a client."""

    @property
    def price(self) -> Price | None:
        """Of its model's tokens, None where nobody knows it."""

    def complete(self, request: Mapping[str, Any]) -> Reply:
        """Ask once, retries included."""


class Counter(Protocol):
    """Counts tokens."""

    def count(self, text: str) -> int:
        """Of one text."""


class Unusable(Exception):
    """An answer that cannot be used.

    Args:
        reason: why, for people; cleaned where it is shown.
        message: what the model that wrote it is told; our own words and quotations.
    """

    def __init__(self, reason: str, message: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.message = message or reason


class LLMAgent:
    """A Proposer that asks a model.

    Args:
        name: of the agent.
        chosen: its section of darwin.toml.
        limits: how often it may answer again.
        chat: asks; only ever called on the driver's threads.
        signature: signs its commits; the model's name where it is None.
    """

    builtin = False

    def __init__(
        self,
        name: str,
        chosen: Agent,
        limits: Limits,
        chat: Chat,
        counter: Counter,
        *,
        signature: str | None = None,
    ) -> None:
        self.signature = line(signature or chosen.model, SIGNATURE)
        self.gpu = chosen.gpu or None
        self._name = name
        self._chosen = chosen
        self._again = limits.answers
        self._chat = chat
        self._counter = counter
        self._prompts = Prompts(
            name, chosen.strategy, counter.count, answer.FORMAT, conflicts.FORMAT
        )

    def propose(self, assignment: Assignment) -> Dialog[Proposal | Declined]:
        """One idea, applied; asked again where the edits do not apply."""

        def read(reply: Reply, prompt: Rendered) -> Proposal:
            said, changes = self._changes(reply, assignment, assignment.files, prompt)
            return self._proposal(changes, said.idea, line(said.title, WIDTH), said)

        return (
            yield from self._converse(
                "propose", lambda room: self._prompts.propose(assignment, room), read
            )
        )

    def repair(self, assignment: Assignment, broken: Repair) -> Dialog[Proposal | Declined]:
        """The same idea, mended: all changes together, against the assignment's files."""
        before = broken.proposal
        present = as_left(assignment, before.files)

        def read(reply: Reply, prompt: Rendered) -> Proposal:
            said, changes = self._changes(reply, assignment, present, prompt)
            if as_left(assignment, {**before.files, **changes}) == dict(assignment.files):
                problem = "it takes the whole mutation back: mend it and keep its idea"
                raise Unusable(problem, _problem(problem))
            subject = line(said.title, WIDTH)
            if subject == before.subject:
                subject = line(f"Mend: {subject}", WIDTH)
            return self._proposal({**before.files, **changes}, before.idea, subject, said)

        return (
            yield from self._converse(
                "repair", lambda room: self._prompts.repair(assignment, broken, room), read
            )
        )

    def resolve(
        self, assignment: Assignment, met: Sequence[Conflict]
    ) -> Dialog[Mapping[str, str] | Declined]:
        """All conflicts of a merge, hunk by hunk, in one answer."""
        try:
            merge = Merge.of(met)
        except conflicts.ConflictsRefused as error:
            return Declined(line(error.reason, 300))

        def read(reply: Reply, _: Rendered) -> Mapping[str, str]:
            self._whole(reply)
            try:
                return merge.resolved(reply.text)
            except conflicts.ConflictsRefused as error:
                raise Unusable(error.reason, _problem(error.reason)) from None

        return (
            yield from self._converse(
                "resolve",
                lambda room: self._prompts.resolve(assignment, merge, room),
                read,
            )
        )

    def reflect(self, review: Review) -> Dialog[Reflection | Declined]:
        """Lessons from a generation; an answer that cannot be read teaches nothing."""

        def read(reply: Reply, _: Rendered) -> Reflection:
            return reflection.read(reply.text, {one.id for one in review.lessons}, LESSONS)

        return (
            yield from self._converse(
                "reflect", lambda room: self._prompts.reflect(review, room), read
            )
        )

    def _converse(
        self,
        purpose: Purpose,
        prompt: Callable[[int], Rendered],
        read: Callable[[Reply, Rendered], R],
    ) -> Dialog[R | Declined]:
        """Ask, and ask again in the same conversation while the answer cannot be used."""
        said: list[tuple[str, str]] = []
        reason = ""
        for turn in range(self._again + 1):
            try:
                rendered, messages = self._messages(prompt, said)
            except TooLong as error:
                return Declined(self._too_long(error.needed))
            reply = yield self._ask("format" if turn else purpose, messages, rendered.tokens)
            if reply.status != "ok":
                return Declined(line(reply.reason, 300) or "no answer", infra=True)
            try:
                return read(reply, rendered)
            except Unusable as error:
                said.append((reply.text, error.message))
                reason = line(error.reason.partition("\n")[0], 300)
        return Declined(
            f"none of its {len(said)} answers could be used, the last one because {reason}"
        )

    def _messages(
        self, prompt: Callable[[int], Rendered], said: Sequence[tuple[str, str]]
    ) -> tuple[Rendered, list[dict[str, str]]]:
        """The conversation so far; what came before is kept within the context, too."""
        room = self._chosen.context_tokens
        for limit in EARLIER:
            later: list[dict[str, str]] = []
            for text, problem in said:
                # Never empty: some servers refuse a message without a text.
                earlier = cut(exact(text[: 4 * limit]), limit).strip() or "(no text)"
                later.append({"role": "assistant", "content": earlier})
                later.append({"role": "user", "content": problem})
            taken = sum(self._counter.count(one["content"]) + MESSAGE for one in later)
            try:
                rendered = prompt(room - taken)
            except TooLong as error:
                needed = error.needed + taken
                continue
            first = [
                {"role": "system", "content": rendered.system},
                {"role": "user", "content": rendered.user},
            ]
            whole = Rendered(
                rendered.system, rendered.user, rendered.tokens + taken, rendered.unseen
            )
            return whole, first + later
        raise TooLong(needed)

    def _ask(self, purpose: Purpose, messages: list[dict[str, str]], tokens: int) -> Ask:
        chosen = self._chosen
        request: dict[str, Any] = {
            "model": chosen.model,
            "messages": messages,
            "max_tokens": chosen.answer_tokens,
            **chosen.parameters,
        }
        if chosen.temperature is not None:
            request["temperature"] = chosen.temperature
        # A retry of an empty or broken answer is paid for like the first attempt.
        attempts = chosen.retries + 1
        usd = cost(self._chat.price, tokens, chosen.answer_tokens)
        return Ask(
            purpose,
            request,
            lambda _: self._chat.complete(request),
            Usage(
                attempts * tokens,
                attempts * chosen.answer_tokens,
                None if usd is None else attempts * usd,
            ),
        )

    def _changes(
        self,
        reply: Reply,
        assignment: Assignment,
        files: Mapping[str, str],
        prompt: Rendered,
    ) -> tuple[answer.Answer, dict[str, str | None]]:
        """The answer and what it changes in `files`; raises Unusable."""
        self._whole(reply)
        try:
            said = answer.parse(reply.text, sorted(files))
            changes = edits.apply(files, said.edits, assignment.scope)
        except answer.AnswerRefused as error:
            raise Unusable(error.reason, _problem(error.reason)) from None
        except edits.EditsRefused as error:
            problems = "\n\n".join(error.problems)
            raise Unusable(problems, _problem(problems)) from None
        blind = sorted(prompt.unseen & changes.keys())
        if blind:
            problem = f"{line(', '.join(blind), 300)} was not shown to you: leave it as it is"
            raise Unusable(problem, _problem(problem))
        return said, changes

    def _whole(self, reply: Reply) -> None:
        if reply.finish == "length":
            took = reply.usage.tokens_out or self._chosen.answer_tokens
            most = self._chosen.answer_tokens
            raise Unusable(
                f"it was cut off after {took:,} tokens, where answer_tokens allows {most:,}",
                f"Your answer was cut off after {took:,} tokens, so nothing of it was used. "
                "Answer again, shorter: the edits only, with few lines around each change.",
            )

    def _proposal(
        self, files: Mapping[str, str | None], idea: str, subject: str, said: answer.Answer
    ) -> Proposal:
        return Proposal(
            files=files,
            idea=idea,
            subject=subject,
            hypothesis=_prose(said.why, HYPOTHESIS),
            expected=_prose(said.expected, EXPECTED),
            trailers={"Darwin-Model": self.signature, "Darwin-Idea": idea},
        )

    def _too_long(self, needed: int) -> str:
        return (
            f"the prompt needs {needed:,} tokens and agents.{self._name}.context_tokens is "
            f"{self._chosen.context_tokens:,}: raise it in darwin.toml"
        )


def _prose(text: str, limit: int) -> str:
    return cut(hidden(text[: 8 * limit]), limit).strip()


def _problem(reason: str) -> str:
    """What is wrong with an answer; it quotes the files and the answer, so it is quoted as well."""
    quoted = enclose(cut(exact(reason), PROBLEM), label="problems")
    return f"Your answer could not be used, and nothing of it was:\n{quoted}\nAnswer again in full."
