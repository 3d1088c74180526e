"""How readers' data reads: small hand-made data, and the text that people see."""

from typing import Any

import pytest

from darwin_git.domain.metric import PERPLEXITY
from darwin_git.report import certificates, terminal
from darwin_git.report.table import table

STATUS: dict[str, Any] = {
    "generation": 5,
    "baseline": "0123456789abcdef",
    "baseline_value": 20.5,
    "noise": {"seeds": 8, "words": "a gain under 1.2 % of perplexity cannot be told from luck"},
    "champion": {"ideas": ["muon", "swiglu"], "moved": 5},
    "best": "a2",
    "agents": {
        "a1": {"gain": 0.0, "wins": 0, "tries": 4, "ideas": []},
        "a2": {"gain": 0.08, "wins": 2, "tries": 5, "ideas": ["muon", "swiglu"]},
    },
    "parked": {"0003/a1-on-a2": {"idea": "rotary", "gain": 0.001}},
    "totals": {
        "trainings": 40,
        "train_seconds": 90.0,
        "variants": 20,
        "decisions": {"prune": 15, "adopt": 5},
    },
    "models": {
        "calls": 3,
        "tokens_in": 1200,
        "tokens_out": 340,
        "usd": 0.0123,
        "unpriced": 0,
        "seconds": 4.0,
    },
    "open": None,
}


def move(generation: int, gain: float, race: float, **facts: Any) -> dict[str, Any]:
    return {
        "generation": generation,
        "gain": gain,
        "low": gain - 0.01,
        "high": gain + 0.01,
        "race": race,
        "final": gain,
        "final_values": [20.0, 19.0],
        "added": [],
        "dropped": [],
        **facts,
    }


def check(*effects: float) -> dict[str, Any]:
    return {"factor": 4.0, "seeds": [1009, 1010], "effects": list(effects), "reason": ""}


def test_status_reads_in_one_screen() -> None:
    assert terminal.status(STATUS) == (
        "generation 5, baseline 0123456789ab with perplexity 20.500 over 8 seeds\n"
        "a gain under 1.2 % of perplexity cannot be told from luck\n"
        "\n"
        "champion: muon + swiglu (certified, generation 5)\n"
        "\n"
        "lineage  provisional  wins  ideas\n"
        "a1       0 %          0/4   the baseline\n"
        "a2 *     -7.69 %      2/5   muon + swiglu\n"
        "\n"
        "stepping stones: rotary -0.10 %\n"
        "\n"
        "spent: 40 trainings, 1.5 minutes of training; 20 variants: 5 adopt, 15 prune\n"
        "models: 3 calls, 1,200 tokens in and 340 out, 0.0123 USD"
    )
    assert "`darwin-git step` finishes it" in terminal.status(STATUS | {"open": 6})
    assert terminal.status({"baseline": None}).startswith("no baseline yet")


def test_two_certified_moves_are_a_sum_and_a_line_each() -> None:
    moves = [
        move(2, 0.04, 0.06, added=["rotary", "muon"], scale=check(0.02, 0.04)),
        move(
            5,
            0.03,
            0.02,
            added=["swiglu"],
            dropped=["rotary"],
            final_values=None,
            scale=check(-0.01, -0.01),
        ),
    ]
    data = {
        "certified": {
            "ideas": ["muon", "swiglu"],
            "gain": 0.07,
            "moves": 2,
            "certificates": moves,
        }
    }
    text = certificates.certified(data)
    assert text[:4] == [
        "CERTIFIED    -6.76 % perplexity: muon + swiglu, the sum over 2 moves of the champion",
        " "
        * 13
        + "generation  ideas                   race's seeds  fresh seeds (95 %)            "
        "final split                 larger budget",
        " "
        * 13
        + "2           rotary + muon           -5.82 %       -3.92 % (-4.88 % to -2.96 %)  "
        "20.000 -> 19.000 (-3.92 %)  4 x: -2.96 %",
        " "
        * 13
        + "5           swiglu, without rotary  -1.98 %       -2.96 % (-3.92 % to -1.98 %)  "
        "-                           4 x: +1.01 % (scale-bound)",
    ]


def test_one_certified_move_is_no_sum() -> None:
    one = {"ideas": ["muon"], "gain": 0.04, "moves": 1, "certificates": [move(2, 0.04, 0.06)]}
    assert certificates.certified({"certified": one})[0] == "CERTIFIED    -3.92 % perplexity: muon"


@pytest.mark.parametrize(
    ("tried", "says"), [([], "0 certificates"), ([{}], "1 certificate "), ([{}, {}], "2 certif")]
)
def test_nothing_certified_says_how_often_it_was_tried(tried: list[Any], says: str) -> None:
    assert says in certificates.certified({"certified": None, "certificate_log": tried})[0]


