"""Requests' messages: rendered from an assignment within a budget of tokens, and nothing else.

The same assignment gives the same text. Files are shown whole or only named, since edits must
find their anchors; what is left out first stands in parts.py.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from darwin_git.agents.llm import context, evidence, words
from darwin_git.agents.llm.merge import Merge
from darwin_git.agents.llm.parts import FRAME, Item, Parts, TooLong, fitted
from darwin_git.agents.llm.strategies import strategy
from darwin_git.domain.answers.conflicts import Hunk
from darwin_git.domain.learning.retrieval import retrieve, words_of
from darwin_git.domain.quoting import enclose, exact, line, quote
from darwin_git.ports.agents import Assignment, Refusal, Repair, Review

if TYPE_CHECKING:
    from jinja2 import Environment

MESSAGE = 8
"""Tokens that a server puts around a message, generously."""
LOG = 6_000
REASON = 1_000
DIFF = 8_000
REFUSED_DIFF = 2_000
PAST = 24
LESSONS = 3
"""New lessons of one reflection."""
KNOWN = 16
"""Known lessons that a reflection sees."""
_IDEAS = 40
_SECTIONS = 6
"""Of a prompt's parts, each with a heading."""
_NO_NAME = re.compile(r"[^A-Za-z0-9._+-]+")

ADVICE = {
    "syntax": "The code does not parse.",
    "import": "Only what the image has can be imported: torch, numpy and the standard library.",
    "shape": "Follow the shape of each tensor through the changed lines.",
    "oom": "It needed more memory than it may have.",
    "nan": "The loss was not finite: look for a division, a logarithm or a rate that is too high.",
    "timeout": "It took too long: look for a loop in Python or work that grew.",
    "rule": "A rule was broken; the reason names it.",
}


@dataclass(frozen=True)
class Rendered:
    """Two messages.

    Attributes:
        tokens: of both, counted piece by piece, which is never less than at once.
        unseen: files that exist and are not shown: nobody can edit them.
    """

    system: str
    user: str
    tokens: int
    unseen: frozenset[str] = frozenset()


class Prompts:
    """Writes an agent's prompts.

    Args:
        agent: its name.
        chosen: its strategy, in darwin.toml's words.
        count: tokens of a text.
        answer_form, conflict_form: how answers must look, as their parsers say.
    """

    def __init__(
        self,
        agent: str,
        chosen: str,
        count: Callable[[str], int],
        answer_form: str,
        conflict_form: str,
    ) -> None:
        self._agent = agent
        self._strategy = strategy(chosen)
        self._forms = (answer_form.strip(), conflict_form.strip())
        self.count = count
        # Files, history and lessons come again with every prompt.
        self._file = lru_cache(1024)(self._enclosed)
        self._past_item = lru_cache(4096)(partial(words.past, count=count))
        self._lesson_item = lru_cache(1024)(partial(words.lesson, count=count))

    def propose(self, assignment: Assignment, room: int) -> Rendered:
        """A new mutation. Raises TooLong where `room` tokens are too few."""
        values = {
            "strategy": self._strategy,
            "variant": assignment.variant,
            "target": assignment.target,
            "train": " ".join(assignment.train) if assignment.contract == "nanogpt" else "",
            "fitness": words.fitness(assignment.fitness, assignment.metric),
            "present": _ideas(assignment.present),
            "tried": _ideas(assignment.tried),
            "refusals": [_refusal(assignment, one) for one in assignment.refusals],
        }
        parts = Parts(
            self._past(assignment),
            self._lessons(assignment),
            tuple(words.peer(one, assignment.metric, self.count) for one in assignment.peers),
            *self._files(assignment, assignment.files, room),
        )
        return self._rendered("propose.j2", self._system(assignment), values, parts, room)

    def repair(self, assignment: Assignment, broken: Repair, room: int) -> Rendered:
        """The same mutation, mended; the files are shown as it left them."""
        proposal, failure = broken.proposal, broken.failure
        present = as_left(assignment, proposal.files)
        diff = evidence.difference(assignment.files, proposal.files, DIFF)
        places = evidence.places(f"{failure.reason}\n{failure.log}", present)
        values = {
            "variant": assignment.variant,
            "target": assignment.target,
            "idea": _idea(proposal.idea),
            "attempt": broken.attempt,
            "most": broken.most,
            "verdict": str(failure.verdict),
            "failure": failure.failure,
            "advice": ADVICE.get(failure.failure, ""),
            "reason": quote(failure.reason, REASON, label="reason"),
            "log": quote(failure.log, LOG, label="log") if failure.log else "",
            "places": enclose(exact(places), label="traceback") if places else "",
            "diff": enclose(exact(diff), label="diff") if diff else "",
        }
        parts = Parts((), self._lessons(assignment), (), *self._files(assignment, present, room))
        return self._rendered("repair.j2", self._system(assignment), values, parts, room)

    def resolve(self, assignment: Assignment, merge: Merge, room: int) -> Rendered:
        """A merge's conflicts, and the whole files where there is room."""
        values = {
            "variant": assignment.variant,
            "target": assignment.target,
            "hunks": [_hunk(*one) for one in merge.numbered],
        }
        whole = (
            context.File(path, False, False, len(text), *self._file(f"file {path}", text))
            for path, text in merge.marked.items()
        )
        system = self._system(assignment, self._forms[1])
        return self._rendered("resolve.j2", system, values, Parts(shown=tuple(whole)), room)

    def reflect(self, review: Review, room: int) -> Rendered:
        """A generation's outcomes, and the lessons that speak of the same things.

        A long run has hundreds of lessons: those that cannot be contradicted are not shown.
        """
        words_seen = words_of(
            (one.idea for one in review.trials), (), (one.outcome for one in review.trials)
        )
        known = {one.id: one for one in review.lessons}
        told = retrieve(known, words_seen, limit=KNOWN, per_kind=KNOWN)
        values = {
            "generation": review.generation,
            "unit": review.metric.unit,
            "most": LESSONS,
        }
        trials = tuple(self._past_item(one, review.metric, "") for one in review.trials)
        lessons = tuple(self._lesson_item(one) for one in told)
        system = _render("reflector.j2", {"agent": self._agent}).strip()
        return self._rendered("reflect.j2", system, values, Parts(trials, lessons), room)

    def _system(self, assignment: Assignment, form: str = "") -> str:
        scope = assignment.scope
        values = {
            "agent": self._agent,
            "gpt": assignment.contract == "nanogpt",
            "metric": assignment.metric,
            "mutable": "any file" if "**" in scope.mutable else ", ".join(scope.mutable),
            "protected": ", ".join((*scope.protected, "darwin.toml", "what begins with .git")),
            "frozen": ", ".join(sorted(assignment.frozen)),
            "rules": assignment.rules,
            "format": form or self._forms[0],
        }
        return _render("system.j2", values).strip()

    def _rendered(
        self, template: str, system: str, values: Mapping[str, Any], parts: Parts, room: int
    ) -> Rendered:
        """Render without the parts to know what else it takes, then with those that fit."""
        bare = _render(template, {**values, **_blocks(Parts())})
        frames = FRAME * _SECTIONS + 2 * MESSAGE
        fixed = self.count(system) + self.count(bare) + frames
        try:
            kept = fitted(parts, room - fixed)
        except TooLong as error:
            raise TooLong(error.needed + fixed) from None
        user = _render(template, {**values, **_blocks(kept)}).strip()
        unseen = frozenset(file.path for file in kept.named)
        return Rendered(system, user, fixed + kept.tokens, unseen)

    def _files(
        self, assignment: Assignment, files: Mapping[str, str], room: int
    ) -> tuple[tuple[context.File, ...], tuple[context.File, ...]]:
        """Files that are worth showing, and those that are only named."""

        def may(path: str) -> bool:
            return path in assignment.mutable or assignment.scope.allows(path)

        rows = context.laid_out(files, assignment.train, may, self._file, room)
        shown = tuple(row for row in rows if row.block)
        return shown, tuple(row for row in rows if not row.block)

    def _enclosed(self, label: str, text: str) -> tuple[str, int]:
        block = enclose(exact(text), label=label)
        return block, self.count(block)

    def _past(self, assignment: Assignment) -> tuple[Item, ...]:
        def lately(here: bool) -> list[Item]:
            known = [one for one in assignment.past if (one.target == assignment.target) is here]
            return [
                self._past_item(one, assignment.metric, assignment.target) for one in known[-PAST:]
            ]

        return (*lately(True), *lately(False))

    def _lessons(self, assignment: Assignment) -> tuple[Item, ...]:
        return tuple(self._lesson_item(one) for one in assignment.lessons)


