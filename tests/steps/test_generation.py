"""A generation against real git: what it leaves there, and that it goes on where it stopped."""

import subprocess
from pathlib import Path
from typing import Any

import pytest

from benchmarks.free import FreeProposer
from darwin_git.commands.verify import verify
from darwin_git.domain.population import State, fold, to_json
from darwin_git.domain.records import of_kind
from darwin_git.errors import DarwinError
from darwin_git.generation import step
from darwin_git.ports import Proposal
from darwin_git.steps.claim import claim
from darwin_git.steps.world import World

Started = tuple[World, State]


def git(folder: Path, *words: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(folder), *words], check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


def test_adopting_merges_have_the_measured_tree_and_both_parents(
    started: Started, folder: Path
) -> None:
    world, state = started
    done = step(world, state)
    moved = [n for n in state.agents if done.after.agents[n].tip != state.agents[n].tip]
    assert moved, "with 4 drawn effects and this seed somebody wins"
    for name in moved:
        tip = git(folder, "rev-parse", f"darwin/agent/{name}")
        assert tip == done.after.agents[name].tip
        lineage = done.after.agents[name]
        assert git(folder, "rev-parse", f"{tip}^2") == lineage.measured
        trees = git(folder, "rev-parse", f"{tip}^{{tree}}", f"{lineage.measured}^{{tree}}").split()
        assert trees[0] == trees[1]


def test_nobody_mutates_its_own_branch_and_losers_are_archived(
    started: Started, folder: Path
) -> None:
    world, state = started
    done = step(world, state)
    for trial in done.plan.trials:
        assert trial.mutator != trial.target
    alive = git(folder, "for-each-ref", "--format=%(refname)", "refs/heads/darwin/v").split()
    archived = git(folder, "for-each-ref", "--format=%(refname)", "refs/darwin/archive").split()
    assert len(alive) == len(done.after.parked)
    assert len(alive) + len(archived) == len(done.trials)


def test_summary_is_what_the_events_fold_to(started: Started) -> None:
    world, state = started
    for _ in range(4):
        state = step(world, state).after
    events = [e for g in range(state.generation + 1) for e in world.history.events(g)]
    rebuilt = fold(events)
    assert rebuilt is not None
    assert to_json(rebuilt) == to_json(state)
    assert (
        verify(world.history._repository, world.history, world.config.selection, None)["faults"]
        == []
    )


def test_gains_grow_and_a_certificate_moves_the_champion(started: Started, folder: Path) -> None:
    world, state = started
    for _ in range(5):
        state = step(world, state).after
    best = state.agents[state.best]
    assert best.gain > 0.03
    claimed = claim(world, state)
    assert claimed.decision is not None
    assert claimed.decision.status == "certified"
    after = world.history.state()
    tip = git(folder, "rev-parse", "darwin/champion")
    assert tip == after.champion.tip
    assert after.champion.measured == best.measured
    assert git(folder, "rev-parse", f"{tip}^1") == state.baseline
    assert "Darwin-Certificate: certified" in git(folder, "show", "-s", "--format=%B", tip)
    assert (
        verify(world.history._repository, world.history, world.config.selection, None)["faults"]
        == []
    )
    assert claim(world, after).decision is None, "the champion does not challenge itself"


def test_nothing_is_trained_twice(started: Started, open_world: Any) -> None:
    world, state = started
    step(world, state)
    seen = set()
    for commit, records in world.history._repository.notes.all():
        for record in of_kind(records, "replicate"):
            key = record["identity"], record["seed"]
            assert key not in seen, f"{commit} was trained twice under {key}"
            seen.add(key)
    assert len(seen) == world.trials.trained  # type: ignore[attr-defined]


class Stop(Exception):
    """Stands for a kill: nothing catches it."""


@pytest.mark.parametrize("at", range(1, 30, 3))
def test_an_interrupted_generation_is_finished_by_the_next_step(
    started: Started, open_world: Any, at: int
) -> None:
    world, state = started
    count = 0

    def stop_at(what: str, **facts: object) -> None:
        nonlocal count
        count += 1
        if count == at:
            raise Stop

    world.tell = stop_at
    spent = 0
    try:
        step(world, state)
    except Stop:
        spent = world.trials.trained  # type: ignore[attr-defined]
        world = open_world()
        state = world.history.state()
        step(world, state)
    after = world.history.state()
    assert after.generation == 1
    assert (
        verify(world.history._repository, world.history, world.config.selection, None)["faults"]
        == []
    )
    stored = sum(
        len(of_kind(records, "replicate")) for _, records in world.history._repository.notes.all()
    )
    trained = world.trials.trained + spent  # type: ignore[attr-defined]
    assert trained == stored, "no finished replicate is lost, none is paid twice"


