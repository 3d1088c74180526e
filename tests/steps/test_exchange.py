"""Asking models from a generation: durable, paid once, repaired, never held against an outage."""

import json
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from darwin_git.commands import read
from darwin_git.config import Agent
from darwin_git.domain.account import Account, Allowed
from darwin_git.domain.exchange import Reply, Usage
from darwin_git.domain.learning.fold import fold
from darwin_git.domain.learning.lesson import lesson_event, new_lesson, retire_event
from darwin_git.domain.outcome import Decision
from darwin_git.domain.planning import Plan, Planned
from darwin_git.domain.population import State
from darwin_git.errors import SPENT, DarwinError
from darwin_git.generation import step
from darwin_git.steps.exchange import open_account
from darwin_git.steps.world import World
from darwin_git.store.ledger import LESSONS, Ledger

from .talker import PRICE, Answer, Talker, line

Started = tuple[World, State]
INFRA = Reply("infra", reason="the server answered 503", usage=Usage(tokens_in=100, calls=1))


def git(folder: Path, *words: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(folder), *words], check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


def talking(world: World, answer: Answer, agents: tuple[str, ...] = ("a1",)) -> dict[str, Talker]:
    """Give agents a talker; the others keep what they have."""
    talkers = {name: Talker(answer) for name in agents}
    world.proposers = {**world.proposers, **talkers}
    return talkers


def variant_of(world: World, generation: int, mutator: str) -> str:
    plan = world.history.plan(generation)
    assert plan is not None
    found = next(one for one in plan.trials if one.mutator == mutator)
    assert found.how == "mutate", "the test's seed plans a mutation"
    return f"{generation:04d}/{found.slug}"


def log(folder: Path, variant: str) -> list[str]:
    """Messages of a variant's own commits, the latest first."""
    refs = git(folder, "for-each-ref", "--format=%(refname)", "refs/heads", "refs/darwin").split()
    ref = next(ref for ref in refs if ref.endswith(variant) and "exchange" not in ref)
    base = git(folder, "rev-parse", "main")
    out = git(folder, "log", "--first-parent", "--format=%B%x00", f"{base}..{ref}")
    return [text.strip() for text in out.split("\0") if text.strip()]


def test_a_mutation_names_its_exchange_and_its_cost(started: Started, folder: Path) -> None:
    world, state = started
    talkers = talking(world, lambda asked: line("good", 0.05))
    done = step(world, state)
    variant = variant_of(world, 1, "a1")
    (message,) = log(folder, variant)
    trailers = dict(row.split(": ", 1) for row in message.splitlines() if row.startswith("Darwin-"))
    assert trailers["Darwin-Tokens"] == "100 in, 50 out"
    assert trailers["Darwin-Cost-USD"] == "0.010000"
    assert trailers["Darwin-Idea"] == "good"
    assert "Darwin-Repair" not in trailers, "a proposer cannot say what only the steps know"
    path, blob = trailers["Darwin-Exchange"].split("@")
    assert git(folder, "rev-parse", f"refs/darwin/exchange:{path}").startswith(blob)
    assert done.after.models.calls == 1
    assert done.after.models.usd == pytest.approx(0.01)
    assert talkers["a1"].asked[0]["loss"] == pytest.approx(2.3, abs=0.1)
    assert world.account.total.tokens == 150
    trial = next(t for t in done.trials if t.planned.mutator == "a1")
    assert trial.won
    assert not world.history.trusted(trial.commit), "a model's code is never trusted"
    assert done.after.agents[trial.planned.target].ideas == ("good",)


def test_a_broken_mutation_is_repaired_with_what_the_screen_said(
    started: Started, folder: Path
) -> None:
    world, state = started

    def answer(asked: Mapping[str, Any]) -> str:
        return line("mended", 0.05) if "attempt" in asked else "syntax error\n" + line("bad", 0.0)

    talkers = talking(world, answer)
    done = step(world, state)
    trial = next(t for t in done.trials if t.planned.mutator == "a1")
    assert trial.won and trial.repairs == 1 and trial.failures == ("syntax",)
    assert [asked.get("failure") for asked in talkers["a1"].asked] == [None, "syntax"]
    messages = log(folder, variant_of(world, 1, "a1"))
    assert len(messages) == 2, "each attempt is a commit on the variant's branch"
    assert "Darwin-Repair: 1" in messages[0] and "Darwin-Failures: syntax" in messages[0]
    assert done.after.mutations.failed == 1
    assert done.after.mutations.repaired == 1
    assert done.after.mutations.classes == {"syntax": 1}
    assert (trial.subject, trial.repair) == ("Try bad", "Try mended")
    known = world.history.lessons()
    (lesson,) = (one for one in known.values() if one.kind == "workflow")
    assert "with bad, mended by “Try mended”" in lesson.text


