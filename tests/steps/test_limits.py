"""Limits that hold whatever fails, and what a kill must not change: questions, names, sums."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from benchmarks.free import FreeTrials
from darwin_git.commands import evolve
from darwin_git.config import Agent, Memory
from darwin_git.domain.account import Account, Allowed
from darwin_git.domain.exchange import Reply, Usage
from darwin_git.domain.planning import Plan, Planned
from darwin_git.domain.population import State
from darwin_git.domain.trial import Allowance, Screened, Subject, Verdict
from darwin_git.errors import SPENT, DarwinError
from darwin_git.generation import step
from darwin_git.ports import Proposal, Slot
from darwin_git.steps import measure
from darwin_git.steps.brief import assignment, learn_the_past
from darwin_git.steps.drive import drive
from darwin_git.steps.exchange import open_account
from darwin_git.steps.propose import forbidden
from darwin_git.steps.world import World

from .talker import PRICE, Talker, line
from .test_commands import git, wire
from .test_exchange import Stop, talking

Started = tuple[World, State]


def alone(world: World, state: State) -> None:
    """A generation of one variant: a1's mutation of a2."""
    planned = Planned("a1-on-a2", "mutate", "a1", "a2", state.agents["a2"].tip, 1)
    world.history.write_plan(Plan(state.generation + 1, (planned,)))


def test_an_outage_that_was_paid_for_stays_in_the_account(started: Started) -> None:
    """An empty answer costs as much as another; the next step's answer is kept over it."""
    world, state = started
    alone(world, state)
    paid = Usage(tokens_in=100, usd=0.004, counted="api", calls=1)
    talking(world, lambda asked: Reply("infra", reason="the answer was empty", usage=paid))
    for tries in (1, 2):
        with pytest.raises(DarwinError, match="no agent could propose"):
            step(world, state)
        account, _ = open_account(world.history, world.config.budget)
        assert account.total.usd == pytest.approx(tries * 0.004)
        assert account.total.calls == world.account.total.calls == tries
    talking(world, lambda asked: line("late", 0.05))
    after = step(world, state).after
    assert after.models.usd == world.account.total.usd == pytest.approx(2 * 0.004 + 0.01)
    assert after.models.calls == 3


def test_under_a_limit_in_dollars_no_call_of_an_unknown_price_is_made(started: Started) -> None:
    world, state = started
    talker = talking(world, lambda asked: line("x", 0.05))["a1"]
    talker.most = Usage(tokens_in=100, tokens_out=50, usd=None)
    world.account = Account(whole=Allowed("[budget]", usd=1000.0))
    with pytest.raises(DarwinError, match="the next call's price is unknown") as refused:
        step(world, state)
    assert refused.value.exit_code == SPENT
    assert talker.asked == []


def test_a_run_of_a_program_is_no_call_of_a_model() -> None:
    account = Account(command=Allowed("this command", tokens=100, usd=0.001))
    account.settle(account.reserve(PRICE), PRICE)
    assert account.total.tokens > 100, "a server may count more than was reserved"
    assert account.refusal(PRICE)
    assert account.refusal(Usage()) == ""


def test_a_limit_that_is_no_number_allows_nothing() -> None:
    assert Account(command=Allowed("this command", usd=float("nan"))).refusal(PRICE)


def test_a_reflection_that_cannot_be_paid_leaves_the_generation_as_it_is(started: Started) -> None:
    world, state = started
    told: list[str] = []
    world.tell = lambda what, **facts: told.append(str(facts.get("text", "")))
    talkers = talking(world, lambda asked: line("good", 0.05))
    agents = {**world.config.agents, "a1": Agent(kind="llm", model="talker-1")}
    chosen = {"agents": agents, "memory": Memory(reflect=True)}
    world.config = world.config.model_copy(update=chosen)
    world.account = Account(command=Allowed("this command", usd=0.015))
    after = step(world, state).after
    assert after.generation == 1 and after.models.calls == 1
    assert len(talkers["a1"].asked) == 1
    assert any("no reflection" in text and "0.015 USD" in text for text in told)