def trial(idea: str, gain: float | None, decision: str, **facts: Any) -> dict[str, Any]:
    return {
        "kind": "trial",
        "generation": 2,
        "variant": f"0002/a1-on-{idea}",
        "idea": idea,
        "gain": gain,
        "sd": 0.002,
        "decision": decision,
        "verdict": "ok",
        "reason": "",
        **facts,
    }


EVENTS = [
    trial("a2", 0.03, "adopt"),
    trial("a3", None, "prune", verdict="crashed", reason="NameError"),
    {
        "kind": "adopt",
        "generation": 2,
        "agent": "a2",
        "idea": "muon",
        "ideas": ["muon", "rotary"],
        "variant": "0002/a1-on-a2",
        "mutator": "a1",
        "gain": 0.03,
    },
    {
        "kind": "replace",
        "generation": 1,
        "agent": "a3",
        "by": "a2",
        "ideas": ["rotary"],
        "gain": 0.01,
    },
    {"kind": "archive", "generation": 1, "variant": "0001/a1-on-a4"},
    {"kind": "certificate", "generation": 1, "number": 1, "sentence": "failed: -0.1 %"},
    {"kind": "champion", "generation": 1, "ideas": []},
]


def test_the_log_names_the_adopted_variants_own_idea() -> None:
    assert terminal.log({"events": EVENTS}) == (
        "generation 2\n"
        "  0002/a1-on-a2      adopt    -2.96 %  a2\n"
        "  0002/a1-on-a3      prune          -  a3 [crashed: NameError]\n"
        "  a2 adopts muon from 0002/a1-on-a2\n"
        "\n"
        "generation 1\n"
        "  a3 takes the tree of a2\n"
        "  0001/a1-on-a4 archived\n"
        "  certificate 1: failed: -0.1 %\n"
        "  champion is now the baseline"
    )
    assert terminal.log({"events": []}) == "nothing happened yet"


def test_the_lineage_names_the_adopted_variants_own_idea() -> None:
    data = {
        "baseline": "0123456789abcdef",
        "agents": {"a1": [], "a2": [EVENTS[2]], "a3": [EVENTS[3]]},
        "champion": EVENTS[5:],
        "graph": "git log --graph",
        "review": "git log -p",
    }
    assert terminal.lineage(data) == (
        "baseline 0123456789ab\n"
        "a1\n"
        "       the baseline still\n"
        "a2\n"
        "    2    -2.96 %  muon by a1 (0002/a1-on-a2)\n"
        "a3\n"
        "    1    -1.00 %  the tree of a2: rotary\n"
        "champion\n"
        "    1  failed: -0.1 %\n"
        "    1  the baseline\n"
        "\n"
        "graph:  git log --graph\n"
        "review: git log -p"
    )


def test_the_report_goes_from_what_is_proved_to_what_was_tried() -> None:
    data = STATUS | {
        "certified": None,
        "certificate_log": [],
        "provisional": {"agent": "a2", "gain": 0.08, "ideas": ["muon"]},
        "history": [[0, 0.0, 0.0], [1, 0.08, 0.04]],
        "trials": EVENTS[1::-1],
        "mutations": {
            "made": 4,
            "failed": 2,
            "repaired": 1,
            "classes": {"shape": 2},
            "failure_rate": 0.5,
            "repair_rate": 0.5,
            "paper_failure_rate": 0.375,
            "paper_repair_rate": 0.1667,
        },
        "review": "git log champion",
        "review_best": "git log a2",
    }
    lines = terminal.report(data).splitlines()
    assert lines[0] == "CERTIFIED    nothing (0 certificates so far)"
    assert lines[1] == "PROVISIONAL  -7.69 % perplexity on the race's seeds: a2 with muon"
    assert "    1    -7.69 %    -3.92 %" in lines
    tried = lines.index("ideas tried:")
    assert lines[tried + 2].split()[:2] == ["a2", "adopt"], "the best first"
    assert lines[tried + 3].endswith("crashed: NameError")
    told = lines.index(
        "mutations: 4, failed at first: 2 (50.0 %; the paper: 37.5 %), "
        "repaired of these: 1 (50.0 %; the paper: 16.7 %)"
    )
    assert lines[told + 1] == "  first failures: 2 shape"
    assert "models: 3 calls, 1,200 tokens in and 340 out, 0.0123 USD" in lines


def test_printable_keeps_lines_and_letters_and_nothing_else() -> None:
    assert terminal.printable("größe\n漢字 — ok") == "größe\n漢字 — ok"
    assert terminal.printable("a\x00b\x1b[0mc\td\u202ee\x7ff\x9bg\udc80h") == "ab[0mcdefgh"


def test_numbers_for_people() -> None:
    assert [PERPLEXITY.change_words(x) for x in (None, 0.0, 0.01, -0.01)] == [
        "-",
        "0 %",
        "-1.00 %",
        "+1.01 %",
    ]
    assert table([["a", "b"], ["long", ""]], ["x", "y"]) == "x     y\na     b\nlong"
