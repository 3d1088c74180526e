"""What a replay made, beside what was recorded."""

from dataclasses import dataclass, field
from typing import Any

from darwin_git.domain import names
from darwin_git.domain.names import VariantName
from darwin_git.errors import DarwinError
from darwin_git.store.history import GitHistory
from darwin_git.store.recording import Deed, RecordedRun
from darwin_git.store.repository import Repository

_OTHER = "another version of darwin-git, or another darwin.toml, made the recording"
_DECISIVE = ("kind", "variant", "verdict", "decision", "commit", "agent", "tip", "status", "number")
"""What two runs must agree in; seconds and the like may differ in a rounding."""


@dataclass
class Replayed:
    """What was made again, and what came out otherwise.

    Attributes:
        commits: of the run, by references that both have; the baseline's history not counted.
        records: measurements and verdicts in the notes; `alike` of them are the recorded ones.
        differences: what is not as recorded, in words; empty where all is.
        notes: what is worth knowing and no difference.
    """

    folder: str
    recording: str
    generations: int = 0
    certificates: int = 0
    commits: int = 0
    exchanges: int = 0
    records: int = 0
    alike: int = 0
    differences: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """For `--json`."""
        return {"schema": "darwin-git/replay/1", **self.__dict__}


def compared_events(deed: Deed, news: list[dict[str, Any]]) -> list[str]:
    """What is told of the same deed, twice.

    Returns:
        Differences that decide nothing.

    Raises:
        DarwinError: the two runs went different ways.
    """
    for was, now in zip(deed.events, news, strict=False):
        odd = [key for key in _DECISIVE if was.get(key) != now.get(key)]
        if odd:
            who = was.get("variant") or was.get("agent") or was["kind"]
            raise DarwinError(
                f"the replay left the recording in generation {deed.generation} at {who}: "
                f"{odd[0]} was {was.get(odd[0])!r}, now it is {now.get(odd[0])!r}",
                hint=_OTHER,
            )
    if len(news) != len(deed.events):
        raise DarwinError(
            f"the replay left the recording in “{deed.subject}”: {len(deed.events)} events were "
            f"recorded, {len(news)} came out",
            hint=_OTHER,
        )
    other = [(was, now) for was, now in zip(deed.events, news, strict=True) if was != now]
    if not other:
        return []
    was, now = other[0]
    keys = sorted(key for key in was.keys() | now.keys() if was.get(key) != now.get(key))
    return [f"“{deed.subject}”: {', '.join(keys)} came out a little different"]


def compare(
    done: Replayed, repository: Repository, history: GitHistory, recorded: RecordedRun
) -> None:
    """References and records of both, counted; differences named."""
    state = history.state()
    assert state is not None, "a run has a baseline"
    tips = repository.refs(names.HEADS, names.ARCHIVE)
    mine = {ref: oid for ref, oid in tips.items() if ref != names.LEDGER}
    theirs = {ref: oid for ref, oid in recorded.tips.items() if not _later(ref, state.generation)}
    for ref in sorted(mine.keys() | theirs.keys()):
        was, now = theirs.get(ref), mine.get(ref)
        if was != now:
            done.differences.append(
                f"{ref} is {now[:12] if now else 'missing'}, recorded {was[:12] if was else 'not'}"
            )
    if len(theirs) != len(recorded.tips):
        done.notes.append(
            f"generation {state.generation + 1} was not finished when this was recorded: left out"
        )
    otherwise = [] if repository.stamps is None else repository.stamps.otherwise
    if otherwise:
        done.notes.append(
            f"{len(otherwise)} of the questions to models would be put otherwise now, the first in "
            f"{otherwise[0]}; the recorded ones were kept"
        )
    asked = "".join(f"{oid}\n" for oid in [*mine.values(), f"^{state.baseline}"])
    counted = repository.git.run("rev-list", "--count", "--stdin", input=asked.encode())
    done.commits = int(counted)
    done.exchanges = len(history.exchanges(""))
    known = {one["id"] for each in recorded.records.values() for one in each}
    made = [one["id"] for _, each in repository.notes.all() for one in each]
    done.records, done.alike = len(made), len(known.intersection(made))


def _later(ref: str, generation: int) -> bool:
    """Whether a reference belongs to a generation that was not finished."""
    name = names.parse(ref)
    variant = name.variant if isinstance(name, names.Archived) else name
    return isinstance(variant, VariantName) and variant.generation > generation
