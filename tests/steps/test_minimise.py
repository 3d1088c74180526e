"""Before the certificate: what does not help goes, what helps stays, also after a kill."""

import subprocess
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks.free import FreeProposer
from darwin_git.commands import evolve, outcome, read
from darwin_git.commands.verify import verify
from darwin_git.domain.account import Allowed
from darwin_git.domain.planning import Plan, Planned
from darwin_git.domain.population import Lineage, State, fold, to_json
from darwin_git.domain.records import of_kind
from darwin_git.errors import SPENT, DarwinError
from darwin_git.generation import step
from darwin_git.ports import Assignment, Dialog, Proposal
from darwin_git.report import certificates, terminal
from darwin_git.steps.claim import claim, rounds_reserved, trainings_reserved
from darwin_git.steps.minimise import minimise
from darwin_git.steps.world import World
from darwin_git.wiring import Wired

Started = tuple[World, State]


class Story(FreeProposer):
    """Adds the lines of a story one after another, each in a place of its own."""

    def __init__(self, first: int, *lines: str) -> None:
        self.first, self.lines = first, lines

    def propose(self, assignment: Assignment) -> Dialog[Proposal]:  # type: ignore[override]
        yield from ()
        number = int(assignment.variant[:4]) - 1
        line = self.lines[number - self.first]
        idea = line.split("idea_")[1].split(" ")[0]
        text = assignment.files["train.py"]
        old = next((one for one in text.splitlines() if one.startswith(f"idea_{idea} ")), None)
        if old is None:
            mark = f"value_{8 * number + 5} = "
            text = text.replace(mark, f"{line}\n{mark}")
        else:
            text = text.replace(old, line)
        return Proposal({"train.py": text}, f"{idea}{number}", f"Try {idea}", "", "", {})


def told(world: World, state: State, *lines: str) -> State:
    """A lineage that adopted these lines, a generation each."""
    world.proposers = dict.fromkeys(state.agents, Story(state.generation, *lines))
    for _ in lines:
        planned = Planned("a1-on-a2", "mutate", "a1", "a2", state.agents["a2"].tip, 1)
        world.history.write_plan(Plan(state.generation + 1, (planned,)))
        done = step(world, state)
        assert [t.won for t in done.trials] == [True], done.trials
        state = done.after
    return state


def tip_of(state: State) -> Lineage:
    """The best tip: whoever was far behind has taken its tree by now."""
    return state.agents[state.best]


def faults(world: World) -> list[str]:
    repository = world.history._repository  # type: ignore[attr-defined]
    found = verify(repository, world.history, world.config.selection, None)  # type: ignore[arg-type]
    return list(found["faults"])


def text_of(world: World, commit: str) -> str:
    return world.history.files(commit)["train.py"]


def events(world: World, kind: str) -> list[Mapping[str, Any]]:
    state = world.history.state()
    assert state is not None
    found = [e for g in range(state.generation + 1) for e in world.history.events(g)]
    rebuilt = fold(found)
    assert rebuilt is not None
    assert to_json(rebuilt) == to_json(state)
    return [event for event in found if event["kind"] == kind]


BIG = "idea_big = 0.08"
LUCKY = "idea_lucky = 0.012  # seed: 1"
USEFUL = "idea_useful = 0.012"


