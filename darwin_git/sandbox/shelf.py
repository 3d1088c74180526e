"""Attempts of one runner: discarded on a fault, kept where their result must be scored first."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from darwin_git.ports import Command, Finished
from darwin_git.sandbox.attempt import Attempt
from darwin_git.sandbox.output import NoOutputs


class Shelf:
    """What both runners do around a command.

    Args:
        base: folder of the attempts.
    """

    def __init__(self, base: Path) -> None:
        self._base = base
        self._kept: dict[str, Attempt] = {}

    @contextmanager
    def attempt(self, command: Command) -> Iterator[Attempt]:
        """The attempt of the command's key, where it is ours or nobody's; raises Occupied.

        An exception discards it.
        """
        attempt = self._kept.pop(command.key, None)
        if attempt is None or attempt.lock < 0:
            attempt = Attempt.claim(self._base, command.key, command.limits.output_bytes)
        try:
            yield attempt
        except BaseException:
            attempt.discard()
            raise

    def known(self, command: Command, attempt: Attempt) -> Finished | None:
        """How it ended when it ran before, if nobody took that result."""
        finished = attempt.finished()
        if finished:
            self._kept[command.key] = attempt
        return finished

    def keep(self, command: Command, attempt: Attempt, finished: Finished) -> None:
        """Let the result of a command that ended well outlive this process."""
        if command.key and finished.cause == "exit" and finished.exit_code == 0:
            with suppress(OSError):  # it was paid for: it is scored, if not kept
                attempt.save(finished)
            self._kept[command.key] = attempt


def not_run(error: Exception) -> Finished:
    """The end of a command that our own fault kept from running."""
    return Finished("infra", None, 0.0, (), str(error), NoOutputs())
