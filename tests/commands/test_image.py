"""`image` and doctor's part about containers, on the command line and a real engine."""

import json
import os
import secrets
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.containers import leftovers

Said = subprocess.CompletedProcess[str]
Call = Callable[..., Said]


@pytest.fixture
def call(tmp_path: Path) -> Call:
    """darwin-git in a folder, with further variables."""

    def run(*words: str, folder: Path = tmp_path, **variables: str) -> Said:
        return subprocess.run(
            [sys.executable, "-m", "darwin_git", "-C", str(folder), *words],
            capture_output=True,
            text=True,
            check=False,
            env=os.environ
            | {"TERM": "dumb", "XDG_CACHE_HOME": f"{Path.home()}/.cache"}
            | variables,
        )

    return run


@pytest.fixture
def without_torch(engine_client: Any, engine_image: str) -> Iterator[str]:
    """The training image with its packages hidden."""
    name = f"darwin-test/{secrets.token_hex(6)}"
    container = engine_client.api.create_container(engine_image)["Id"]
    try:
        changes = ["ENV PYTHONPATH=/nowhere", "LABEL darwin-git.role=test"]
        engine_client.api.commit(container, repository=name, tag="1", changes=changes)
    finally:
        engine_client.api.remove_container(container)
    yield f"{name}:1"
    engine_client.api.remove_image(f"{name}:1")


def checks(said: Said) -> dict[str, dict[str, Any]]:
    return {one["name"]: one for one in json.loads(said.stdout)["checks"]}


def test_a_good_image_passes_every_check(call: Call, engine_client: Any, engine_image: str) -> None:
    said = call("image", "check", "--json", DARWIN_SANDBOX__IMAGE=engine_image)
    assert said.returncode == 0, said.stdout + said.stderr
    data = json.loads(said.stdout)
    assert data["schema"] == "darwin-git/image-check/1"
    assert data["healthy"]
    found = checks(said)
    assert set(found) == {
        "engine", "image", "python", "torch", "numpy", "compiler", "step", "dialogue",
    }  # fmt: skip
    # the loss of 65 symbols, untrained: about ln 65
    assert 3.5 < float(found["step"]["found"].split()[1].rstrip(",")) < 5.5
    clone = (Path(os.environ["HOME"]) / ".cache/darwin-git/check/clone").exists()
    assert clone, "check works in a folder of its own"
    label = f"darwin-git.clone={_clone()}"
    assert leftovers(engine_client, label) == []


def _clone() -> str:
    from darwin_git.sandbox.leftovers import clone_id

    return clone_id(Path(os.environ["HOME"], ".cache/darwin-git/check"))


def test_an_image_without_torch(call: Call, without_torch: str) -> None:
    said = call("image", "check", "--json", DARWIN_SANDBOX__IMAGE=without_torch)
    assert said.returncode == 1
    found = checks(said)
    assert found["torch"]["state"] == "bad"
    assert "No module named 'torch'" in found["torch"]["found"]
    assert "image build" in found["torch"]["cure"]
    assert found["step"]["state"] == "bad"
    text = call("image", "check", DARWIN_SANDBOX__IMAGE=without_torch).stdout
    assert "BAD  torch: cannot be imported" in text


def test_compiling_needs_a_compiler(call: Call, engine_client: Any, engine_image: str) -> None:
    said = call(
        "image",
        "check",
        "--json",
        DARWIN_SANDBOX__IMAGE=engine_image,
        DARWIN_GENOME__COMPILE="true",
    )
    found = checks(said)
    if found["compiler"]["state"] == "bad":
        assert said.returncode == 1
        assert "g++" in found["compiler"]["cure"]
    else:  # as in CI: then it compiled
        assert said.returncode == 0, said.stdout
        assert found["step"]["found"].startswith("loss ")


def test_a_gpu_where_there_is_none(call: Call, engine_client: Any, engine_image: str) -> None:
    if "nvidia" in engine_client.info()["Runtimes"]:
        pytest.skip("this engine has GPUs")
    said = call(
        "image",
        "check",
        "--json",
        DARWIN_SANDBOX__IMAGE=engine_image,
        DARWIN_GENOME__DEVICE="cuda",
    )
    assert said.returncode == 1
    assert "GPU" in checks(said)["step"]["found"]
    assert "container toolkit" in checks(said)["step"]["cure"]


def test_an_image_that_is_not_there(call: Call, engine_client: Any) -> None:
    missing = f"darwin-test/{secrets.token_hex(6)}:1"
    said = call("image", "check", DARWIN_SANDBOX__IMAGE=missing)
    assert said.returncode == 1
    assert f"has no image {missing}" in said.stdout
    assert "darwin-git image build" in said.stdout
    listed = call("image", "list", DARWIN_SANDBOX__IMAGE=missing)
    assert listed.returncode == 0
    assert f"darwin.toml names {missing}, which the engine does not have" in listed.stdout


