"""Writing to a reader that may go away, as `| head` does."""

import os
from typing import Any, TextIO


class StandardOutput:
    """A text stream that goes nowhere once its reader is gone; the rest is the stream's own.

    Nothing is raised: a command ends as it would have ended, with its own exit code. typer would
    take the error for its own and exit 1.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write; the number of characters."""
        try:
            return self._stream.write(text)
        except BrokenPipeError:
            silence(self._stream)
            return len(text)

    def flush(self) -> None:
        """Flush."""
        try:
            self._stream.flush()
        except BrokenPipeError:
            silence(self._stream)


def silence(stream: TextIO) -> None:
    """Send what is still buffered, and what follows, nowhere."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, stream.fileno())
    os.close(null)
