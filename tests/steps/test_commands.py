"""propose, prune, run's deadline, the budget's end: commands on real git with free trials."""

import subprocess
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from darwin_git.commands import evolve, read
from darwin_git.domain.population import State
from darwin_git.errors import SPENT, DarwinError
from darwin_git.steps.world import World
from darwin_git.wiring import Wired

Started = tuple[World, State]


def git(folder: Path, *words: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(folder), *words], check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


def wire(world: World) -> Wired:
    return Wired(world.history._repository, world.history, world.config, world, {})


def branch_with(folder: Path, name: str, line: str) -> None:
    """A person's branch: one line more in train.py."""
    git(folder, "switch", "-q", "-c", name, "main")
    path = folder / "train.py"
    path.write_text(line + "\n" + path.read_text())
    git(folder, "commit", "-qam", f"Try {name}")
    git(folder, "switch", "-q", "main")


def test_a_persons_branch_is_measured_and_adopted_like_any_other(
    started: Started, folder: Path, open_world: Any
) -> None:
    branch_with(folder, "mine", "idea_mine = 0.2")
    world = open_world(sandbox={"allow_unsandboxed": True})
    done = evolve.propose(wire(world), "mine", "a2")
    assert [t.verdict for t in done.trials] == ["ok"]
    assert done.trials[0].won
    tip = git(folder, "rev-parse", "darwin/agent/a2")
    assert "idea_mine = 0.2" in git(folder, "show", f"{tip}:train.py")
    measured = done.after.agents["a2"].measured
    assert git(folder, "rev-parse", f"{measured}^2") == git(folder, "rev-parse", "mine")


def test_a_persons_branch_needs_permission_without_a_container(
    started: Started, folder: Path
) -> None:
    branch_with(folder, "mine", "idea_mine = 0.2")
    world, _ = started
    with pytest.raises(DarwinError, match="process runner") as caught:
        evolve.propose(wire(world), "mine", None)
    assert "allow_unsandboxed" in caught.value.hint
    assert world.history.plan(1) is None


def test_a_branch_that_cannot_be_a_variant_is_refused_before_the_plan(
    started: Started, folder: Path, open_world: Any
) -> None:
    git(folder, "switch", "-q", "--orphan", "unrelated")
    git(folder, "commit", "-q", "--allow-empty", "-m", "Elsewhere")
    git(folder, "switch", "-q", "main")
    git(folder, "switch", "-q", "-c", "link")
    (folder / "link.py").symlink_to("train.py")
    git(folder, "add", "-A")
    git(folder, "commit", "-qm", "Link")
    git(folder, "switch", "-q", "main")
    world = open_world(sandbox={"allow_unsandboxed": True})
    with pytest.raises(DarwinError, match="no history in common"):
        evolve.propose(wire(world), "unrelated", None)
    with pytest.raises(DarwinError, match=r"link\.py"):
        evolve.propose(wire(world), "link", None)
    assert world.history.plan(1) is None


def test_a_persons_branch_may_not_change_what_is_protected(
    started: Started, folder: Path, open_world: Any
) -> None:
    git(folder, "switch", "-q", "-c", "evil", "main")
    (folder / "configurator.py").write_text("pass\n")
    git(folder, "commit", "-qam", "Reach out")
    git(folder, "switch", "-q", "main")
    world = open_world(sandbox={"allow_unsandboxed": True})
    done = evolve.propose(wire(world), "evil", None)
    assert [t.verdict for t in done.trials] == ["rejected"]
    assert "configurator.py" in done.trials[0].reason


def test_pruning_archives_stepping_stones_and_deletes_nothing(
    started: Started, folder: Path
) -> None:
    world, state = started
    wired = wire(world)
    while not state.parked:
        state = evolve.one_step(wired, "").after
    names = sorted(state.parked)
    tips = {name: git(folder, "rev-parse", f"darwin/v/{name}") for name in names}
    assert evolve.prune(wired, names[:1]) == names[:1]
    assert git(folder, "rev-parse", f"refs/darwin/archive/{names[0]}") == tips[names[0]]
    assert evolve.prune(wired, []) == names[1:]
    assert world.history.state().parked == {}
    with pytest.raises(DarwinError, match="no stepping stone"):
        evolve.prune(wired, ["0001/nobody"])


def test_run_keeps_the_certificates_time_free(started: Started) -> None:
    world, _ = started
    done = evolve.run(wire(world), None, world.clock() + 5.0, "")
    assert done.generations == []
    assert "certificate" in done.ended


def test_run_ends_with_the_budget_and_its_exit_code(started: Started, open_world: Any) -> None:
    world = open_world(budget={"device_hours": 0.0001})
    done = evolve.run(wire(world), 3, None, "")
    assert done.exit_code == SPENT
    assert "device hours" in done.ended


def test_the_control_draws_by_chance_and_says_so(started: Started) -> None:
    world, _ = started
    done = evolve.one_step(wire(world), "random")
    assert done.plan.control == "random"
    assert world.history.plan(1).control == "random"  # type: ignore[union-attr]


def test_every_reader_reads_a_run(started: Started) -> None:
    world, state = started
    wired = wire(world)
    for _ in range(3):
        state = evolve.one_step(wired, "").after
    evolve.certify(wired)
    from darwin_git.report import terminal

    repository, history = wired.repository, wired.history
    variant = history.plan(1).trials[0].slug  # type: ignore[union-attr]
    texts = [
        terminal.status(read.status(repository, history)),
        terminal.log(read.log(history, None)),
        terminal.show(read.show(repository, history, f"0001/{variant}")),
        terminal.lineage(read.lineage(history, None)),
        terminal.report(read.report(repository, history)),
    ]
    assert all(text and "None" not in text for text in texts)
    assert read.show(repository, history, "champion")["replicates"]
    assert read.show(repository, history, "a1")["commit"] == state.agents["a1"].tip
    rows = read.export(repository, history)["replicates"]
    assert len(rows) == world.trials.trained  # type: ignore[attr-defined]
    with pytest.raises(DarwinError, match="no variant"):
        read.show(repository, history, "0009/a1-on-a2")


NOW = datetime(2026, 11, 22, 23, 0).astimezone()


@pytest.mark.parametrize(
    ("for_", "until", "seconds"),
    [
        ("90s", None, 90),
        ("1h30m", None, 5400),
        ("2d", None, 172800),
        (None, "07:00", 8 * 3600),
        (None, "23:30", 1800),
        (None, None, None),
    ],
)
def test_deadlines(for_: str | None, until: str | None, seconds: float | None) -> None:
    assert evolve.deadline_of(for_, until, NOW) == seconds


@pytest.mark.parametrize(
    ("for_", "until"), [("8", None), ("x", None), (None, "7"), ("1h", "07:00")]
)
def test_bad_deadlines_say_how(for_: str | None, until: str | None) -> None:
    with pytest.raises(DarwinError) as caught:
        evolve.deadline_of(for_, until, NOW)
    assert caught.value.hint
