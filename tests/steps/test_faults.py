"""Infrastructure that fails: nothing is held against a variant, nothing is lost or paid twice."""

import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from benchmarks.free import FreeTrials
from darwin_git import generation
from darwin_git.domain.population import State
from darwin_git.domain.trial import Replicate, Screened, Subject, Verdict
from darwin_git.errors import DarwinError
from darwin_git.executors.local import LocalExecutor, plan_slots
from darwin_git.steps.claim import claim
from darwin_git.steps.drive import Call, Steps, drive
from darwin_git.steps.start import baseline
from darwin_git.steps.world import World

Started = tuple[World, State]
REASON = "no engine answers at unix:///nowhere"


class Faulty(FreeTrials):
    """Trials on an engine that is down for the calls that `down` says, counted from 1."""

    def __init__(self, read: Any, down: Callable[[int], bool]) -> None:
        super().__init__(read)
        self._down = down
        self.calls = 0
        self.paid: Counter[tuple[str, int]] = Counter()

    def screen(self, subject: Subject, *words: Any) -> Screened:
        self.calls += 1
        if self._down(self.calls):
            return Screened(Verdict.INFRA, REASON)
        return super().screen(subject, *words)

    def replicate(self, subject: Subject, seed: int, *words: Any, **more: Any) -> Replicate:
        self.calls += 1
        if self._down(self.calls):
            return Replicate(seed, Verdict.INFRA, REASON)
        self.paid[subject.tree, seed] += 1
        return super().replicate(subject, seed, *words, **more)


def faulty(world: World, down: Callable[[int], bool]) -> Faulty:
    trials = Faulty(world.history.files, down)
    world.trials, world.pauses = trials, (0.0, 0.0)
    return trials


def records(world: World) -> list[dict[str, Any]]:
    """All records of all commits that a plan or lineage knows."""
    commits = {
        line.split()[0]
        for line in world.history._repository.git.run("rev-list", "--all").decode().splitlines()
    }
    return [record for commit in commits for record in world.history.records(commit)]


def check(world: World, trials: list[Faulty]) -> None:
    """Each training was paid once, and no record speaks of infrastructure."""
    paid = sum((one.paid for one in trials), Counter[tuple[str, int]]())
    assert set(paid.values()) <= {1}, "a training was paid twice"
    kept = records(world)
    assert not [r for r in kept if r.get("verdict") == "infra"]
    replicates = {(r["tree"], r["seed"]) for r in kept if r["kind"] == "replicate"}
    assert set(paid) <= replicates, "a training was lost"


@pytest.mark.parametrize("first", [1, 2, 4, 6, 9])
def test_a_step_that_the_engine_leaves_goes_on_later(
    started: Started, open_world: Any, first: int
) -> None:
    world, state = started
    broken = faulty(world, lambda call: call >= first)
    with pytest.raises(DarwinError, match="could not be measured: no engine answers") as error:
        generation.step(world, state)
    assert "nothing is paid twice" in error.value.hint and error.value.exit_code == 1
    assert broken.calls < first + 3 * 8, "tried over and over"
    assert world.history.state() == state
    world = open_world()
    mended = faulty(world, lambda call: False)
    done = generation.step(world, world.history.state())
    assert all(t.verdict is not Verdict.INFRA for t in done.trials)
    check(world, [broken, mended])


def test_a_short_fault_is_waited_out(started: Started) -> None:
    world, state = started
    trials = faulty(world, lambda call: call % 3 == 0)
    world.pauses = (0.0,) * 9
    done = generation.step(world, state)
    assert all(t.verdict is not Verdict.INFRA for t in done.trials)
    check(world, [trials])


@pytest.mark.parametrize("first", [1, 2, 5])
def test_a_baseline_says_that_the_genome_is_not_to_blame(open_world: Any, first: int) -> None:
    world = open_world()
    commit = world.history.resolve("refs/heads/main")
    world.history.trust(commit)
    broken = faulty(world, lambda call: call >= first)
    with pytest.raises(DarwinError, match="baseline could not be measured: no engine") as error:
        baseline(world, commit, {"tokens": 1000}, 4)
    assert "mend the genome" not in error.value.hint
    world = open_world()
    mended = faulty(world, lambda call: False)
    assert baseline(world, commit, {"tokens": 1000}, 4).totals.trainings == 4
    check(world, [broken, mended])


def test_a_certificate_goes_on_where_it_was_left(started: Started, open_world: Any) -> None:
    world, state = started
    while state.agents[state.best].measured == state.champion.measured:
        state = generation.step(world, state).after
    broken = faulty(world, lambda call: call >= 3)
    with pytest.raises(DarwinError, match="certificate could not be measured: no engine") as error:
        claim(world, state)
    assert "what was trained is kept" in error.value.hint
    world = open_world()
    mended = faulty(world, lambda call: False)
    assert claim(world, world.history.state()).decision is not None
    check(world, [broken, mended])


@pytest.mark.parametrize("error", [DarwinError("it is gone", hint="start it"), KeyboardInterrupt()])
def test_an_error_waits_for_other_trainings_and_an_interrupt_does_not(
    error: BaseException,
) -> None:
    executor = LocalExecutor(plan_slots(cpus=(0, 1)))
    begun, kept, told = threading.Event(), list[str](), list[int]()

    def slow() -> Steps[None]:
        def run(slot: object) -> str:
            begun.set()
            time.sleep(0.5)
            return "trained"

        yield [Call(run, kept.append)]
        yield [Call(lambda slot: "not asked for any more", kept.append)]

    def fails() -> Steps[None]:
        def run(slot: object) -> None:
            begun.wait(10)
            raise error

        yield [Call(run), *(Call(lambda slot: "queued", kept.append) for _ in range(5))]

    with pytest.raises(type(error)):
        drive({"slow": slow(), "fails": fails()}, executor, told.append)
    executor.close(cancel=True)
    waited = isinstance(error, DarwinError)
    assert ("trained" in kept) == waited
    assert told == [1] * waited
    assert "not asked for any more" not in kept


def test_a_pause_ends_with_the_command(started: Started) -> None:
    world, state = started
    trials = faulty(world, lambda call: True)
    world.pauses = (600.0,)
    world.ended.set()
    began = time.monotonic()
    with pytest.raises(DarwinError):
        generation.step(world, state)
    assert time.monotonic() - began < 60 and trials.calls > 1
