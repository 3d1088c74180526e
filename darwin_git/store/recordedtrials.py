"""A measurement that repeats what a recorded run measured."""

from collections.abc import Mapping, Sequence

from darwin_git.domain.evidence import replicate_of, screened_of
from darwin_git.domain.measurement import identity
from darwin_git.domain.records import Record
from darwin_git.domain.trial import Allowance, Replicate, Screened, Subject, Verdict
from darwin_git.errors import DarwinError
from darwin_git.ports import Slot


class RecordedTrials:
    """Trials whose results are the recorded ones. Safe among threads: nothing is changed.

    Args:
        protocol: the recorded run's.
        known: its notes by commit.
    """

    def __init__(self, protocol: str, known: Mapping[str, Sequence[Record]]) -> None:
        self._protocol = protocol
        self._known = known

    @property
    def protocol(self) -> str:
        """See Trials.protocol."""
        return self._protocol

    def screen(self, subject: Subject, reference: Allowance | None, slot: Slot) -> Screened:
        """The recorded screen."""
        found = self._of(subject, "screen", 1.0)
        if not found:
            raise self._missing("screen", subject)
        return screened_of(min(found, key=lambda record: str(record["id"])))

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
        """The recorded replicate: the first one, or the first with the final split's scores."""
        found = [
            replicate
            for record in self._of(subject, "replicate", factor)
            if record["seed"] == seed
            and (replicate := replicate_of(record)).verdict is not Verdict.INFRA
        ]
        whole = [r for r in found if r.verdict is not Verdict.OK or r.final_loss is not None]
        wanted = whole if final else found
        if not wanted:
            raise self._missing(f"replicate under seed {seed}", subject)
        return wanted[0]

    def _of(self, subject: Subject, kind: str, factor: float) -> list[Record]:
        conditions = self._protocol + (f"x{factor:g}" if factor != 1.0 else "")
        wanted = identity(conditions, subject.tree)
        return [
            record
            for record in self._known.get(subject.commit, ())
            if record["kind"] == kind and record["identity"] == wanted
        ]

    def _missing(self, what: str, subject: Subject) -> DarwinError:
        return DarwinError(
            f"the recording has no {what} of {subject.label} ({subject.commit[:12]})",
            hint="another version of darwin-git, or another darwin.toml, made the recording",
        )
