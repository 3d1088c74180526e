"""Several certificates: the total is a sum, each move keeps its own numbers."""

import json
from typing import Any

import pytest

from darwin_git.commands import read
from darwin_git.commands.moves import certified_moves
from darwin_git.domain.metric import PERPLEXITY


def certificate(
    generation: int, mean: float, race: float, status: str = "certified"
) -> dict[str, Any]:
    return {
        "kind": "certificate",
        "generation": generation,
        "status": status,
        "mean": mean,
        "low": mean - 0.01,
        "high": mean + 0.01,
        "n": 4,
        "race": race,
        "final": mean,
        "final_values": [20.0, 19.0],
        "sentence": f"{status}: …",
    }


def champion(generation: int, *ideas: str) -> dict[str, Any]:
    return {"kind": "champion", "generation": generation, "ideas": list(ideas)}


def test_nothing_certified_is_nothing() -> None:
    assert certified_moves(PERPLEXITY, (), [certificate(1, 0.001, 0.02, "failed")]) is None


def test_two_moves_are_summed_and_kept_apart() -> None:
    found = certified_moves(
        PERPLEXITY,
        ("muon", "swiglu"),
        [
            certificate(2, 0.04, 0.06),
            champion(2, "rotary", "muon"),
            certificate(3, 0.0, 0.05, "failed"),
            certificate(5, 0.03, 0.02),
            champion(5, "muon", "swiglu"),
        ],
    )
    assert found is not None
    assert found["gain"] == pytest.approx(0.07)
    assert found["moves"] == 2
    first, second = found["certificates"]
    assert (first["generation"], first["gain"], first["race"]) == (2, 0.04, 0.06)
    assert (first["added"], first["dropped"]) == (["rotary", "muon"], [])
    assert (second["generation"], second["gain"], second["race"]) == (5, 0.03, 0.02)
    assert (second["added"], second["dropped"]) == (["swiglu"], ["rotary"])
    assert (second["low"], second["high"]) == (pytest.approx(0.02), pytest.approx(0.04))


class _Ledger:
    """A history of one generation, as an older ledger has it: adoptions without their idea."""

    def __init__(self, *events: dict[str, Any]) -> None:
        self._events = list(events)

    def events(self, generation: int) -> list[dict[str, Any]]:
        return json.loads(json.dumps(self._events))  # type: ignore[no-any-return]


def test_an_adoption_names_the_variants_own_idea() -> None:
    trial = {"kind": "trial", "variant": "0002/a1-on-a2", "idea": "rotary"}
    adopt = {"kind": "adopt", "variant": "0002/a1-on-a2", "ideas": ["rotary", "muon"]}
    rows = list(read._events(_Ledger(trial, adopt), 2))  # type: ignore[arg-type]
    assert rows[1]["idea"] == "rotary"
    rows = list(read._events(_Ledger(adopt | {"idea": "given"}), 2))  # type: ignore[arg-type]
    assert rows[0]["idea"] == "given"
    rows = list(read._events(_Ledger(adopt), 2))  # type: ignore[arg-type]
    assert rows[0]["idea"] == "muon", "nothing better is known"
