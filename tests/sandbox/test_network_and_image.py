"""A person's program may have a network and an image of its own; every other wall stands."""

import io
import json
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from darwin_git.errors import DarwinError
from darwin_git.ports import Command, Slot
from darwin_git.ports.runner import PROGRAM
from darwin_git.sandbox import container
from darwin_git.sandbox.container import CLONE
from darwin_git.sandbox.docker import DockerRunner
from darwin_git.sandbox.leftovers import clone_id
from darwin_git.sandbox.process import ProcessRunner
from tests.containers import leftovers
from tests.sandbox.test_docker_parts import described

Script = Callable[..., Command]

LOOK = """
import json, os, socket
names = [line.split(":")[0].strip() for line in open("/proc/net/dev") if ":" in line]
rows = [line.split() for line in open("/proc/net/route").read().splitlines()[1:]]
status = dict(line.split(":", 1) for line in open("/proc/self/status") if ":" in line)
def refused(family, kind):
    try:
        socket.socket(family, kind).close()
    except OSError as error:
        return error.errno
print(json.dumps({
    "interfaces": names,
    "default route": any(row[1] == "00000000" for row in rows),
    "caps": status["CapEff"].strip(), "seccomp": status["Seccomp"].strip(),
    "raw": refused(socket.AF_INET, socket.SOCK_RAW), "vsock": refused(40, socket.SOCK_STREAM),
    "root": os.access("/etc", os.W_OK), "env": dict(os.environ), "marker": os.path.exists("/mark"),
}))
"""


@pytest.fixture
def docker_runner(base: Path, engine_image: str, engine_client: Any) -> Iterator[DockerRunner]:
    runner = DockerRunner(base, engine_image)
    yield runner
    runner.close()
    runner.clean()
    assert not leftovers(engine_client, f"{CLONE}={clone_id(base)}")
    runner.close()
    assert not list(base.glob("x-*"))


@pytest.fixture
def other_image(engine_client: Any, engine_image: str) -> Iterator[str]:
    """The training image with a file more and an environment of its own."""
    api = engine_client.api
    made = api.create_container_from_config({"Image": engine_image, "Cmd": ["true"]})
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        tar.addfile(tarfile.TarInfo("mark"), io.BytesIO(b""))
    api.put_archive(made["Id"], "/", out.getvalue())
    name = "darwin-git-test/agent:other"
    api.commit(
        made["Id"], repository="darwin-git-test/agent", tag="other", changes=["ENV THEIRS=1"]
    )
    api.remove_container(made["Id"])
    yield name
    api.remove_image(name)


def look(runner: DockerRunner, command: Command, slot: Slot) -> dict[str, Any]:
    finished = runner.run(command, slot)
    assert finished.exit_code == 0, finished
    finished.outputs.discard()
    found: dict[str, Any] = json.loads(finished.lines[0].text)
    return found


@pytest.mark.usefixtures("engine_network")
def test_only_a_command_that_may_has_a_network(
    docker_runner: DockerRunner, slot: Slot, script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    monkeypatch.setenv("HTTPS_PROXY", "http://user:pass@proxy.invalid")
    without = look(docker_runner, script(LOOK, trusted=False), slot)
    assert without["interfaces"] == ["lo"] and not without["default route"]
    having = look(docker_runner, script(LOOK, trusted=False, network=True), slot)
    assert set(having["interfaces"]) > {"lo"} and having["default route"]
    # nothing else of the wall differs, and nothing of the host's environment comes with it
    for key in ("caps", "seccomp", "raw", "vsock", "root", "env"):
        assert having[key] == without[key], key
    assert int(having["caps"], 16) == 0 and having["seccomp"] == "2" and not having["root"]
    assert having["raw"] and having["vsock"]
    assert "secret" not in str(having) and "proxy" not in str(having).lower()


@pytest.mark.usefixtures("engine_network")
def test_a_network_goes_with_no_data_and_no_artifacts(
    docker_runner: DockerRunner, slot: Slot, script: Script, tmp_path: Path
) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder/file").write_text("the person's own")
    for path in ("data/darwin", "../judge"):
        with pytest.raises(ValueError, match="network"):
            script("", network=True, data={path: tmp_path / "folder"})
    left = docker_runner.run(script("open('../out/x', 'w').write('1')", keep=("x",)), slot)
    artifact = left.outputs.artifact("x")
    assert artifact
    with pytest.raises(ValueError, match="network"):
        script("", network=True, artifacts={"x": artifact})
    with pytest.raises(ValueError, match="network"):
        replace(script("", data={"data/darwin": tmp_path / "folder"}), network=True)
    left.outputs.discard()
    reading = script(
        "print(open('../program/file').read())\nopen('../program/file', 'w')",
        network=True,
        data={PROGRAM: tmp_path / "folder"},
    )
    finished = docker_runner.run(reading, slot)
    assert finished.lines[0].text == "the person's own"
    assert "Read-only file system" in finished.errors
    finished.outputs.discard()


def test_another_image_is_the_commands_alone(
    other_image: str, docker_runner: DockerRunner, slot: Slot, script: Script
) -> None:
    before = docker_runner.environment()
    found = look(docker_runner, script(LOOK, image=other_image), slot)
    assert found["marker"] and "THEIRS" not in found["env"]
    assert not look(docker_runner, script(LOOK), slot)["marker"]
    assert docker_runner.environment() == before
    with docker_runner.converse(script("print('ok')", image=other_image), slot) as dialogue:
        assert dialogue.receive(3) == b"ok\n"


def test_an_image_that_is_not_there_is_an_error_with_a_cure(
    docker_runner: DockerRunner, slot: Slot, script: Script
) -> None:
    with pytest.raises(DarwinError, match="no image darwin-git-test/none") as caught:
        docker_runner.run(script("", image="darwin-git-test/none:x"), slot)
    assert "darwin.toml" in (caught.value.hint or "")


def test_the_network_is_all_that_changes_in_what_is_sent() -> None:
    slot = Slot(0, (1,))
    without, having = described(slot), described(slot, network=True)
    assert without["HostConfig"].pop("NetworkMode") == "none"
    assert having["HostConfig"].pop("NetworkMode") == "default"
    assert having == without
    image = container.Image("sha256:2", "python3", {}, ())
    assert container.keeper(image, "v", 1.0, {}, "")["HostConfig"]["NetworkMode"] == "none"


def test_the_process_runner_refuses_what_others_wrote_with_or_without_a_network(
    runner: ProcessRunner, slot: Slot, script: Script
) -> None:
    for network in (False, True):
        with pytest.raises(DarwinError, match="no wall"):
            runner.run(script("", trusted=False, network=network), slot)
