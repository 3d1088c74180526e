"""What of a program's changes may become a mutation: judged where a model's edits are judged."""

from collections.abc import Mapping, Sequence

from darwin_git.agents.programs.changes import Refused, Said, changes_of
from darwin_git.domain.answers.edits import Edit, EditsRefused, apply, check
from darwin_git.domain.exchange import Reply
from darwin_git.domain.quoting import line
from darwin_git.domain.scope import Scope
from darwin_git.ports.history import Conflict

Files = Mapping[str, str | None]

_MARKERS = ("<" * 7, "|" * 7, ">" * 7)


def taken(reply: Reply, before: Mapping[str, str], scope: Scope) -> tuple[Files, Said]:
    """The changes of a reply, each of them allowed; raises Refused."""
    if reply.status == "infra":
        raise Refused(reply.reason)
    changes, said = changes_of(reply)
    edits = [
        Edit(path, "delete") if text is None else Edit(path, "write", text=text)
        for path, text in sorted(changes.items())
        if text is None or _lines(text) != _lines(before.get(path))
    ]
    if not edits:
        raise Refused("it changed nothing")
    try:
        return apply(before, edits, scope), said
    except EditsRefused as error:
        raise Refused(line(error.problems[0], 300)) from None


def resolved(
    after: Mapping[str, str], changes: Files, conflicts: Sequence[Conflict]
) -> dict[str, str]:
    """All conflicting files; raises Refused where one is open, or another file was touched."""
    paths = {conflict.path for conflict in conflicts}
    for path in sorted(changes.keys() - paths):
        raise Refused(f"it changed {path}, which is not in conflict")
    for conflict in conflicts:
        path = conflict.path
        if path not in after:
            raise Refused(f"it deleted {path}")
        if any(row.startswith(_MARKERS) for row in after[path].split("\n")):
            raise Refused(f"{path} still has conflict markers")
        sides = [side for side in (conflict.ours, conflict.theirs) if side is not None]
        # where no side was in order, the resolution need not be
        if any(check(path, side) is None for side in sides) and (wrong := check(path, after[path])):
            raise Refused(line(wrong, 300))
    return {path: after[path] for path in sorted(paths)}


def in_checkout(conflict: Conflict) -> str | None:
    """What stands in the checkout for a file in conflict."""
    for text in (conflict.marked, conflict.ours, conflict.theirs):
        if text is not None:
            return text
    return None


def _lines(text: str | None) -> str | None:
    """Text without what an edit leaves as it was: the kind of line ends, and the last one."""
    return None if text is None else text.replace("\r\n", "\n").removesuffix("\n")