def test_a_passenger_is_taken_out_and_what_helps_stays(started: Started, folder: Path) -> None:
    world, state = started
    state = told(world, state, BIG, "idea_lucky = 0.0118  # seed: 1")
    assert tip_of(state).ideas == ("big0", "lucky1")
    found = claim(world, state)
    after = world.history.state()
    assert after is not None
    assert found.reverted == ("lucky1",)
    assert found.moved
    assert after.champion.ideas == tip_of(after).ideas == ("big0",)
    assert "idea_big" in text_of(world, after.champion.tip)
    assert "lucky" not in text_of(world, after.champion.tip)
    (event,) = events(world, "minimise")
    assert [one["ideas"] for one in event["tested"]] == [["lucky1"]]
    tip = tip_of(after).tip
    parents = subprocess.run(
        ["git", "-C", str(folder), "rev-parse", f"{tip}^1", f"{tip}^2"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout.split()
    assert parents == [tip_of(state).tip, tip_of(after).measured]
    assert world.history.full_tree(tip) == world.history.full_tree(tip_of(after).measured)
    assert faults(world) == []
    assert "lucky1" in found.reverted
    assert found.race > found.decision.mean, "the races' gain is that of the tip they had chosen"  # type: ignore[union-attr]


def test_a_reverted_tree_that_is_new_is_a_variant_of_its_own(
    started: Started, folder: Path
) -> None:
    world, state = started
    state = told(world, state, LUCKY, BIG)
    after = minimise(world, state)
    assert tip_of(after).ideas == ("big1",)
    assert tip_of(after).tried == ("lucky0",)
    measured = tip_of(after).measured
    archived = world.history.resolve("refs/darwin/archive/0002/min-on-a2")
    assert archived == measured
    assert world.history.resolve("refs/heads/darwin/v/0002/min-on-a2") is None
    assert world.history.message(measured)[1]["Darwin-Operator"] == "minimise"
    assert minimise(world, after) is after, "once is enough"
    later = told(world, after, "idea_more = 0.05")
    assert tip_of(later).ideas == ("big1", "more2"), "life goes on from the minimised tip"
    assert faults(world) == []


def test_a_useful_one_stays(started: Started) -> None:
    world, state = started
    state = told(world, state, BIG, USEFUL)
    after = minimise(world, state)
    assert tip_of(after).ideas == tip_of(state).ideas
    assert tip_of(after).tip == tip_of(state).tip
    assert tip_of(after).minimised == tip_of(after).measured
    assert claim(world, after).reverted == ()
    assert len(events(world, "minimise")) == 1


def test_two_that_only_work_together_stay_and_the_passenger_between_them_goes(
    started: Started,
) -> None:
    world, state = started
    # A long run: its fifth leaves room for every half.
    state = told(world, state, BIG, "idea_a = 0.006", LUCKY, "idea_b = 0.014  # with: a")
    after = minimise(world, replace(state, totals=replace(state.totals, trainings=400)))
    assert tip_of(after).ideas == ("big0", "a1", "b3")


def test_merges_that_conflict_are_tried_apart(started: Started) -> None:
    world, state = started
    # The third changes the second's line, so that to revert the second alone is a conflict.
    state = told(world, state, BIG, "idea_x = 0.007", "idea_x = 0.02")
    after = minimise(world, replace(state, totals=replace(state.totals, trainings=400)))
    assert tip_of(after).ideas == ("big0", "x1", "x2")
    (event,) = [e for e in world.history.events(3) if e["kind"] == "minimise"]
    assert [one["ideas"] for one in event["tested"]] == [["x1", "x2"], ["x1"], ["x2"]]
    assert event["tested"][1]["reason"] == "to revert x1 conflicts in train.py"


def test_a_tip_of_passengers_only_is_the_champion_and_costs_no_certificate(
    started: Started,
) -> None:
    world, state = started
    state = told(world, state, LUCKY)
    spent = world.trials.trained  # type: ignore[attr-defined]
    found = claim(world, state)
    assert found.decision is None
    assert found.reverted == ("lucky0",)
    assert "the best tip is the champion then" in certificates.claim(
        outcome.certified(found, world.metric)
    )
    assert world.trials.trained == spent + 2, "the tip on two seeds; the baseline knows them"  # type: ignore[attr-defined]
    after = world.history.state()
    assert after is not None
    assert after.certificates == 0
    assert tip_of(after).gain == 0.0
    assert faults(world) == []


def test_what_is_certified_is_not_tested_again(started: Started) -> None:
    world, state = started
    state = told(world, state, USEFUL.replace("0.012", "0.0135"), BIG)
    claim(world, state)
    state = world.history.state() or state
    assert state.champion.tip != state.baseline
    before = len(events(world, "minimise"))
    state = told(world, state, "idea_more = 0.05")
    assert minimise(world, state) is state
    assert len(events(world, "minimise")) == before


class Kill(BaseException):
    """Stands for a kill: nothing catches it."""


@pytest.mark.parametrize("at", range(1, 44, 2))
def test_a_kill_at_any_point_repeats_nothing(started: Started, open_world: Any, at: int) -> None:
    world, state = started
    state = told(world, state, LUCKY, BIG, USEFUL)
    spent, count = world.trials.trained, 0  # type: ignore[attr-defined]
    record, settle, grow = world.history.record, world.history.settle, world.history.grow

    def killed(call: Any) -> Any:
        """Killed just before or just after each write."""

        def run(*args: Any, **options: Any) -> Any:
            nonlocal count
            count += 1
            if count == at:
                raise Kill
            found = call(*args, **options)
            count += 1
            if count == at:
                raise Kill
            return found

        return run

    for name, call in (("record", record), ("settle", settle), ("grow", grow)):
        setattr(world.history, name, killed(call))
    ended = False
    try:
        claim(world, state)
        ended = True
    except Kill:
        spent = world.trials.trained  # type: ignore[attr-defined]
        world = open_world()
        later = world.history.state()
        assert later is not None
        claim(world, later)
    after = world.history.state()
    assert after is not None
    assert after.champion.ideas == ("big1", "useful2")
    assert len(events(world, "minimise")) == len(events(world, "certificate")) == 1
    assert faults(world) == []
    notes = world.history._repository.notes  # type: ignore[attr-defined]
    stored = sum(len(of_kind(records, "replicate")) for _, records in notes.all())
    trained = world.trials.trained + (0 if ended else spent)  # type: ignore[attr-defined]
    lost = trained - stored
    assert lost in (0, 1), (
        "a kill before a record loses that one training; nothing else is repeated"
    )
    assert after.totals.trainings == stored


VANISHES = "idea_short = 0.06  # large: -0.01"


def test_a_gain_that_vanishes_at_a_larger_budget_is_labelled_and_the_champion_stays(
    started: Started, folder: Path
) -> None:
    world, state = started
    state = told(world, state, VANISHES)
    found = claim(world, state)
    assert found.decision is not None
    assert found.certified
    assert found.scale_bound
    assert not found.moved
    assert found.scale is not None
    assert found.scale.effects == pytest.approx((-0.01, -0.01), abs=0.015)
    assert found.decision.sentence.startswith("certified, but scale-bound: ")
    later = world.history.state()
    assert later is not None
    assert later.champion == state.champion
    assert world.history.resolve("refs/heads/darwin/champion") == state.baseline
    assert later.fresh == 10, "8 of the certificate's looks, 2 of the check"

    spent = world.trials.trained  # type: ignore[attr-defined]
    again = claim(world, later)
    assert again.scale_bound
    assert not again.moved
    assert world.trials.trained == spent, "it is checked once"  # type: ignore[attr-defined]
    assert len(events(world, "certificate")) == 1
    repository = world.history._repository  # type: ignore[attr-defined]
    report = read.report(repository, world.history)  # type: ignore[arg-type]
    assert report["certified"] is None
    assert "SCALE-BOUND" in terminal.report(report)
    assert "4 x: +" in terminal.report(report)

    accepted = claim(world, later, accept=True)
    assert accepted.moved
    assert world.trials.trained == spent  # type: ignore[attr-defined]
    after = world.history.state()
    assert after is not None
    assert after.champion.ideas == ("short0",)
    assert world.history.message(after.champion.tip)[1]["Darwin-Scale"] == "bound, accepted"
    report = read.report(repository, world.history)  # type: ignore[arg-type]
    assert report["certified"]["moves"] == 1
    assert report["scale_bound"] == []
    assert "(scale-bound)" in terminal.report(report)
    assert faults(world) == []


def test_nobodys_acceptance_is_found_out(started: Started, folder: Path) -> None:
    world, state = started
    state = told(world, state, VANISHES)
    claim(world, state, accept=True)
    after = world.history.state()
    assert after is not None
    assert after.champion.ideas == ("short0",), "a person may say so beforehand"
    git = ["git", "-C", str(folder)]
    raw = subprocess.run(
        [*git, "cat-file", "commit", after.champion.tip], check=True, capture_output=True
    ).stdout
    forged = raw.replace(b"Darwin-Scale: bound, accepted\n", b"")
    assert forged != raw
    made = subprocess.run(
        [*git, "hash-object", "-t", "commit", "-w", "--stdin"],
        input=forged,
        check=True,
        capture_output=True,
        text=False,
    ).stdout.decode()
    repository = world.history._repository  # type: ignore[attr-defined]
    found = verify(repository, world.history, world.config.selection, made.strip())  # type: ignore[arg-type]
    assert any("no person accepted it" in fault for fault in found["faults"])


def test_the_check_stands_in_message_report_and_note(started: Started) -> None:
    world, state = started
    state = told(world, state, BIG)
    found = claim(world, state)
    assert found.moved
    assert found.scale is not None
    assert found.scale.gain == pytest.approx(0.08, abs=0.01)
    after = world.history.state()
    assert after is not None
    (note,) = of_kind(world.history.records(after.champion.measured), "certificate")
    assert note["scale"]["factor"] == 4.0
    assert note["scale_bound"] is False
    assert "at 4 times the budget" in note["sentence"]
    repository = world.history._repository  # type: ignore[attr-defined]
    row = read.report(repository, world.history)["certified"]["certificates"][0]  # type: ignore[arg-type]
    assert row["scale"]["gain"] == found.scale.gain
    table = certificates.claim(outcome.certified(found, world.metric))
    for column in ("race's seeds", "fresh seeds (95 %)", "final split", "larger budget"):
        assert column in table


def test_both_can_be_switched_off(started: Started, open_world: Any) -> None:
    world, state = started
    state = told(world, state, BIG, LUCKY)
    world = open_world(selection={"minimise": False, "scale_check": 0})
    assert trainings_reserved(world, state) == 16
    assert rounds_reserved(world, state) == 16
    found = claim(world, state)
    assert (found.scale, found.reverted) == (None, ())
    assert found.moved
    assert "lucky" in text_of(world, world.history.state().champion.tip)  # type: ignore[union-attr]


def test_the_reserve_counts_what_comes_before_and_after(started: Started) -> None:
    world, state = started
    assert trainings_reserved(world, state) == 4 + 16 + 16
    night = replace(state, totals=replace(state.totals, trainings=240))
    assert trainings_reserved(world, night) == 32 + 16 + 16, "a fifth of 240, and the certificate"
    state = told(world, state, BIG)
    each = state.totals.train_seconds / state.totals.trainings
    world.account.command = Allowed("this command", seconds=each * 35)
    with pytest.raises(DarwinError) as refused:
        claim(world, state)
    assert refused.value.exit_code == SPENT


def test_run_ends_with_a_claim_that_says_what_happened(started: Started) -> None:
    world, state = started
    state = told(world, state, VANISHES)
    wired = Wired(world.history._repository, world.history, world.config, world, {})  # type: ignore[attr-defined,arg-type]
    data = outcome.certified(evolve.certify(wired), world.metric)
    assert data["scale_bound"]
    assert not data["moved"]
    assert "--accept-scale-bound" in certificates.claim(data)
    data = outcome.certified(evolve.certify(wired, True), world.metric)
    assert data["moved"]
    assert certificates.claim(data).endswith("as you wanted")