@pytest.mark.parametrize("branch", ["darwin/agent/a1", "darwin/champion", "darwin/ledger"])
def test_a_checked_out_branch_of_ours_stops_the_step_before_it_spends(
    started: Started, folder: Path, branch: str
) -> None:
    world, state = started
    git(folder, "switch", "-q", branch)
    with pytest.raises(DarwinError, match=f"{branch} is checked out") as caught:
        step(world, state)
    assert "switch --detach" in caught.value.hint
    assert world.trials.trained == 8  # type: ignore[attr-defined]


def test_a_branch_moved_by_hand_is_named_with_the_cure(started: Started, folder: Path) -> None:
    world, state = started
    git(folder, "switch", "-q", "darwin/agent/a3")
    git(folder, "commit", "-q", "--allow-empty", "-m", "By hand")
    git(folder, "switch", "-q", "main")
    with pytest.raises(DarwinError, match=r"darwin/agent/a3 was moved to \w+ by hand") as caught:
        step(world, state)
    for command in caught.value.hint.split("; ")[:2]:
        subprocess.run(["git", "-C", str(folder), *command.split()[1:]], check=True)
    assert step(world, state).after.generation == 1


def test_a_lineage_checked_out_in_the_middle_stops_it_before_it_is_applied(
    started: Started, folder: Path
) -> None:
    world, state = started

    def look(what: str, **facts: Any) -> None:
        if what == "raced":
            git(folder, "switch", "-q", "darwin/agent/a2")

    world.tell = look
    with pytest.raises(DarwinError, match="a2 is checked out"):
        step(world, state)
    assert world.history.state().generation == 0
    spent = world.trials.trained  # type: ignore[attr-defined]
    git(folder, "switch", "-q", "main")
    world.tell = lambda what, **facts: None
    assert step(world, state).after.generation == 1
    assert world.trials.trained == spent  # type: ignore[attr-defined]


def test_a_variant_being_looked_at_is_pruned_later(
    started: Started, folder: Path, tmp_path: Path
) -> None:
    world, state = started
    seen: list[str] = []

    def look(what: str, **facts: Any) -> None:
        if what == "proposed" and not seen:
            variant = str(facts["variant"])
            place = tmp_path / "look"
            git(folder, "worktree", "add", "-q", str(place), f"darwin/v/{variant}")
            seen.append(variant)

    world.tell = look
    after = step(world, state).after
    assert git(folder, "rev-parse", f"darwin/v/{seen[0]}")
    if seen[0] not in after.parked:
        assert after.deferred == (seen[0],)
        git(folder, "worktree", "remove", str(tmp_path / "look"))
        world.tell = lambda what, **facts: None
        later = step(world, after).after
        assert later.deferred == ()
        assert git(folder, "rev-parse", f"refs/darwin/archive/{seen[0]}")


def test_a_proposal_outside_the_mutable_paths_is_rejected(
    open_world: Any, started: Started
) -> None:
    class Reaches(FreeProposer):
        def propose(self, assignment: Any) -> Any:
            yield from ()
            return Proposal({"configurator.py": "x = 1\n"}, "evil", "Reach out", "", "", {})

    _, state = started
    world = open_world(proposer=Reaches())
    done = step(world, state)
    assert {t.verdict for t in done.trials} == {"rejected"}
    assert "configurator.py" in done.trials[0].reason
    assert done.after.agents == {name: done.after.agents[name] for name in state.agents}
    assert all(done.after.agents[n].tip == state.agents[n].tip for n in state.agents)


def test_the_same_tree_is_not_trained_twice(open_world: Any, started: Started) -> None:
    class Same(FreeProposer):
        def propose(self, assignment: Any) -> Any:
            yield from ()
            text = assignment.files["train.py"] + "idea_same = -0.5\n"
            return Proposal({"train.py": text}, "same", "Same", "", "", {"Darwin-Operator": "same"})

    _, state = started
    world = open_world(proposer=Same())
    done = step(world, state)
    verdicts = sorted(t.verdict for t in done.trials)
    assert verdicts.count("duplicate") == 3
    assert world.trials.trained == 1  # type: ignore[attr-defined]


def test_the_users_files_index_and_head_never_change(started: Started, folder: Path) -> None:
    world, state = started
    (folder / "train.py").write_text("mine, uncommitted\n")
    (folder / "new.txt").write_text("staged\n")
    git(folder, "add", "new.txt")
    before = (folder / ".git/index").read_bytes(), git(folder, "status", "--porcelain")
    heads = (
        git(folder, "for-each-ref", "refs/heads/main", "refs/tags"),
        (folder / ".git/HEAD").read_text(),
    )
    for _ in range(2):
        state = step(world, state).after
    claim(world, state)
    assert ((folder / ".git/index").read_bytes(), git(folder, "status", "--porcelain")) == before
    assert (
        git(folder, "for-each-ref", "refs/heads/main", "refs/tags"),
        (folder / ".git/HEAD").read_text(),
    ) == heads
