"""Every test has its own HOME, its own git configuration and fixed dates: no test sees yours."""

import os
import signal
from pathlib import Path

import pytest

pytest_plugins = ["tests.containers"]

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # Whoever starts the tests in the background has its shell ignore Ctrl-C, for children, too.
    signal.signal(signal.SIGINT, signal.default_int_handler)

FIXED_DATE = "1700000000 +0000"

GITCONFIG = """\
[user]
\tname = Test Person
\temail = person@example.invalid
[init]
\tdefaultBranch = main
[gc]
\tauto = 0
[commit]
\tgpgsign = false
"""


@pytest.fixture(autouse=True)
def isolated_git(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """HOME, git configuration and environment of this test alone; returns HOME."""
    home = tmp_path_factory.mktemp("home")
    (home / ".gitconfig").write_text(GITCONFIG)
    for name in os.environ:
        if name.startswith(("GIT_", "OPENAI_", "DARWIN_AGENTS")):
            monkeypatch.delenv(name)
    # No test reaches the internet: not for prices, not for tiktoken's tables.
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(home / "tiktoken"))
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(home / ".config"))
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(home / ".gitconfig"))
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    monkeypatch.setenv("GIT_TERMINAL_PROMPT", "0")
    return home


@pytest.fixture
def fixed_dates(monkeypatch: pytest.MonkeyPatch) -> str:
    """Commits made in this test always get the same ids."""
    monkeypatch.setenv("GIT_AUTHOR_DATE", FIXED_DATE)
    monkeypatch.setenv("GIT_COMMITTER_DATE", FIXED_DATE)
    return FIXED_DATE