def test_repairs_end(started: Started, folder: Path) -> None:
    world, state = started
    talkers = talking(world, lambda asked: f"syntax error\nx{len(asked)}{asked.get('attempt')}\n")
    done = step(world, state)
    trial = next(t for t in done.trials if t.planned.mutator == "a1")
    assert trial.verdict == "crashed" and trial.failure == "syntax"
    assert len(talkers["a1"].asked) == 1 + world.config.repair.attempts
    assert len(log(folder, variant_of(world, 1, "a1"))) == 1 + world.config.repair.attempts
    assert (done.after.mutations.failed, done.after.mutations.repaired) == (1, 0)


def test_what_was_tried_is_told_and_something_else_is_asked_for(started: Started) -> None:
    world, state = started
    talking(world, lambda asked: line("same", -0.01))
    state = step(world, state).after

    def stubborn(asked: Mapping[str, Any]) -> str:
        return line("new", 0.05) if len(asked["refusals"]) == 2 else line("same", -0.01)

    talkers = talking(world, stubborn)
    done = step(world, state)
    variant_of(world, 2, "a1")
    told = [asked["refusals"] for asked in talkers["a1"].asked]
    assert [len(one) for one in told] == [0, 1, 2]
    assert "made the same change: it was decided prune, with a gain of" in told[1][0]
    trial = next(t for t in done.trials if t.planned.mutator == "a1")
    assert trial.idea == "new" and trial.trainings > 0


def test_an_outage_is_nobodys_fault(started: Started, folder: Path) -> None:
    world, state = started
    told: list[str] = []
    world.tell = lambda what, **facts: told.append(what)
    talking(world, lambda asked: INFRA)
    done = step(world, state)
    trial = next(t for t in done.trials if t.planned.mutator == "a1")
    assert trial.verdict == "infra" and "503" in trial.reason
    assert sum(t.verdict == "ok" for t in done.trials) >= 2, "the others went on"
    assert done.after.agents["a1"].tries == 0, "not held against the agent"
    assert done.after.mutations.made == sum(
        t.planned.how == "mutate" and t.verdict != "infra" for t in done.trials
    )
    assert done.after.models.calls == 1, "what it took is counted all the same"
    variant = f"0001/{trial.planned.slug}"
    with pytest.raises(DarwinError, match="was not committed; infra: the server answered 503") as e:
        read.show(world.history._repository, world.history, variant)
    place = e.value.hint.partition("git show ")[2]
    assert json.loads(git(folder, "cat-file", "-p", place))["variant"] == variant


def test_an_outage_of_everybody_burns_no_generation(started: Started) -> None:
    world, state = started
    world.proposers = dict.fromkeys(world.proposers, Talker(lambda asked: INFRA))
    with pytest.raises(DarwinError, match="no agent could propose: the server answered 503"):
        step(world, state)
    assert world.history.state() == state
    world.proposers = dict.fromkeys(world.proposers, Talker(lambda asked: line("late", 0.05)))
    done = step(world, world.history.state())
    assert done.after.generation == 1
    assert any(t.verdict == "ok" for t in done.trials)


def test_an_outage_during_the_repair_is_not_held_against_the_variant(started: Started) -> None:
    world, state = started
    talking(world, lambda asked: INFRA if "attempt" in asked else "syntax error\n")
    trial = next(t for t in step(world, state).trials if t.planned.mutator == "a1")
    assert trial.verdict == "infra"


class Stop(Exception):
    """Stands for a kill: nothing catches it."""