def test_a_certificate_that_passes_the_device_hours_is_not_trained(
    started: Started, open_world: Any
) -> None:
    """Whoever calls `run` again and again on a spent budget gets no certificate each time."""
    world, state = started
    talking(world, lambda asked: line("good", 0.2))
    alone(world, state)
    state = step(world, state).after
    spent = state.totals.train_seconds
    trials = FreeTrials(world.history.files)
    for hours, claimed in ((spent / 3600, False), (spent / 3600 + 1.0, True)):
        world = open_world(budget={"device_hours": hours})
        world.trials = trials
        done = evolve.run(wire(world), 0 if claimed else 1, None, "")
        assert (done.claim is not None) == claimed
        assert (done.exit_code == SPENT) == (not claimed)
        assert (trials.trained > 0) == claimed


def test_a_generation_leaves_the_certificate_its_trainings(
    started: Started, open_world: Any
) -> None:
    """Of a race all its seeds are reckoned, and the unions."""
    _, state = started
    each = state.totals.train_seconds / state.totals.trainings
    needed = 4 * 4 + 3 * 2 + 16
    hours = (state.totals.train_seconds + each * (needed - 1)) / 3600
    world = open_world(budget={"device_hours": hours}, selection={"race": (1, 4)})
    with pytest.raises(DarwinError, match="certificate's trainings") as refused:
        step(world, state)
    assert refused.value.exit_code == SPENT


class Chatty(FreeTrials):
    """Its failures leave long logs."""

    def screen(self, subject: Subject, reference: Allowance | None, slot: Slot) -> Screened:
        found = super().screen(subject, reference, slot)
        if found.verdict is Verdict.OK:
            return found
        log = "".join(f"line {n} of a traceback\n" for n in range(400))[-5000:]
        return Screened(found.verdict, found.reason, found.failure, log)


def test_a_repair_is_the_same_question_after_a_kill(started: Started, open_world: Any) -> None:
    world, state = started
    asked: list[Mapping[str, Any]] = []

    def answer(question: Mapping[str, Any]) -> str:
        asked.append(question)
        return line("mended", 0.05) if "attempt" in question else "syntax error\n"

    def stop(what: str, **facts: Any) -> None:
        if what == "answer" and facts["exchange"].purpose == "repair":
            raise Stop

    alone(world, state)
    talking(world, answer)
    world.trials, world.tell = Chatty(world.history.files), stop
    with pytest.raises(Stop):
        step(world, state)
    again = open_world()
    again.trials = Chatty(again.history.files)
    talking(again, answer)
    after = step(again, state).after
    assert len(asked) == 2, "the answer that git holds is used"
    assert len(asked[1]["log"]) >= 3999, "and a mutator sees the whole end of the log"
    assert after.mutations.repaired == 1


class Person(Talker):
    """A program that names its idea, and itself as the operator."""

    def proposal(self, text: str, added: str) -> Proposal:
        made = super().proposal(text, added)
        who = {"Darwin-Operator": "program 0123456789ab"}
        return Proposal(made.files, "wide", made.subject, "", "", who)


@pytest.mark.parametrize("broken", [False, True])
def test_a_variant_keeps_its_name_and_title_over_a_kill(
    started: Started, open_world: Any, broken: bool
) -> None:
    world, state = started

    def answer(question: Mapping[str, Any]) -> str:
        if "attempt" in question:
            return line("mended", 0.05)
        return ("syntax error\n" if broken else "") + line("first", 0.05)

    def stop(what: str, **facts: Any) -> None:
        if what == "train":
            raise Stop

    alone(world, state)
    world.proposers = dict.fromkeys(world.proposers, Person(answer))
    world.tell = stop
    with pytest.raises(Stop):
        step(world, state)
    again = open_world()
    again.proposers = dict.fromkeys(again.proposers, Person(answer))
    (trial, *_) = step(again, state).trials
    assert (trial.idea, trial.subject) == ("wide", "Try first")
    assert trial.repairs == int(broken)


def test_what_a_generation_measures_changes_none_of_its_prompts(started: Started) -> None:
    """Its races train parents on further seeds; a prompt rendered after a kill is the same."""
    world, state = started
    talking(world, lambda asked: "")
    alone(world, state)
    plan = world.history.plan(1)
    assert plan is not None
    learn_the_past(world, state)
    before = assignment(world, state, plan, plan.trials[0])
    subject = world.subject(state.agents["a2"].measured, "parent")
    allowance = measure.reference(world, state.baseline)
    steps = measure.replicates(world, subject, [91, 92], allowance, 1)
    drive({"more": steps}, world.executor)
    after = assignment(world, state, plan, plan.trials[0])
    assert len(measure.known_replicates(world, subject)) == 10
    assert after.fitness == before.fitness


