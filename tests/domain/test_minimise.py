"""Group testing: what can go, found with few questions."""

import itertools

import pytest

from darwin_git.domain.minimise import Adopted, GroupTest, groups_allowed, trainings_of
from darwin_git.domain.statistics import expendable


def asked(items: str, needed: set[frozenset[str]]) -> tuple[list[str], str]:
    """(questions, what went), where a set of reverted merges is worse if it cuts a needed one."""
    tests, questions = GroupTest(tuple(items)), []
    while (group := tests.next_group()) is not None:
        questions.append("".join(group))
        lost = {*tests.gone, *group}
        tests.answer(not any(lost & one for one in needed))
    return questions, "".join(tests.gone)


def test_where_nothing_helps_one_question_is_enough() -> None:
    assert asked("abcdefgh", set()) == (["abcdefgh"], "abcdefgh")
    assert asked("", set()) == ([], "")


def test_one_that_helps_is_found_by_halves() -> None:
    questions, gone = asked("abcd", {frozenset("c")})
    assert sorted(gone) == ["a", "b", "d"]
    assert questions == ["abcd", "ab", "d"] or len(questions) <= 4


def test_what_a_failure_says_already_is_not_asked() -> None:
    """ab is worse, a can go: to revert b as well is the tree that was worse."""
    assert asked("ab", {frozenset("b")}) == (["ab", "a"], "a")


def test_pairs_that_only_work_together_stay() -> None:
    for pair in itertools.combinations("abcdef", 2):
        _, gone = asked("abcdef", {frozenset(pair)})
        assert set(gone) == set("abcdef") - set(pair)


def test_everything_that_can_go_goes_whatever_is_needed() -> None:
    for size in range(6):
        for needed in itertools.combinations("abcde", size):
            _, gone = asked("abcde", {frozenset(one) for one in needed})
            assert set(gone) == set("abcde") - set(needed)


def test_a_fifth_of_the_run_pays_for_both() -> None:
    for trainings in range(100, 1000, 50):
        most = trainings_of(groups_allowed(trainings, 16)) + 16
        assert most <= trainings / 5 + 1 or groups_allowed(trainings, 16) == 1
    assert groups_allowed(40, 16) == 1, "a short run tries all of them together, once"


def test_the_burden_of_proof_is_the_merges() -> None:
    assert expendable([0.0, 0.0], 0.01)
    assert expendable([-0.0005, -0.001], 0.01)
    assert not expendable([-0.001, -0.002], 0.01)
    with pytest.raises(ValueError, match="finite"):
        expendable([], 0.01)


def adopt(agent: str, tip: str, gain: float) -> list[dict[str, object]]:
    variant = f"0001/{tip}"
    return [
        {"kind": "trial", "variant": variant, "gain": gain},
        {
            "kind": "adopt", "agent": agent, "tip": tip, "measured": f"m{tip}",
            "variant": variant, "idea": tip, "ideas": [tip],
        },
    ]  # fmt: skip


def test_merges_are_followed_through_replacement_minimising_and_the_champions_move() -> None:
    base = {"kind": "baseline", "agents": ["a1", "a2"], "commit": "b"}
    events = [base, *adopt("a1", "x", 0.05), *adopt("a1", "y", 0.004), *adopt("a2", "z", 0.004)]
    found = Adopted.fold(events)
    assert [one.before for one in found.lineages["a1"]] == ["b", "x"]
    assert [one.merge for one in found.doubtful("a1", 0.01)] == ["y"]

    replaced = {"kind": "replace", "agent": "a2", "by": "a1", "tip": "r", "measured": "my"}
    found = Adopted.fold([*events, replaced, *adopt("a2", "w", 0.003)])
    assert [one.merge for one in found.doubtful("a2", 0.01)] == ["y", "w"], "z is no longer there"
    assert found.lineages["a2"][-1].before == "r"

    gone = {
        "kind": "minimise", "agent": "a1", "tip": "n", "before": "my", "measured": "mn",
        "reverted": [{"merge": "y"}],
    }  # fmt: skip
    champion = {"kind": "champion", "measured": "mn"}
    found = Adopted.fold([*events, gone, champion, *adopt("a1", "v", 0.002)])
    assert [one.merge for one in found.lineages["a1"]] == ["x", "v"]
    assert found.champion == {"x"}
    assert [one.merge for one in found.doubtful("a1", 1.0)] == ["v"], "x is certified"
    assert "a1" not in found.before, "its tip was minimised before v, not since"
