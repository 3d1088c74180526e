"""The one exception for what the user can fix; everything else is a bug and flies to the top."""

DONE = 0
FIXABLE = 1
USAGE = 2
BUG = 3
WAITING = 4
SPENT = 5
INTERRUPTED = 130


class DarwinError(Exception):
    """Something the user can fix: what happened, to what, and what to do about it.

    Args:
        message: what happened and to what, one sentence without a trailing full stop.
        hint: the cure, in the imperative.
        exit_code: one of the constants of this module.
    """

    def __init__(self, message: str, *, hint: str = "", exit_code: int = FIXABLE) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.exit_code = exit_code
