"""A person's program behind the real wall: what it gets, what it may not, what is left of it."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from darwin_git.agents.program import ProgramAgent
from darwin_git.config import Agent
from darwin_git.errors import DarwinError
from darwin_git.ports import Declined, Limits, Proposal, Slot
from darwin_git.sandbox.container import CLONE
from darwin_git.sandbox.docker import DockerRunner
from darwin_git.sandbox.leftovers import clone_id
from tests.agents.test_program import FILES, HALVE, TASK, lead, reason, slot
from tests.containers import leftovers

__all__ = ["slot"]

LIMITS = Limits(wall_seconds=1.0, memory_bytes=512 << 20, output_bytes=64 << 20, processes=100)
LOOK = """
import os, socket
names = sorted(line.split(":")[0].strip() for line in open("/proc/net/dev") if ":" in line)
rows = [line.split() for line in open("/proc/net/route").read().splitlines()[1:]]
route = any(row[1] == "00000000" for row in rows)
writable = [place for place in ("/", "/etc", "/usr", "../program") if os.access(place, os.W_OK)]
status = dict(line.split(":", 1) for line in open("/proc/self/status") if ":" in line)
open("found.py", "w").write(repr({
    "interfaces": names, "route": route, "env": dict(os.environ), "writable": writable,
    "uid": os.getuid(), "caps": int(status["CapEff"], 16), "seccomp": status["Seccomp"].strip(),
    "root": sorted(os.listdir("..")), "mounts": open("/proc/self/mountinfo").read(),
}))
"""

Make = Callable[..., ProgramAgent]


@pytest.fixture
def agent(tmp_path: Path, engine_image: str, engine_client: Any) -> Iterator[Make]:
    """An agent whose program is one script, in containers."""
    base = tmp_path / "attempts"
    runner = DockerRunner(base, engine_image)

    def make(source: str, **keys: Any) -> ProgramAgent:
        folder = tmp_path / "program"
        folder.mkdir(exist_ok=True)
        (folder / "main.py").write_text(source)
        keys = {"command": ("{python}", "{program}/main.py"), "seconds": 60.0} | keys
        chosen = Agent(kind="command", **keys)
        return ProgramAgent("a2", chosen, runner, folder=folder, limits=LIMITS)

    yield make
    runner.close()
    runner.clean()
    left = leftovers(engine_client, f"{CLONE}={clone_id(base)}")
    runner.close()
    assert not left and not list(base.glob("x-*"))


def looked(found: object) -> dict[str, Any]:
    import ast

    assert isinstance(found, Proposal), found
    text = found.files["found.py"]
    assert text
    seen: dict[str, Any] = ast.literal_eval(text)
    return seen


def test_a_script_changes_a_constant(agent: Make, slot: Slot) -> None:
    source = HALVE + (
        "import os\n"
        "open(os.environ['DARWIN_OUT'] + '/message.txt', 'w').write('Halve it\\n\\nIdea: half')\n"
    )
    found, ((_, reply),) = lead(agent(source).propose(TASK), slot)
    assert isinstance(found, Proposal), found
    assert found.files == {"train.py": FILES["train.py"].replace("1e-3", "5e-4")}
    assert (found.subject, found.idea) == ("Halve it", "half")
    assert 0.0 < reply.usage.seconds < 30.0


@pytest.mark.usefixtures("engine_network")
def test_it_has_no_key_no_network_and_nothing_of_the_host(
    agent: Make, slot: Slot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    monkeypatch.setenv("HTTP_PROXY", "http://me:word@proxy.invalid")
    seen = looked(lead(agent(LOOK).propose(TASK), slot)[0])
    assert seen["interfaces"] == ["lo"] and not seen["route"]
    allowed = looked(lead(agent(LOOK, network=True).propose(TASK), slot)[0])
    assert set(allowed["interfaces"]) > {"lo"} and allowed["route"]
    for one in (seen, allowed):
        assert one["uid"] == 10001 and one["caps"] == 0 and one["seccomp"] == "2"
        assert one["writable"] == []
        text = str(one)
        assert "secret" not in text and "proxy" not in text.lower()
        assert str(tmp_path) not in text and str(Path.cwd()) not in text
        assert one["root"] == [
            *("cache", "data", "genome", "home", "out", "program", "tmp", "tools")
        ]
    assert seen["env"] == allowed["env"]


@pytest.mark.parametrize(
    ("source", "why"),
    [
        ("import os; os.symlink('/etc/passwd', 'x.py')", "x.py is a link"),
        ("import os; os.link('train.py', 'config/y.txt')", "config/y.txt"),
        ("import os, stat; os.mknod('x.py', 0o600 | stat.S_IFCHR, os.makedev(1, 3))", "not permit"),
        (
            "try:\n    with open('x.py', 'wb') as f:\n"
            "        for _ in range(1024): f.write(bytes(1 << 20))\n"
            "except OSError: pass",
            "x.py has ",
        ),
        ("open('../x', 'w').write('1')", "it changed nothing"),
        ("open('../../x', 'w').write('1')", "exit code 1"),
        ("open('../tools/run.json', 'w').write('{}')", "it changed nothing"),
        ("import os; os.makedirs('.git'); open('.git/config', 'w')", "it changed nothing"),
        ("open('darwin.toml', 'w').write('[sandbox]')", "darwin.toml"),
        ("open('configurator.py', 'w').write('x = 1')", "configurator.py"),
        ("open('../program/main.py', 'w')", "Read-only file system"),
        ("import sys; sys.stderr.write('\\x1b]0;mine\\x07\\x1b[31mred\\n'); sys.exit(4)", "4: red"),
        ("while True: print('x' * 100000)", "wrote too much"),
        ("x = bytearray(1 << 30)", "memory"),
    ],
)
def test_what_cannot_be_taken_is_declined_by_name(
    agent: Make, slot: Slot, source: str, why: str
) -> None:
    found, ((_, reply),) = lead(agent(source).propose(TASK), slot)
    assert why in reason(found)
    assert reply.status == "ok" and "\x1b" not in reply.text


def test_a_program_that_never_ends_is_killed(agent: Make, slot: Slot) -> None:
    began = time.monotonic()
    source = "import signal, time\nsignal.signal(15, signal.SIG_IGN)\nwhile True: time.sleep(9)"
    found, _ = lead(agent(source, seconds=2.0).propose(TASK), slot)
    assert reason(found).startswith("it was stopped after 2 s")
    assert time.monotonic() - began < 30.0


def test_what_it_leaves_running_dies_with_it(agent: Make, slot: Slot) -> None:
    source = (
        HALVE
        + """
import os, time
for _ in range(20):
    if os.fork() == 0:
        os.setsid()
        while True:
            try:
                open("../out/changes.json", "w").write("{}")
            except OSError:
                pass
            time.sleep(0.001)
"""
    )
    found, _ = lead(agent(source).propose(TASK), slot)
    # whatever they made of the list, it ended and nothing was raised
    assert isinstance(found, Proposal | Declined)


def test_a_program_that_forks_without_end_hits_its_own_limit(agent: Make, slot: Slot) -> None:
    source = """
import os, time
for number in range(500):
    if os.fork() == 0:
        time.sleep(60)
        os._exit(0)
"""
    found, _ = lead(agent(source).propose(TASK), slot)
    assert "BlockingIOError" in reason(found)


def test_an_image_that_is_not_there_is_for_the_person_to_mend(agent: Make, slot: Slot) -> None:
    with pytest.raises(DarwinError, match="no image darwin-git-test/none"):
        lead(agent(HALVE, image="darwin-git-test/none:x").propose(TASK), slot)
