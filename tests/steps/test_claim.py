"""The certificate: what it does when a side fails, and that nobody can forge one."""

import json
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from darwin_git.commands.verify import verify
from darwin_git.domain.population import State
from darwin_git.domain.records import of_kind, record_id
from darwin_git.domain.trial import Replicate, Subject, Verdict
from darwin_git.generation import step
from darwin_git.steps.claim import claim
from darwin_git.steps.world import World

Started = tuple[World, State]


def failing(world: World, when: Callable[[Subject, int], bool]) -> None:
    """Trainings fail where `when` says so, as they do with NaN losses."""
    inner = world.trials.replicate

    def replicate(subject: Subject, seed: int, *args: Any, **options: Any) -> Replicate:
        found = inner(subject, seed, *args, **options)
        if when(subject, seed):
            return replace(found, verdict=Verdict.DIVERGED, scored=(), final=(), reason="nan")
        return found

    world.trials.replicate = replicate  # type: ignore[method-assign]


def after(world: World, state: State, generations: int) -> State:
    for _ in range(generations):
        state = step(world, state).after
    return state


def test_a_tip_that_fails_under_one_fresh_seed_is_unstable_and_life_goes_on(
    started: Started,
) -> None:
    world, state = started
    state = after(world, state, 3)
    champion = state.champion.measured
    failing(world, lambda subject, seed: seed == 1003 and subject.commit != champion)
    found = claim(world, state)
    assert found.decision is not None
    assert found.decision.status == "unstable"
    assert "diverged under fresh seed 1003" in found.decision.sentence
    later = world.history.state()
    assert later is not None
    assert later.champion == state.champion
    assert later.certificates == 1
    assert later.fresh == 8, "none of its seeds is fresh any more"
    failing(world, lambda subject, seed: False)
    again = claim(world, later)
    assert again.decision is not None
    assert again.decision.status == "certified"


def test_a_seed_under_which_the_champion_fails_is_skipped_for_both(started: Started) -> None:
    world, state = started
    state = after(world, state, 3)
    champion = state.champion.measured
    failing(world, lambda subject, seed: seed == 1002 and subject.commit == champion)
    found = claim(world, state)
    assert found.decision is not None
    assert found.decision.status == "certified"
    records = world.history.records(state.agents[state.best].measured)
    assert 1002 not in of_kind(records, "certificate")[-1]["seeds"]


def test_a_parent_that_fails_under_a_race_seed_blocks_nothing(started: Started) -> None:
    world, state = started
    failing(world, lambda subject, seed: seed == 2 and "parent of" in subject.label)
    state = after(world, state, 4)
    assert state.generation == 4


def test_late_certificates_never_reuse_a_fresh_seed(started: Started) -> None:
    world, state = started
    state = after(world, state, 1)
    champion = state.champion.measured
    used: set[int] = set()
    failing(world, lambda subject, seed: seed >= 1001 and subject.commit != champion)
    for number in range(1, 9):
        found = claim(world, state)
        assert found.decision is not None
        state = world.history.state() or state
        assert state.certificates == number
        first = 1001 + state.fresh
        assert not used & {first}
        used |= set(range(1001, first))


def test_a_forged_certificate_is_found_out(started: Started, folder: Path) -> None:
    world, state = started
    state = after(world, state, 3)
    claim(world, state)
    repository = world.history._repository  # type: ignore[attr-defined]
    tip = state.agents[state.best].measured
    world.history.fold()
    ref = "refs/notes/darwin/fitness"
    note = subprocess.run(
        ["git", "-C", str(folder), "notes", f"--ref={ref}", "show", tip],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    lines = []
    for line in note.splitlines():
        record = json.loads(line)
        if record["kind"] == "replicate" and record["seed"] >= 1001:
            # Twice the champion's loss, with an id that fits.
            record["scored"] = [[nats * 2, n, size] for nats, n, size in record["scored"]]
            record["id"] = record_id(record)
        lines.append(json.dumps(record))
    command = ["git", "-C", str(folder), "notes", f"--ref={ref}", "add", "-f", "-m"]
    subprocess.run([*command, "\n".join(lines), tip], check=True, capture_output=True)
    world.history._records.clear()  # type: ignore[attr-defined]
    faults = verify(repository, world.history, world.config.selection, None)["faults"]  # type: ignore[arg-type]
    assert any("its effects are not the replicates'" in fault for fault in faults)


@pytest.mark.parametrize("branch", ["darwin/champion", "darwin/agent/a2"])
def test_somebodys_branch_in_the_way_is_named_before_anything_is_trained(
    open_world: Any, folder: Path, branch: str
) -> None:
    from darwin_git.errors import DarwinError
    from darwin_git.steps.start import baseline

    subprocess.run(["git", "-C", str(folder), "branch", branch], check=True)
    world = open_world()
    commit = world.history.resolve("refs/heads/main")
    with pytest.raises(DarwinError, match=f"the branch {branch} exists"):
        baseline(world, commit, {}, 8)
    assert world.trials.trained == 0