@pytest.mark.parametrize("at", range(1, 40, 2))
def test_a_killed_step_asks_nobody_twice(started: Started, open_world: Any, at: int) -> None:
    world, state = started
    count = 0

    def answer(asked: Mapping[str, Any]) -> str:
        if "attempt" in asked:
            return line(f"mended{asked['attempt']}", 0.01)
        return "syntax error\n" + line(asked["mutator"], 0.02)

    def stop_at(what: str, **facts: object) -> None:
        nonlocal count
        count += 1
        if count == at:
            raise Stop

    def talkers(world: World) -> list[Talker]:
        found = talking(world, answer, ("a1", "a2", "a3", "a4"))
        return list(found.values())

    world.tell = stop_at
    first = talkers(world)
    try:
        after = step(world, state).after
    except Stop:
        again = open_world()
        second = talkers(again)
        again.account, _ = open_account(again.history, again.config.budget)
        after = step(again, again.history.state()).after
    else:
        second = []
    kept = world.history.exchanges("0001") if not second else again.history.exchanges("0001")
    questions = [str(asked) for talker in (*first, *second) for asked in talker.asked]
    # A kill after the answer came and before it was kept loses that one answer.
    assert len(questions) - len(set(questions)) <= 1
    assert len({e.digest for e in kept}) == len(kept)
    assert after.models.calls == len(kept)
    assert after.generation == 1


def test_a_call_that_could_pass_the_limit_is_not_made(started: Started) -> None:
    world, state = started
    talkers = talking(world, lambda asked: line("x", 0.05))
    world.account = Account(command=Allowed("this command", usd=0.005))
    with pytest.raises(DarwinError, match=r"this command allows 0.005 USD") as refused:
        step(world, state)
    assert refused.value.exit_code == SPENT
    assert "0 calls" in refused.value.message
    assert talkers["a1"].asked == []
    world.account = Account()
    assert step(world, world.history.state()).after.generation == 1, "and goes on later"


def test_a_slow_model_holds_up_nobodys_training(started: Started) -> None:
    world, state = started
    order: list[str] = []
    world.tell = lambda what, **facts: order.append(f"{what} {facts.get('variant', '')}")

    def slow(asked: Mapping[str, Any]) -> str:
        time.sleep(1.0)
        return line("slow", 0.05)

    talking(world, slow)
    step(world, state)
    late = variant_of(world, 1, "a1")
    answered = order.index(f"answer {late}")
    raced = [i for i, what in enumerate(order) if what.startswith("raced") and "mix" not in what]
    assert sum(i < answered for i in raced) == len(raced) - 1


def test_models_are_asked_at_once(started: Started) -> None:
    world, state = started

    def slow(asked: Mapping[str, Any]) -> str:
        time.sleep(0.5)
        return line(asked["mutator"], 0.01)

    talking(world, slow, ("a1", "a2", "a3", "a4"))
    began = time.monotonic()
    step(world, state)
    assert time.monotonic() - began < 1.9, "four answers of half a second each"


def conflicting(world: World, state: State) -> State:
    """Two lineages that both changed the same line."""
    lines = iter(("value_3 = 10.0\n", "value_3 = 20.0\n"))

    class Clash(Talker):
        def propose(self, assignment: Any) -> Any:
            yield from ()
            text = assignment.files["train.py"]
            old = next(row for row in text.splitlines(True) if row.startswith("value_3 "))
            name = f"c{assignment.mutator}"
            new = text.replace(old, next(lines)) + line(name, 0.05)
            proposal = self.proposal(new, line(name, 0.05))
            return proposal

    world.proposers = dict.fromkeys(world.proposers, Clash(lambda asked: ""))
    trials = tuple(
        Planned(f"{m}-on-{t}", "mutate", m, t, state.agents[t].tip, 1)
        for m, t in (("a2", "a1"), ("a1", "a2"))
    )
    world.history.write_plan(Plan(state.generation + 1, trials))
    after = step(world, state).after
    assert after.agents["a1"].ideas and after.agents["a2"].ideas
    return after


