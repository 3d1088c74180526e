"""What a generation needs of the world. Adapters fill these protocols; nothing inherits.

Four walls stand behind them: `Runner` (a command behind limits: a process, a container), `Executor`
(slots: this machine, a cluster), `Proposer` (who writes a mutation: the catalogue, a language
model, a person) and `History` (git).
"""

from darwin_git.ports.agents import (
    Ask,
    Assignment,
    Declined,
    Dialog,
    Fitness,
    Outcome,
    Past,
    Peer,
    Proposal,
    Proposer,
    Refusal,
    Repair,
    Review,
)
from darwin_git.ports.history import (
    Conflict,
    History,
    Measured,
    Merged,
    Move,
    NoTree,
)
from darwin_git.ports.runner import (
    Artifact,
    Command,
    Dialogue,
    DialogueEnded,
    File,
    Finished,
    Limits,
    Line,
    Machine,
    Outputs,
    Runner,
    Slot,
    UnsafeOutput,
)
from darwin_git.ports.work import (
    Executor,
    Trials,
)

__all__ = [
    "Artifact",
    "Ask",
    "Assignment",
    "Command",
    "Conflict",
    "Declined",
    "Dialog",
    "Dialogue",
    "DialogueEnded",
    "Executor",
    "File",
    "Finished",
    "Fitness",
    "History",
    "Limits",
    "Line",
    "Machine",
    "Measured",
    "Merged",
    "Move",
    "NoTree",
    "Outcome",
    "Outputs",
    "Past",
    "Peer",
    "Proposal",
    "Proposer",
    "Refusal",
    "Repair",
    "Review",
    "Runner",
    "Slot",
    "Trials",
    "UnsafeOutput",
]
