"""An agent that is a program: a script, or a coding agent's command line, in a container.

It is started in a checkout of the target; what it changed there is its mutation. The container has
no key, no environment variable and no path of the host, and a network only where the person allowed
one. Nothing of the checkout is read by the host: a script beside the program lists what differs,
and that list is checked as a model's answer is.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from importlib import resources
from pathlib import Path
from typing import Any

from darwin_git import config
from darwin_git.agents.programs import folder as folders
from darwin_git.agents.programs.changes import CHANGES, MESSAGE, MOST_TEXT, Refused, Said, reply_of
from darwin_git.agents.programs.taken import Files, in_checkout, resolved, taken
from darwin_git.agents.programs.task import in_words, task
from darwin_git.domain.change import change_id
from darwin_git.domain.exchange import Purpose, Reply
from darwin_git.domain.learning.lesson import Reflection
from darwin_git.domain.quoting import line
from darwin_git.errors import DarwinError
from darwin_git.ports import (
    Ask,
    Assignment,
    Command,
    Declined,
    Dialog,
    File,
    Limits,
    Proposal,
    Repair,
    Review,
    Runner,
    Slot,
)
from darwin_git.ports.history import Conflict
from darwin_git.ports.runner import PROGRAM


class ProgramAgent:
    """A Proposer that runs a person's program; see examples/script_agent.

    Args:
        name: the agent.
        chosen: its table of darwin.toml.
        runner: where the program runs; None in a replay, where every answer is recorded and the
            program need not be there.
        folder: the program's own folder, mounted read-only; None where it needs none.
        limits: of one run, but for its time, which is `chosen.seconds`.

    Raises:
        DarwinError: the folder cannot be taken, or the table asks for what cannot be had.
    """

    signature = "command"
    builtin = False
    gpu = None

    def __init__(
        self,
        name: str,
        chosen: config.Agent,
        runner: Runner | None,
        *,
        folder: Path | None,
        limits: Limits,
    ) -> None:
        self._name = name
        self._chosen = chosen
        self._runner = runner
        self._folder = None if folder is None or runner is None else folders.read(folder)
        self._digest = "" if self._folder is None else self._folder.digest
        self._limits = replace(limits, wall_seconds=chosen.seconds)
        if folder is None and any("{program}" in word for word in chosen.command):
            raise DarwinError(
                f"agents.{name}: its command names {{program}}, and it has no program",
                hint=f'set program = "<folder>" under [agents.{name}]',
            )
        if chosen.image and runner is not None and runner.kind == "process":
            raise DarwinError(
                f"agents.{name}: an image needs containers, and this run has none",
                hint='set sandbox.runner = "docker", or leave the image out',
            )

    # --- the dialogs ---------------------------------------------------------------------------

    def propose(self, assignment: Assignment) -> Dialog[Proposal | Declined]:
        """One run on the target's files."""
        told = task("propose", self._name, assignment)
        reply = yield self._ask("propose", assignment, assignment.files, told)
        try:
            changes, said = taken(reply, assignment.files, assignment.scope)
        except Refused as error:
            return _declined(reply, error)
        return self._proposal(assignment.files, changes, said, reply)

    def repair(self, assignment: Assignment, broken: Repair) -> Dialog[Proposal | Declined]:
        """One run on the variant's files, with the failure in the task."""
        present = _with(assignment.files, broken.proposal.files)
        told = task("repair", self._name, assignment, broken=broken)
        reply = yield self._ask("repair", assignment, present, told)
        try:
            changes, said = taken(reply, present, assignment.scope)
        except Refused as error:
            return _declined(reply, error)
        whole = _difference(assignment.files, _with(present, changes))
        if not whole:
            return Declined("it took its whole mutation back")
        said = replace(said, idea=broken.proposal.idea, subject=said.subject or _mended(broken))
        return self._proposal(assignment.files, whole, said, reply)

    def resolve(
        self, assignment: Assignment, conflicts: Sequence[Conflict]
    ) -> Dialog[Mapping[str, str] | Declined]:
        """One run with the conflict markers in the checkout."""
        marked = {conflict.path: in_checkout(conflict) for conflict in conflicts}
        present = _with(assignment.files, marked)
        told = task("resolve", self._name, assignment, conflicts=conflicts)
        reply = yield self._ask("resolve", assignment, present, told)
        try:
            changes, _ = taken(reply, present, assignment.scope)
            return resolved(_with(present, changes), changes, conflicts)
        except Refused as error:
            return _declined(reply, error)

    def reflect(self, review: Review) -> Dialog[Reflection | Declined]:
        """A program writes no lessons."""
        yield from ()
        return Declined("a program writes no lessons")

    # --- one run -------------------------------------------------------------------------------

    def _ask(
        self,
        purpose: Purpose,
        assignment: Assignment,
        files: Mapping[str, str],
        told: Mapping[str, Any],
    ) -> Ask:
        digests = {path: _digest(text) for path, text in files.items()}
        request = {
            "kind": "command",
            "program": self._digest,
            "command": list(self._chosen.command),
            "image": self._chosen.image,
            "network": self._chosen.network,
            "seconds": self._chosen.seconds,
            "checkout": _digest(json.dumps(digests, sort_keys=True)),
            "task": told,
        }
        label = f"the program of {self._name} for {assignment.variant}"
        return Ask(purpose, request, partial(self._run, label, files, told, digests), pool="slots")

    def _run(
        self,
        label: str,
        files: Mapping[str, str],
        told: Mapping[str, Any],
        digests: Mapping[str, str],
        slot: Slot,
    ) -> Reply:
        if self._runner is None:
            raise DarwinError(
                f"the replay asks {label}, and nobody runs it in a replay",
                hint="another version of darwin-git, or another darwin.toml, made the recording",
            )
        run = {"command": list(self._chosen.command), "before": digests, "most": MOST_TEXT}
        tools = {
            "mutate.py": _inside("mutate.py"),
            "run.json": json.dumps(run).encode(),
            "task.json": json.dumps(told, indent=1).encode(),
            "TASK.md": in_words(told).encode(),
        }
        with ExitStack() as stack:
            try:
                data = stack.enter_context(self._beside())
            except OSError as error:
                return Reply("infra", reason=f"its folder cannot be copied: {error.strerror}")
            command = Command(
                label=label,
                trusted=False,
                genome={path: File(text.encode()) for path, text in files.items()},
                tools=tools,
                argv=("{python}", "{tools}/mutate.py", "{out}"),
                limits=self._limits,
                data=data,
                artifacts={},
                keep=(CHANGES, MESSAGE),
                network=self._chosen.network,
                image=self._chosen.image,
            )
            # A GPU is for trainings: there is no data here that one could train on.
            finished = self._runner.run(command, replace(slot, gpu=None))
        try:
            return replace(reply_of(finished, files), model=f"program {self._digest[:12]}".strip())
        finally:
            finished.outputs.discard()

    @contextmanager
    def _beside(self) -> Iterator[dict[str, Path]]:
        if self._folder is None:
            yield {}
            return
        with self._folder.copied() as copy:
            yield {PROGRAM: copy}

    def _proposal(
        self, before: Mapping[str, str], changes: Files, said: Said, reply: Reply
    ) -> Proposal:
        idea = said.idea or f"{self._name}-{change_id(before, changes)[:8]}"
        paths = sorted(changes)
        some = ", ".join(paths[:2]) + (f" and {len(paths) - 2} more" if len(paths) > 2 else "")
        return Proposal(
            files=changes,
            idea=idea,
            subject=said.subject or f"Change {some}",
            hypothesis=said.why or f"The program of {self._name} did not say why.",
            expected=said.expected,
            trailers={"Darwin-Operator": line(reply.model, 60)},
        )


# --- files ---------------------------------------------------------------------------------------


def _declined(reply: Reply, error: Refused) -> Declined:
    return Declined(str(error), infra=reply.status == "infra")


def _mended(broken: Repair) -> str:
    return f"Repair: {broken.proposal.subject}"


def _with(files: Mapping[str, str], changes: Files) -> dict[str, str]:
    changed = {**files, **changes}
    return {path: text for path, text in changed.items() if text is not None}


def _difference(before: Mapping[str, str], after: Mapping[str, str]) -> dict[str, str | None]:
    gone: dict[str, str | None] = dict.fromkeys(path for path in before if path not in after)
    return gone | {path: text for path, text in after.items() if before.get(path) != text}


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _inside(script: str) -> bytes:
    """One of the scripts that run behind the wall."""
    return resources.files("darwin_git.agents.inside").joinpath(script).read_bytes()