def test_a_crossovers_conflict_is_resolved_by_the_mutator(started: Started, folder: Path) -> None:
    world, state = started
    state = conflicting(world, state)
    seen: list[str] = []

    def answer(asked: Mapping[str, Any]) -> str:
        seen.append(asked["marked"]["train.py"])
        keep = [
            row
            for row in seen[0].splitlines(True)
            if not row.startswith(("<<<<<<<", "|||||||", "=======", ">>>>>>>"))
        ]
        return "".join(dict.fromkeys(keep))

    world.proposers = dict.fromkeys(world.proposers, Talker(answer))
    tips = state.agents["a2"].tip, state.agents["a1"].tip
    planned = Planned("a1-on-a2", "crossover", "a1", "a2", tips[0], 1, other=tips[1])
    world.history.write_plan(Plan(state.generation + 1, (planned,)))
    done = step(world, state)
    assert "<<<<<<<" in seen[0] and "value_3 = 10.0" in seen[0] and "value_3 = 20.0" in seen[0]
    trial = done.trials[0]
    assert trial.verdict == "ok"
    assert git(folder, "rev-parse", f"{trial.commit}^1", f"{trial.commit}^2").split() == list(tips)
    assert "Darwin-Resolved: train.py" in git(folder, "show", "-s", "--format=%B", trial.commit)
    assert not world.history.trusted(trial.commit)


def test_the_lessons_that_were_shown_stand_in_the_mutations_record(started: Started) -> None:
    world, state = started
    talkers = talking(world, lambda asked: line(f"i{len(asked['past'])}", 0.05))
    shown: list[Any] = []
    for _ in range(3):
        done = step(world, state)
        state = done.after
        shown += [t for t in done.trials if t.lessons]
    assert any(asked.get("lessons") for asked in talkers["a1"].asked), "what won is remembered"
    assert shown, "and the trial says which lessons its mutator saw"
    records = world.history.records(shown[0].commit)
    assert next(r for r in records if r["kind"] == "verdict")["lessons"] == list(shown[0].lessons)
    events = world.history.memory()
    assert {event["kind"] for event in events} >= {"lesson", "shown"}


def test_memory_off_shows_and_writes_nothing(
    started: Started, open_world: Callable[..., World]
) -> None:
    world = open_world(memory={"mode": "off"})
    state = world.history.state()
    talkers = talking(world, lambda asked: line(f"i{len(asked['past'])}", 0.05))
    for _ in range(3):
        state = step(world, state).after  # type: ignore[arg-type]
    assert all(not asked["lessons"] for asked in talkers["a1"].asked if "lessons" in asked)
    assert list(world.history.memory()) == []


def test_lessons_are_kept_between_generations_and_retired_ones_are_not_reflected_on(
    started: Started, monkeypatch: pytest.MonkeyPatch
) -> None:
    world, state = started
    agents = {**world.config.agents, "a1": Agent(kind="llm", model="m")}
    chosen = world.config.memory.model_copy(update={"reflect": True})
    world.config = world.config.model_copy(update={"agents": agents, "memory": chosen})
    own = [
        lesson_event(new_lesson("recipe", text, ("talk",), "person", 0), 0, None)
        for text in ("Keep me.", "Forget me.")
    ]
    gone = retire_event(own[1]["id"], "wrong", "person", 0)
    world.history._repository.memory.append(0, [*own, gone])  # type: ignore[attr-defined]
    read, seen = Ledger.read, list[str]()

    def watched(self: Ledger, path: str, commit: str | None = None) -> bytes | None:
        seen.append(path)
        return read(self, path, commit)

    monkeypatch.setattr(Ledger, "read", watched)
    talkers = talking(world, lambda asked: line(f"i{len(asked)}", 0.05))
    for _ in range(2):
        state = step(world, state).after
        assert not [path for path in seen if path.startswith(("memory/", LESSONS))]
        before = [e for e in world.history.memory() if e["generation"] < state.generation]
        assert len(world.lessons) >= 2 and world.lessons == fold(before)
        seen.clear()
    told = [asked["lessons"] for asked in talkers["a1"].asked if "trials" in asked]
    assert len(told) == 2
    assert all("Keep me." in texts and "Forget me." not in texts for texts in told)


def test_decisions_are_words_of_ours() -> None:
    assert {str(one) for one in Decision} == {"adopt", "winner", "park", "prune"}
    assert PRICE.usd == 0.01
