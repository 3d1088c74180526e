"""What agents may change: patterns of darwin.toml, and never what is ours or git's."""

import pytest

from darwin_git.domain.scope import Scope

NANOGPT = Scope(("*.py", "config/*.py"), ("configurator.py", "data/*", "bench.py"))
ANY = Scope(("**",))


@pytest.mark.parametrize("path", ["model.py", "train.py", "config/tiny.py", "new_idea.py"])
def test_may(path: str) -> None:
    assert NANOGPT.allows(path)


@pytest.mark.parametrize(
    "path",
    [
        *("configurator.py", "bench.py", "data/x/prepare.py", "config/deep/x.py", "README.md"),
        *("hooks/pre-commit", "lib/model.py", "Configurator.py", "Data/x.py"),
    ],
)
def test_may_not(path: str) -> None:
    assert not NANOGPT.allows(path)


@pytest.mark.parametrize(
    "path",
    [
        *("darwin.toml", "Darwin.TOML", "darwin.toml/x", ".git/config", ".gitattributes"),
        *("a/.git/hooks/x", ".GIT/x", "a/.gitmodules"),
    ],
)
def test_never(path: str) -> None:
    assert not ANY.allows(path)
