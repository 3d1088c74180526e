"""CSV that a spreadsheet opens without running anything."""

import csv
import io

import pytest

from darwin_git.report.export import to_csv


def back(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_columns_of_all_rows_in_the_order_in_which_they_come() -> None:
    text = to_csv([{"seed": 1, "loss": -0.5}, {"seed": 2, "reason": 'a "b", c'}])
    assert text.splitlines()[0] == "seed,loss,reason"
    assert back(text) == [
        {"seed": "1", "loss": "-0.5", "reason": ""},
        {"seed": "2", "loss": "", "reason": 'a "b", c'},
    ]
    assert to_csv([]) == ""


def test_what_is_no_scalar_is_json_in_its_cell() -> None:
    row = back(to_csv([{"effects": {"2": 0.5, "1": None}, "ideas": ["a", "b"]}]))[0]
    assert row == {"effects": '{"1": null, "2": 0.5}', "ideas": '["a", "b"]'}


@pytest.mark.parametrize("first", ["=", "+", "-", "@", "\t", "\r", "\n"])
def test_text_is_never_a_formula(first: str) -> None:
    text = to_csv([{"idea": f'{first}HYPERLINK("http://evil.example","click")'}])
    cell = next(csv.reader(io.StringIO(text.split("\n", 1)[1], newline="")))[0]
    assert cell == f"""'{first}HYPERLINK("http://evil.example","click")"""


def test_a_negative_number_is_no_formula() -> None:
    assert back(to_csv([{"gain": -0.25, "n": -1}])) == [{"gain": "-0.25", "n": "-1"}]
