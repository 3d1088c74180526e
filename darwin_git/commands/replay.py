"""`run --replay`: make a recorded run again, commit for commit, without a key, engine or GPU.

Answers of models and results of trainings come from the recording; everything else is the ordinary
code. Who made a commit when is the recording's, too, so the same decisions give the same commits.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from darwin_git.commands.replayed import Replayed, compare, compared_events
from darwin_git.config import FILE_NAME, Config, load
from darwin_git.domain.names import VariantName
from darwin_git.domain.planning import Plan, plan
from darwin_git.domain.population import State, apply
from darwin_git.domain.recording import Recording
from darwin_git.errors import DarwinError
from darwin_git.generation import step
from darwin_git.ports import Move, Proposer, Slot
from darwin_git.proposing import Proposers
from darwin_git.steps.claim import claim
from darwin_git.steps.desk import Desk
from darwin_git.steps.minimise import minimise
from darwin_git.steps.start import baseline
from darwin_git.steps.world import Listener, World
from darwin_git.store.git import run_git
from darwin_git.store.history import GitHistory
from darwin_git.store.objects import read_identity
from darwin_git.store.recordedtrials import RecordedTrials
from darwin_git.store.recording import Deed, RecordedRun, recorded_refs
from darwin_git.store.repository import Repository

MakeProposers = Callable[[Config, Path], Mapping[str, Proposer]]


def without_keys(config: Config, folder: Path) -> Mapping[str, Proposer]:
    """The agents of darwin.toml, none of which can ask anybody."""
    return Proposers(config, folder, None)


def replay(
    recording: Path,
    folder: Path,
    tell: Listener,
    wait: float = 0.0,
    proposers: MakeProposers = without_keys,
) -> Replayed:
    """Make a recorded run again in an empty folder.

    Args:
        recording: a git repository, or a bundle of one, that holds a run.
        folder: empty, missing, or a repository without a commit.
        proposers: the agents, from the recorded darwin.toml.

    Raises:
        DarwinError: the recording cannot be read, the folder is not empty, or what the ordinary
            code does is not what was recorded.
    """
    recorded_refs(recording)  # before anything is made
    done = Replayed(str(folder.resolve()), str(recording))
    with _stage(recording, folder, tell, wait, proposers) as stage:
        for deed in stage.recorded.deeds:
            stage.perform(deed, done)
        compare(done, stage.repository, stage.history, stage.recorded)
    return done


@dataclass
class _Stage:
    """Where the run is made again."""

    repository: Repository
    history: GitHistory
    recorded: RecordedRun
    world: World
    folder: Path
    make: MakeProposers

    def perform(self, deed: Deed, done: Replayed) -> None:
        """Do again what was done."""
        self._configure(deed)
        before = self.history.events(deed.generation) if deed.generation >= 0 else []
        if deed.kind == "baseline":
            self._baseline()
        elif deed.kind == "generation":
            done.notes += self._generation(deed)
            done.generations += 1
        elif deed.kind == "minimise":
            minimise(self.world, self._state())
        elif deed.kind == "certificate":
            self._certificate(deed)
            done.certificates += 1
        elif deed.kind == "champion":
            claim(self.world, self._state(), accept=True)
        else:
            self._by_hand(deed)
        if deed.generation >= 0:
            news = self.history.events(deed.generation)[len(before) :]
            done.notes += compared_events(deed, news)

    def _state(self) -> State:
        state = self.history.state()
        assert state is not None, "the baseline comes first"
        return state

    def _configure(self, deed: Deed) -> None:
        """The configuration that the run had then."""
        path = self.folder / FILE_NAME
        if deed.settings is not None and self.history.settings != deed.settings:
            path.write_bytes(deed.settings)
            self.history.settings = deed.settings
        elif deed.kind != "baseline":
            return
        if not path.exists():
            raise DarwinError(
                f"the recording has no {FILE_NAME}: neither its ledger nor its baseline has one",
                hint=f"commit the run's {FILE_NAME} there: git add {FILE_NAME}, or record the run "
                "again with this version",
            )
        config = load(self.folder)
        self.world.config = config
        self.world.proposers = self.make(config, self.folder)

    def _baseline(self) -> None:
        event = self.recorded.baseline
        baseline(self.world, event["commit"], event["measured"], len(event["losses"]))

    def _certificate(self, deed: Deed) -> None:
        """As it was recorded: a tip that was minimised was so before, in a deed of its own."""
        moved = any(event["kind"] == "champion" for event in deed.events)
        checked = any(event.get("scale") for event in deed.events)
        config = self.world.config
        off: dict[str, object] = {"minimise": False} | ({} if checked else {"scale_check": 0.0})
        chosen = config.selection.model_copy(update=off)
        self.world.config = config.model_copy(update={"selection": chosen})
        try:
            claim(self.world, self._state(), accept=moved)
        finally:
            self.world.config = config

    def _generation(self, deed: Deed) -> list[str]:
        state, planned = self._state(), deed.plan
        if planned is None:
            raise DarwinError(
                f"the recording has no plan of generation {deed.generation}",
                hint="record the run again: its ledger was altered",
            )
        for one in planned.trials:
            for commit in (one.parent, one.other):
                if commit and self.repository.commit_of(commit) is None:
                    raise DarwinError(
                        f"the recording lacks {commit[:12]}, which {one.slug} starts from",
                        hint="make a bundle where the run was: git bundle create run.bundle --all",
                    )
        self.history.held = dict.fromkeys(_held(state, deed), "the recorded run")
        self.history.write_plan(planned)
        notes = self._compared_plan(state, planned)
        step(self.world, state, control=planned.control)
        return notes

    def _compared_plan(self, state: State, planned: Plan) -> list[str]:
        """The recorded plan is followed; that the planner draws another one is worth a line."""
        if any(one.how == "person" for one in planned.trials):
            return []
        chosen = self.world.config.population
        drawn = plan(
            state,
            seed=chosen.seed,
            crossover=chosen.crossover,
            replay=chosen.replay,
            exploration=chosen.exploration,
            control=planned.control,
        )
        if drawn == planned:
            return []
        text = f"generation {planned.generation}: the plan is the recorded one, drawn otherwise now"
        self.world.tell("note", text=text)
        return [text]

    def _by_hand(self, deed: Deed) -> None:
        """What a person did to the ledger: stepping stones pruned, a lesson retired."""
        if not deed.events:
            self.repository.memory.append(deed.generation, deed.memory)
            return
        state, moves = self._state(), list[Move]()
        for event in deed.events:
            state = apply(state, event)
            if event["kind"] == "archive":
                variant = VariantName.parse(event["variant"])
                tip = self.history.resolve(variant.ref)
                if tip is not None:
                    moves += [Move(variant.archive_ref, None, tip), Move(variant.ref, tip, None)]
        self.history.settle(
            moves, deed.generation, deed.events, state, {}, deed.subject, deed.memory
        )


def _held(state: State, deed: Deed) -> list[str]:
    """Branches that somebody had checked out when the generation was closed."""
    kept = set(state.deferred) | {e["variant"] for e in deed.events if e["kind"] == "defer"}
    gone = {event["variant"] for event in deed.events if event["kind"] == "archive"}
    return [VariantName.parse(name).ref for name in sorted(kept - gone)]


@contextmanager
def _stage(
    recording: Path, folder: Path, tell: Listener, wait: float, make: MakeProposers
) -> Iterator[_Stage]:
    """A repository with the recorded baseline checked out, and a world that plays the recording."""
    from darwin_git.executors.local import LocalExecutor

    with ExitStack() as stack:
        repository = stack.enter_context(_empty_repository(folder))
        read_identity(repository.git, "COMMITTER")
        stack.enter_context(repository.session(wait, "run --replay"))
        recorded = RecordedRun.fetched(repository, recording)
        stack.callback(recorded.forget)
        event = recorded.baseline
        run_git(["reset", "--quiet", "--hard", event["commit"]], cwd=folder)
        repository.stamps = recorded.stamps()
        history = GitHistory(repository)
        history.adopt_island(event["island"])
        # Every variant's program may wait for its turn: a slot costs nothing here.
        slots = tuple(Slot(n, (0,)) for n in range(4 + 2 * len(event["agents"])))
        executor = LocalExecutor(slots)
        stack.push(lambda kind, error, trace: executor.close(cancel=kind is not None))
        world = World(
            history=history,
            trials=RecordedTrials(event["protocol"], recorded.records),
            executor=executor,
            proposers={},
            config=Config(),
            tell=tell,
            clock=time.monotonic,
            desk=Desk(recording=Recording(recorded.exchanges)),
        )
        world.tell = lambda what, **facts: tell(what, metric=world.config.objective, **facts)
        stack.callback(world.ended.set)
        yield _Stage(repository, history, recorded, world, folder, make)


def _empty_repository(folder: Path) -> Repository:
    """A repository without a commit. Raises DarwinError where there is anything already."""
    there = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
    if folder.exists() and (not folder.is_dir() or set(there) - {".git"}):
        raise DarwinError(
            f"{folder.resolve()} is not empty: a replay makes a repository of its own",
            hint="mkdir replayed; cd replayed; darwin-git run --replay RECORDING",
        )
    if not there:
        return Repository.create(folder)
    repository = Repository.open(folder, allow_empty=True)
    if any(True for _ in repository.git.for_each_ref("%(refname)")):
        repository.close()
        raise DarwinError(
            f"{folder.resolve()} has commits already: a replay makes a repository of its own",
            hint="mkdir replayed; cd replayed; darwin-git run --replay RECORDING",
        )
    return repository
