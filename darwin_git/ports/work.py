"""Where commands run, and what measures: this machine's slots or a cluster's, and the trials."""

from collections.abc import Callable
from concurrent.futures import Future
from contextlib import AbstractContextManager
from typing import Protocol, TypeVar

from darwin_git.domain.trial import Allowance, Replicate, Screened, Subject
from darwin_git.ports.runner import Slot

T = TypeVar("T")


class Executor(Protocol):
    """Slots and a queue: this machine's, or a cluster's."""

    @property
    def slots(self) -> int:
        """How many calls run at once."""

    def submit(self, call: Callable[[Slot], T]) -> Future[T]:
        """Queue a call; it is given the slot it runs on. Picklable calls can travel."""

    def hold(self, gpu: str | None) -> AbstractContextManager[None]:
        """Keep a GPU free of trainings: wait for those that run on it, start none; None: nothing.

        For a proposer whose model runs there.
        """

    def close(self, *, cancel: bool) -> None:
        """Wait for what runs, or cancel: queued calls dropped, running commands killed."""


class Trials(Protocol):
    """The trusted measurement of one tree."""

    @property
    def protocol(self) -> str:
        """Hash of the measurement identity's parts except for the tree."""

    def screen(self, subject: Subject, reference: Allowance | None, slot: Slot) -> Screened:
        """Syntax, size, contract, a short smoke run; `reference` is the baseline's allowance."""

    def replicate(
        self,
        subject: Subject,
        seed: int,
        allowance: Allowance,
        slot: Slot,
        *,
        factor: float = 1.0,
        final: bool = False,
    ) -> Replicate:
        """Train under one seed with `factor` times the allowance, and score what was learned."""
