"""Every reference is built and parsed by one module: what it builds, it parses, and git accepts."""

import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from darwin_git.domain import names
from darwin_git.domain.names import VariantName

AGENTS = st.from_regex(r"[a-z][a-z0-9]{0,15}", fullmatch=True)
PARTS = st.from_regex(r"[a-z0-9]{1,9}(?:[._-][a-z0-9]{1,9}){0,4}", fullmatch=True).filter(
    lambda part: not part.endswith(".lock")
)
GENERATIONS = st.integers(0, 10**9 - 1)
VARIANTS = st.builds(VariantName, GENERATIONS, PARTS)
SHA256 = st.from_regex(r"[0-9a-f]{64}", fullmatch=True)
WRITERS = st.from_regex(r"[1-9][0-9]{0,6}-[0-9a-f]{4,32}", fullmatch=True)
NAMES = st.one_of(
    VARIANTS,
    st.builds(names.Archived, VARIANTS),
    st.builds(names.AgentName, AGENTS),
    st.builds(names.PullRequestName, PARTS),
    st.builds(names.DataName, SHA256),
    st.builds(names.WriterName, WRITERS),
    st.sampled_from(sorted(names.FIXED)).map(names.FixedName),
)


def test_the_references_of_the_design() -> None:
    variant = VariantName(3, "a2-on-a1")
    assert str(variant) == "0003/a2-on-a1"
    assert variant.ref == "refs/heads/darwin/v/0003/a2-on-a1"
    assert variant.archive_ref == "refs/darwin/archive/0003/a2-on-a1"
    assert names.agent_ref("a1") == "refs/heads/darwin/agent/a1"
    assert names.variant_ref(3, "a2-on-a1.2") == "refs/heads/darwin/v/0003/a2-on-a1.2"
    assert names.archive_ref(12345, "mix-on-a1") == "refs/darwin/archive/12345/mix-on-a1"
    assert names.writer_notes_ref("12-ab34") == "refs/notes/darwin/w/12-ab34"
    assert names.slug("a2", "a1") == "a2-on-a1"
    assert names.slug("a2", "a1", 2) == "a2-on-a1.2"
    assert names.slug("mix", "a1") == "mix-on-a1"
    assert names.slug("a2", "a1", 3, idea="Rotary & Muon!") == "a2-on-a1-rotary-muon.3"
    assert VariantName(3, "a2-on-a1.2").agents == ("a2", "a1")


@given(NAMES)
def test_what_is_built_is_parsed(name: names.Name) -> None:
    assert names.parse(name.ref) == name
    assert names.is_ours(name.ref)


@given(VARIANTS)
def test_a_variant_reads_back_as_text(variant: VariantName) -> None:
    assert VariantName.parse(str(variant)) == variant


@given(AGENTS, AGENTS, st.integers(1, 999), st.none() | st.text(max_size=100))
def test_every_slug_is_a_valid_name(mutator: str, target: str, n: int, idea: str | None) -> None:
    slug = names.slug(mutator, target, n, idea)
    assert names.is_part(slug)
    assert VariantName(1, slug).agents == (mutator, target)


@given(PARTS, NAMES)
def test_a_hub_keeps_an_islands_names_apart(island: str, name: names.Name) -> None:
    hub = names.hub_ref(island, name.ref)
    if hub is None:  # shared, or not for others
        assert isinstance(
            name,
            names.FixedName | names.PullRequestName | names.DataName | names.WriterName,
        )
    else:
        assert hub.startswith(f"refs/darwin/i/{island}/")
        assert names.from_hub_ref(hub) == (island, name.ref)


@given(st.text(max_size=80))
def test_any_text_is_parsed_or_refused(text: str) -> None:
    for ref in (text, names.VARIANTS + text, names.AGENTS + text, names.HIDDEN + text):
        name = names.parse(ref)
        assert name is None or name.ref == ref


@pytest.mark.parametrize(
    "ref",
    [
        "refs/heads/main",
        "refs/heads/darwin/v/3/a2-on-a1",  # not four digits
        "refs/heads/darwin/v/00003/a2-on-a1",
        "refs/heads/darwin/v/0003/A2",
        "refs/heads/darwin/v/0003/a2.lock",
        "refs/heads/darwin/v/0003/a2..b",
        "refs/heads/darwin/v/0003/-x",
        "refs/heads/darwin/v/0003/a/b",
        "refs/heads/darwin/v/0003/a\n",
        "refs/heads/darwin/v/0003/" + "a" * 65,
        "refs/heads/darwin/agent/1a",
        "refs/heads/darwin/agent/a1234567890123456",
        "refs/notes/darwin/w/host-12-ab",
        "refs/heads/darwin/v/\u0660\u0660\u0660\u0663/a2",  # digits, but not ASCII
    ],
)
def test_what_is_refused(ref: str) -> None:
    assert names.parse(ref) is None


@pytest.mark.parametrize("slug", ["", "A", "a2.lock", "a--b", "a/b", "é", "a" * 65, "a\n"])
def test_a_bad_slug_is_no_variant(slug: str) -> None:
    with pytest.raises(ValueError, match="not a valid variant"):
        VariantName(1, slug)


@pytest.mark.parametrize(
    "name", ["v/0003/a2-on-a1.2", "v/0003/mix-on-a1", "agent/a1", "champion", "pr/x_y-z.9"]
)
def test_git_accepts_them(name: str) -> None:
    subprocess.run(["git", "check-ref-format", f"refs/heads/darwin/{name}"], check=True)