@pytest.mark.parametrize("unions", [0, 3])
def test_what_a_person_changed_elsewhere_can_be_joined(
    started: Started, folder: Path, open_world: Any, unions: int
) -> None:
    """README.md is not the agents' to change; a lineage that adopted it is still worth joining."""
    world = open_world(sandbox={"allow_unsandboxed": True}, selection={"union_tries": unions})
    git(folder, "switch", "-q", "-c", "mine", "main")
    (folder / "README.md").write_text("Read me.\n")
    (folder / "train.py").write_text("idea_mine = 0.2\n" + (folder / "train.py").read_text())
    git(folder, "add", "-A")
    git(folder, "commit", "-qm", "Mine")
    git(folder, "switch", "-q", "main")
    state = evolve.propose(wire(world), "mine", "a2").after
    assert state.agents["a2"].ideas
    base, mine = git(folder, "rev-parse", "main"), git(folder, "rev-parse", "mine")
    for how, found in (("mix", []), ("crossover", ["README.md"])):
        third = Planned("mix-on-a1", how, "a1", "a1", base, 1, other=base)  # type: ignore[arg-type]
        assert forbidden(world, third, mine) == found, "of several winners another brought it"
    talking(world, lambda asked: line(asked["mutator"], 0.1), ("a3", "a4"))
    trials = [
        Planned(f"{m}-on-{t}", "mutate", m, t, state.agents[t].tip, 1)
        for m, t in (("a3", "a1"), ("a4", "a3"))
    ]
    world.history.write_plan(Plan(state.generation + 1, tuple(trials)))
    done = step(world, state)
    assert [t.verdict for t in done.trials] == ["ok"] * (2 + bool(unions))
    if unions:
        return
    agents = done.after.agents
    assert agents["a1"].ideas == ("a3",)
    tips = agents["a1"].tip, agents["a2"].tip
    planned = Planned("a2-on-a1", "crossover", "a2", "a1", tips[0], 1, other=tips[1])
    world.history.write_plan(Plan(done.after.generation + 1, (planned,)))
    trial = step(world, done.after).trials[0]
    assert trial.verdict == "ok", trial.reason


@pytest.mark.parametrize(
    "path", ["a/" * 70 + "x.py", "images/x.py", "images/logo", "pictures", "darwin.toml/x"]
)
def test_a_path_that_no_tree_can_have_is_the_variants_fault(
    started: Started, folder: Path, open_world: Any, path: str
) -> None:
    """An error would end this step and, since the answer is kept, every later one."""
    (folder / "images").write_bytes(b"\x89PNG\0")
    (folder / "pictures").mkdir()
    (folder / "pictures" / "a").write_bytes(b"\x89PNG\0")
    (folder / "darwin.toml").write_text("")
    git(folder, "add", "-A")
    git(folder, "commit", "-qm", "Pictures")
    world = open_world(genome={"mutable": ("**",), "protected": ()})
    _, state = started
    planned = Planned("a1-on-a2", "mutate", "a1", "a2", git(folder, "rev-parse", "main"), 1)
    world.history.write_plan(Plan(state.generation + 1, (planned,)))

    class Odd(Talker):
        def proposal(self, text: str, added: str) -> Proposal:
            return Proposal({path: "x = 1\n"}, "odd", "Odd", "", "", {})

    world.proposers = dict.fromkeys(world.proposers, Odd(lambda asked: ""))
    trial = step(world, state).trials[0]
    assert (trial.verdict, trial.failure) == ("rejected", "answer")


def test_a_refused_key_loses_nobody_elses_answer(started: Started, open_world: Any) -> None:
    world, state = started

    def answer(asked: Mapping[str, Any]) -> str:
        if asked["mutator"] == "a1":
            raise DarwinError("the key is refused", hint="another one")
        time.sleep(0.3)
        return line(asked["mutator"], 0.01)

    talkers = talking(world, answer, ("a1", "a2", "a3"))
    with pytest.raises(DarwinError, match="the key is refused"):
        step(world, state)
    paid = sum(len(talkers[name].asked) for name in ("a2", "a3"))
    assert paid == 2
    assert world.account.total.calls == paid
    again = open_world()
    assert again.account.total.usd == pytest.approx(paid * 0.01)
    others = talking(again, lambda asked: line(asked["mutator"], 0.01), ("a1", "a2", "a3"))
    after = step(again, state).after
    assert [len(others[name].asked) for name in ("a1", "a2", "a3")] == [1, 0, 0]
    assert after.models.calls == 3
