"""What the steps share: the ports, the configuration, somebody to tell."""

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from darwin_git.config import Config, Selection
from darwin_git.domain.account import Account
from darwin_git.domain.learning.lesson import Lesson
from darwin_git.domain.metric import Metric
from darwin_git.domain.scope import Scope
from darwin_git.domain.statistics import CertificateRule, RaceRule
from darwin_git.domain.trial import Subject
from darwin_git.ports import Executor, History, Measured, Outcome, Past, Proposer, Trials
from darwin_git.steps.desk import Desk


class Listener(Protocol):
    """Told what happens, for people; never decides anything."""

    def __call__(self, what: str, **facts: Any) -> None:
        """`what` is one of the words that report/live.py knows."""


@dataclass
class World:
    """The wiring of one command."""

    history: History
    trials: Trials
    executor: Executor
    proposers: Mapping[str, Proposer]
    config: Config
    tell: Listener
    clock: Callable[[], float]
    """Seconds, monotonic; for planning backwards from a deadline only."""
    pauses: Sequence[float] = (2.0, 10.0)
    """Seconds before each new try of what infrastructure broke."""
    ended: threading.Event = field(default_factory=threading.Event)
    """Set when the command ends: no pause goes on then."""
    in_flight: dict[str, str] = field(default_factory=dict)
    """Measured tree -> variant now being tried."""
    screens: dict[str, Measured] = field(default_factory=dict)
    """Screens by commit that go into git with the first replicate."""
    outcomes: tuple[Outcome, ...] = ()
    """What the run has seen, for this generation's proposers."""
    drawn: set[str] = field(default_factory=set)
    """Ideas that our own proposers drew in this generation."""
    desk: Desk = field(default_factory=Desk)
    """This generation's exchanges with models."""
    account: Account = field(default_factory=Account)
    """What models cost, and the budget."""
    trained_before: float = 0.0
    """Seconds of trainings before this command."""
    past: tuple[Past, ...] = ()
    """The last generations' trials, for this generation's proposers; the latest last."""
    lessons: Mapping[str, Lesson] = field(default_factory=dict)
    """What the run has learned, as it stood when the generation began."""

    @property
    def scope(self) -> Scope:
        """What agents may change."""
        return Scope(self.config.genome.mutable, self.config.genome.protected)

    @property
    def race(self) -> RaceRule:
        """The provisional race's rule."""
        chosen = self.config.selection
        return RaceRule(
            seeds=chosen.race,
            drop=chosen.race_drop,
            merge=chosen.race_merge,
            p=chosen.race_p,
            single=chosen.race_single,
        )

    @property
    def metric(self) -> Metric:
        """What is measured: everything else knows its losses only."""
        return self.config.objective

    @property
    def claim(self) -> CertificateRule:
        """The certificate's rule."""
        return certificate_rule(self.config.selection)

    @property
    def scale(self) -> float:
        """At how many times the budget a certificate is checked; 1 is no check.

        A judge decides by itself how much work a measurement is: there is no budget to multiply.
        """
        judged = self.config.genome.contract == "command"
        return 1.0 if judged else max(1.0, self.config.selection.scale_check)

    def waiting(self, running: int) -> None:
        """Tell that a fault ends the command once `running` commands have ended."""
        self.tell(
            "note",
            text=f"a fault ends this; waiting for {running} that still run, Ctrl-C gives them up",
        )

    def subject(self, commit: str, label: str) -> Subject:
        """The subject that a commit is."""
        return Subject(
            commit=commit,
            tree=self.history.tree(commit),
            label=label,
            trusted=self.history.trusted(commit),
        )


def certificate_rule(chosen: Selection) -> CertificateRule:
    """The rule of darwin.toml; the level is shared out so that the last look keeps the most."""
    looks = chosen.certificate
    early = len(looks) - 1
    last = 1.0 if not early else 0.85 if early == 1 else 0.5
    return CertificateRule(
        seeds=looks,
        shares=(*((1.0 - last) / early for _ in range(early)), last),
        late_seeds=(*looks, 2 * looks[-1]),
        late_shares=(*(0.5 / len(looks) for _ in looks), 0.5),
        margin=chosen.margin,
        level=chosen.level,
        unstable=chosen.unstable,
    )