def as_left(assignment: Assignment, changes: Mapping[str, str | None]) -> dict[str, str]:
    """The assignment's files with a mutation's changes in them."""
    files = {**assignment.files, **changes}
    return {path: text for path, text in files.items() if text is not None}


def _blocks(parts: Parts) -> dict[str, Any]:
    """The parts as the templates name them."""
    return {
        "parts": parts,
        "here": _listed([item for item in parts.past if item.here], "history"),
        "elsewhere": _listed([item for item in parts.past if not item.here], "history elsewhere"),
        "trials": _listed(parts.past, "outcomes"),
        "peers": _listed(parts.peers, "agents"),
        "lessons": _listed(parts.lessons, "lessons"),
    }


def _listed(items: Sequence[Item], label: str) -> str:
    return enclose("\n".join(f"- {item.text}" for item in items), label=label) if items else ""


def _refusal(assignment: Assignment, one: Refusal) -> str:
    changes = evidence.difference(assignment.files, one.proposal.files, REFUSED_DIFF)
    title = f"{line(one.proposal.subject, 100)} [{line(one.proposal.idea, 60)}]"
    text = f"{title}\nnot taken, because {line(one.reason, 600)}\n{exact(changes)}"
    return enclose(text, label="proposal")


def _hunk(number: int, path: str, hunk: Hunk) -> str:
    """A conflict as git shows it."""
    text = (
        f"{hunk.before}<<<<<<< ours\n{hunk.ours}||||||| before both\n{hunk.base}"
        f"=======\n{hunk.theirs}>>>>>>> theirs\n{hunk.after}"
    )
    return enclose(exact(text), label=f"conflict {number} in {path}")


def _idea(name: str) -> str:
    """An idea's name between words of ours: no white space, so it is no sentence."""
    return _NO_NAME.sub("-", line(name, 60))


def _ideas(names: frozenset[str]) -> str:
    shown = [_idea(name) for name in sorted(names)]
    more = f" and {len(shown) - _IDEAS} more" if len(shown) > _IDEAS else ""
    return ", ".join(shown[:_IDEAS]) + more


@cache
def _environment() -> "Environment":
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    made = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "prompts"),
        undefined=StrictUndefined,
        auto_reload=False,
        autoescape=False,  # prose for a model, no HTML
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.globals["named_most"] = context.NAMED
    return made


def _render(template: str, values: Mapping[str, Any]) -> str:
    return _environment().get_template(template).render(values)
