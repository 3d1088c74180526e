"""darwin.toml: all faults at once, the nearest key, no secrets; the documented file is true."""

from pathlib import Path

import pytest

from darwin_git.agents.operators import CATALOGUE
from darwin_git.commands.setup import package_file
from darwin_git.config import Config, load, portable
from darwin_git.domain.families import FAMILIES
from darwin_git.domain.selection import RULES
from darwin_git.errors import DarwinError


def test_the_documented_file_holds_every_key_with_its_default() -> None:
    documented = package_file("darwin.toml")
    assert load(documented.parent) == Config()
    text = documented.read_text()
    for section, fields in Config.model_fields.items():
        if section == "agents":
            continue
        for key in fields.annotation.model_fields:  # type: ignore[union-attr]
            assert f"{key} =" in text or f"[{section}.{key}]" in text, f"{section}.{key}"


def test_all_faults_come_at_once_with_the_nearest_key(tmp_path: Path) -> None:
    (tmp_path / "darwin.toml").write_text(
        '[budgett]\nx = 1\n[budget]\ntokenz = 3\nflops_ratio = "a"\n[agents.A1]\n'
        'kind = "catalogue"\n[genome]\nmy_api_key = "abc"\n'
    )
    with pytest.raises(DarwinError) as caught:
        load(tmp_path)
    message = caught.value.message
    assert "budget.tokenz: unknown key; did you mean 'tokens'?" in message
    assert "budgett: unknown key; did you mean 'budget'?" in message
    assert "budget.flops_ratio" in message
    assert "genome.my_api_key: secrets come from the environment" in message
    assert "abc" not in message
    assert caught.value.exit_code == 1


MODEL = '[agents.a2]\n[agents.a1]\nkind = "llm"\nmodel = "m"\n'


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("not toml at all [", "not valid TOML"),
        ("[agents.a1]\n", "at least two"),
        ('[agents.a1]\n[agents."x y"]\n', "a name is a letter"),
        ("[selection]\nrace = [4, 2]\n", "growing numbers"),
        ('[genome]\ntrain = ["../evil.py"]\n', "inside the genome"),
        ('[genome]\ntrain = ["bash"]\n', "Python script"),
        ('[genome]\ncontract = "other"\n', "genome.contract: .*'nanogpt' or 'command'"),
        ('[genome]\ncontract = "command"\n', "metric.program is missing"),
        ('[sandbox]\nimage = ""\n', "sandbox.image: '' is no image's name"),
        ('[sandbox]\nimage = "../containers/json"\n', "is no image's name"),
        ('[sandbox]\nimage = "Some Image"\n', "is no image's name"),
        (
            '[selection]\nrule = "best"\n',
            "selection.rule: .*'best'.*truncation, tournament, pareto",
        ),
        ("[selection]\nrace_drop = 0.9\n", "race_drop = 0.9 must not be above race_merge = 0.8"),
        ('[agents.a1]\n[agents.a2]\nfamilies = ["optimiser"]\n', "'optimiser'.*optimizer, reg"),
        (MODEL + "parameters = {max_completion_tokens = 9}\n", "completion_tokens is ours to set"),
        (MODEL + "parameters = {top_p = nan}\n", "parameters.top_p must be a finite number"),
    ],
)
def test_bad_values_are_named(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "darwin.toml").write_text(text)
    with pytest.raises(DarwinError, match=says):
        load(tmp_path)


def test_of_any_repository_agents_may_change_all(tmp_path: Path) -> None:
    text = '[genome]\ncontract = "command"\n[metric]\nprogram = "../judge"\nprimary = "cost"\n'
    (tmp_path / "darwin.toml").write_text(text)
    config = load(tmp_path)
    assert (config.genome.mutable, config.genome.protected) == (("**",), ())
    assert (config.objective.name, config.objective.scale) == ("cost", "log")
    assert Config().objective.name == "perplexity"
    chosen = text.replace("[metric]", 'mutable = ["src/*.c"]\n[metric]')
    (tmp_path / "darwin.toml").write_text(chosen)
    assert load(tmp_path).genome.mutable == ("src/*.c",)


def test_the_environment_overrules_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "darwin.toml").write_text("[budget]\ntokens = 5\n")
    monkeypatch.setenv("DARWIN_BUDGET__TOKENS", "7")
    assert load(tmp_path).budget.tokens == 7


def test_every_rule_and_every_family_can_be_chosen(tmp_path: Path) -> None:
    assert {operator.family for operator in CATALOGUE.values()} <= FAMILIES
    families = ", ".join(f'"{family}"' for family in sorted(FAMILIES))
    for rule in RULES:
        (tmp_path / "darwin.toml").write_text(
            f'[selection]\nrule = "{rule}"\n[agents.a1]\nfamilies = [{families}]\n[agents.a2]\n'
        )
        assert load(tmp_path).selection.rule == rule


@pytest.mark.parametrize(
    ("variable", "text"),
    [
        ("DARWIN_AGENTS", "x"),
        ("DARWIN_SELECTION__RACE", "1 2"),
        ("DARWIN_AGENTS__A1__FAMILIES", "optimizer"),
        ("DARWIN_GENOME", "{"),
    ],
)
def test_a_variable_that_is_no_json_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str, text: str
) -> None:
    monkeypatch.setenv("DARWIN_BUDGET__TOKENS", "7")
    monkeypatch.setenv(variable, text)
    with pytest.raises(DarwinError, match=f"^{variable} in the environment is not JSON$") as caught:
        load(tmp_path)
    assert "[1, 2]" in caught.value.hint


def test_a_wrong_value_from_the_environment_is_not_sought_in_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DARWIN_BUDGET__TOKENS", "many")
    with pytest.raises(DarwinError, match="DARWIN_BUDGET__TOKENS in the environment"):
        load(tmp_path)


def test_what_is_kept_in_git_names_no_place_of_this_machine(tmp_path: Path) -> None:
    (tmp_path / "darwin.toml").write_text(
        "program = \"/home/ada/my agent/run\"  # mine\n  program='~/a/b'\n"
        'program = "../beside"\nmodel = "/models/x"\n'
    )
    assert portable(tmp_path).decode() == (
        'program = "run"  # mine\n  program=\'b\'\nprogram = "../beside"\nmodel = "/models/x"\n'
    )
    assert portable(tmp_path / "nowhere") == b""
