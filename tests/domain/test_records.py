"""Records: equal values are equal lines, an id is the content, a union is the merge."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from darwin_git.domain import records
from darwin_git.domain.records import Record, make_record

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)  # fmt: skip
OBJECTS = st.dictionaries(st.text(max_size=5), VALUES, max_size=5)


def replicate(seed: int, seq: int = 1, **fields: object) -> Record:
    return make_record(
        "replicate", "isle", 3, seq, "c" * 40, "t" * 40, "ident", seed=seed, **fields
    )


@given(OBJECTS)
def test_canonical_json_is_one_ascii_line_that_reads_back(value: dict[str, object]) -> None:
    text = records.canonical_json(value)
    assert text.isascii() and "\n" not in text
    assert json.loads(text) == value
    assert records.canonical_json(dict(reversed(value.items()))) == text


@pytest.mark.parametrize(
    "value", [float("nan"), float("inf"), [float("-inf")], {"a": {1: 2}}, {"a": [{None: 1}]}]
)
def test_canonical_json_refuses_what_json_lacks(value: object) -> None:
    with pytest.raises(ValueError):
        records.canonical_json({"value": value})


def test_a_record_carries_its_content_as_its_id() -> None:
    record = replicate(1, shards=((1.5, 2, 3.0),))
    assert record["v"] == 1
    assert record["shards"] == [[1.5, 2, 3.0]]  # as a reader gets it back
    assert record["id"] == records.record_id(record)
    assert len(record["id"]) == 32
    assert records.is_intact(record)
    assert not records.is_intact({**record, "seed": 2})
    assert records.parse_lines(records.to_line(record)) == [record]


def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(ValueError, match="replicate"):
        make_record("result", "isle", 1, 1, "c", "t", "i")


@given(st.lists(st.binary(max_size=40), max_size=8), st.data())
def test_corrupt_lines_are_counted_and_the_others_kept(
    junk: list[bytes], data: st.DataObject
) -> None:
    good = [replicate(seed) for seed in range(3)]
    bad = [b"{" + line.replace(b"\n", b"") for line in junk if not line.strip().endswith(b"}")]
    lines = data.draw(st.permutations([records.to_line(r).rstrip() for r in good] + bad))
    scan = records.scan_lines(b"\n".join(lines))
    assert sorted(r["seed"] for r in scan.records) == [0, 1, 2]
    assert scan.corrupt == len(bad)


@pytest.mark.parametrize(
    "line",
    [
        b"[1]",
        b"3",
        b'{"a":NaN}',
        b'{"a":1e999}',
        b'{"a":1.e+999}',
        b'{"a":9%se99}' % (b"9" * 250),
        b'{"a":Infinity}',
        b"[" * 100_000,
        b'{"a":"\xff"}',
    ],
)
def test_what_is_no_record(line: bytes) -> None:
    assert records.scan_lines(line + b"\n") == ([], 1)


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_every_finite_number_reads_back(number: float) -> None:
    assert records.parse_lines(records.to_line({"n": number})) == [{"n": number}]


@given(st.integers(0, 400), st.integers(-400, 400))
def test_no_number_becomes_an_infinity(digits: int, exponent: int) -> None:
    for record in records.parse_lines(b'{"n":1%s.5e%d}' % (b"0" * digits, exponent)):
        assert abs(record["n"]) < float("inf")


@given(st.lists(st.integers(0, 5)), st.lists(st.integers(0, 5)), st.lists(st.integers(0, 5)))
def test_merging_is_a_union(one: list[int], two: list[int], three: list[int]) -> None:
    a, b, c = ([replicate(seed, seq=seed) for seed in seeds] for seeds in (one, two, three))
    merged = records.merge(a, b, c)
    assert merged == records.merge(c, records.merge(b, a)) == records.merge(merged, merged)
    assert {r["seed"] for r in merged} == {*one, *two, *three}
    assert len({r["id"] for r in merged}) == len(merged)


def test_of_a_forged_id_the_same_body_wins_in_any_order() -> None:
    honest = replicate(1)
    forged = {**honest, "seed": 99}
    assert records.merge([honest], [forged]) == records.merge([forged], [honest])


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 9)), max_size=12))
def test_one_measurement_counts_once_and_the_smallest_id_is_it(runs: list[tuple[int, int]]) -> None:
    found = records.merge(replicate(seed, seq=seq) for seed, seq in runs)
    verdict = make_record("verdict", "isle", 3, 1, "c", "t", "ident", verdict="ok")
    chosen = records.canonical_choice([*found, verdict])
    assert verdict in chosen
    for seed in {seed for seed, _ in runs}:
        (kept,) = [r for r in chosen if r.get("seed") == seed]
        assert kept["id"] == min(r["id"] for r in found if r["seed"] == seed)