@pytest.mark.parametrize("words", [("build",), ("list",), ("clean",)])
def test_an_engine_that_is_down(call: Call, words: tuple[str, ...], tmp_path: Path) -> None:
    said = call("image", *words, DARWIN_SANDBOX__ENGINE=f"unix://{tmp_path}/none.sock")
    assert said.returncode == 1
    assert said.stderr.count("\n") == 2, said.stderr
    assert f"{tmp_path}/none.sock does not answer" in said.stderr
    assert "->" in said.stderr


def test_check_says_that_the_engine_is_down(call: Call, tmp_path: Path) -> None:
    said = call("image", "check", "--json", DARWIN_SANDBOX__ENGINE=f"unix://{tmp_path}/none.sock")
    assert said.returncode == 1
    assert checks(said)["engine"]["state"] == "bad"
    assert set(checks(said)) == {"engine"}


@pytest.mark.parametrize(
    ("words", "about"),
    [
        (("--torch-index", "cuda12"), "is no index"),
        (("--tag", "x@sha256:00"), "cannot name a new image"),
        (("--tag", "a b"), "cannot name a new image"),
        (("--wheels", "nowhere"), "is no folder"),
        (("--package", "--pre"), "is no requirement"),
    ],
)
def test_what_build_cannot_take(call: Call, words: tuple[str, ...], about: str) -> None:
    said = call("image", "build", *words, DARWIN_SANDBOX__ENGINE="unix:///nowhere.sock")
    assert said.returncode == 1
    assert about in said.stderr
    assert "->" in said.stderr


def test_clean_keeps_what_others_have(call: Call, engine_client: Any, genome: Path) -> None:
    """Another clone's cache and an image that is no training image stay."""
    volume = f"darwin-test-{secrets.token_hex(6)}"
    labels = {"darwin-git.clone": "0" * 16, "darwin-git.role": "data"}
    engine_client.api.create_volume(volume, labels=labels)
    try:
        listed = json.loads(call("image", "list", "--json", folder=genome).stdout)
        own = {one["name"]: one["own"] for one in listed["caches"]}
        assert own[volume] is False
        said = call("image", "clean", "--json", folder=genome)
        assert said.returncode == 0, said.stderr
        assert json.loads(said.stdout)["caches"] == []
        assert engine_client.api.inspect_volume(volume)["Name"] == volume
    finally:
        engine_client.api.remove_volume(volume)


def test_clean_removes_this_clones_caches(call: Call, engine_client: Any, genome: Path) -> None:
    from darwin_git.sandbox.leftovers import clone_id

    clone = clone_id(genome / ".git" / "darwin" / "attempts")
    volume = f"darwin-test-{secrets.token_hex(6)}"
    labels = {"darwin-git.clone": clone, "darwin-git.role": "data"}
    engine_client.api.create_volume(volume, labels=labels)
    said = call("image", "clean", "--json", folder=genome)
    assert said.returncode == 0, said.stderr
    assert json.loads(said.stdout)["caches"] == [volume]
    assert leftovers(engine_client, f"darwin-git.clone={clone}") == []


def test_the_script_for_a_base_is_printed(call: Call) -> None:
    said = call("image", "rootfs")
    assert said.stdout == Path("scripts/base-rootfs.sh").read_text()
    assert said.stdout.startswith("#!/bin/sh")


def test_doctor_looks_at_engine_and_image(call: Call, engine_image: str, genome: Path) -> None:
    variables = {"DARWIN_SANDBOX__RUNNER": "docker", "DARWIN_SANDBOX__IMAGE": engine_image}
    found = checks(call("doctor", "--json", folder=genome, **variables))
    for name in ("engine", "limits", "image", "memory", "engine disk"):
        assert found[name]["ok"], found[name]
    found = checks(
        call("doctor", "--json", folder=genome, DARWIN_SANDBOX__RUNTIME="nonesuch", **variables)
    )
    assert "no runtime 'nonesuch'" in found["runtime"]["found"]
    variables["DARWIN_SANDBOX__IMAGE"] = "darwin-test/none:1"
    found = checks(call("doctor", "--json", folder=genome, **variables))
    assert not found["image"]["ok"]
    assert "image build" in found["image"]["cure"]
    variables["DARWIN_SANDBOX__RUNNER"] = "auto"
    found = checks(call("doctor", "--json", folder=genome, **variables))
    assert found["image"]["ok"], "the process runner takes its place"


def test_doctor_without_an_engine(call: Call, genome: Path, tmp_path: Path) -> None:
    variables = {"DARWIN_SANDBOX__ENGINE": f"unix://{tmp_path}/none.sock"}
    found = checks(call("doctor", "--json", folder=genome, **variables))
    assert found["engine"]["ok"]
    assert "process runner" in found["engine"]["found"]
    variables["DARWIN_SANDBOX__RUNNER"] = "docker"
    found = checks(call("doctor", "--json", folder=genome, **variables))
    assert not found["engine"]["ok"]
    assert found["engine"]["cure"]
