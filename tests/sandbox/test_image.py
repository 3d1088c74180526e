"""Training images on a real engine: made from what is there, complete or not at all."""

import base64
import hashlib
import io
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tarfile
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from darwin_git.commands import image as command
from darwin_git.errors import DarwinError
from darwin_git.sandbox.container import ROLE
from tests.containers import leftovers, own_engine

Build = Callable[..., dict[str, Any]]


@pytest.fixture
def tag(engine_client: Any) -> Iterator[str]:
    """A name of this test's own; its images are removed."""
    name = f"darwin-test/{secrets.token_hex(6)}"
    yield f"{name}:1"
    for one in engine_client.api.images(name):
        engine_client.api.remove_image(one["Id"], force=True)


@pytest.fixture
def build(engine_image: str, tag: str, tmp_path: Path) -> Build:
    """`image build` of the training image and more; returns what it says and what it told."""

    def make(**changes: Any) -> dict[str, Any]:
        told: list[str] = []
        options: dict[str, Any] = {
            "base": engine_image,
            "packages": [],
            "torch_index": "",
            "cuda": False,
            "wheel_folders": [],
            "python": "python3",
            "name": tag,
            "again": False,
            "tell": told.append,
        }
        return {**command.build(tmp_path, **(options | changes)), "told": told}

    return make


def wheel(folder: Path, name: str, files: dict[str, bytes]) -> None:
    """A pure wheel, version 1.0."""
    folder.mkdir(exist_ok=True)
    info = f"{name}-1.0.dist-info"
    files = {
        **files,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n".encode(),
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = []
    with zipfile.ZipFile(folder / f"{name}-1.0-py3-none-any.whl", "w") as archive:
        for path, content in files.items():
            archive.writestr(path, content)
            digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=")
            record.append(f"{path},sha256={digest.decode()},{len(content)}\n")
        archive.writestr(f"{info}/RECORD", "".join([*record, f"{info}/RECORD,,\n"]))


def archived(files: dict[str, bytes]) -> bytes:
    """A tar of files."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


def ask(client: Any, image: str, source: str) -> str:
    """What a line of Python prints in a container that nothing was told but its image."""
    job = client.containers.create(
        image, ["python3", "-c", source], network_mode="none", labels={ROLE: "test"}
    )
    try:
        job.start()
        assert job.wait()["StatusCode"] == 0, job.logs()
        return str(job.logs().decode().strip())
    finally:
        job.remove(force=True)


def building(client: Any, process: int) -> list[str]:
    """What a build by that process has on the engine."""
    return leftovers(client, f"darwin-git.builder={os.uname().nodename}/{process}")


def test_a_package_is_added_to_a_base_that_has_torch(
    build: Build, engine_client: Any, tmp_path: Path, tag: str
) -> None:
    wheel(tmp_path / "wheels", "darwin_tiny", {"darwin_tiny.py": b"ANSWER = 42\n"})
    made = build(packages=["darwin-tiny"], wheel_folders=[tmp_path / "wheels"])
    assert made["name"] == tag
    assert made["packages"]["darwin-tiny"] == "1.0"
    assert not made["reused"]
    source = "import darwin_tiny, torch, numpy; print(darwin_tiny.ANSWER, torch.__version__)"
    answer, torch = ask(engine_client, tag, source).split()
    assert answer == "42"
    assert torch == made["packages"]["torch"]
    labels = engine_client.images.get(tag).labels
    assert labels["darwin-git.role"] == "image"
    assert labels["darwin-git.builder"] == "", "an image must not carry the builder's name"
    assert building(engine_client, os.getpid()) == []


def test_the_same_inputs_make_the_same_image(build: Build, tmp_path: Path) -> None:
    folder = tmp_path / "wheels"
    wheel(folder, "darwin_tiny", {"darwin_tiny.py": b"ANSWER = 1\n"})
    asked = {"packages": ["darwin-tiny"], "wheel_folders": [folder]}
    first, second = build(**asked), build(**asked)
    assert second["reused"]
    assert first["id"] == second["id"]
    wheel(folder, "darwin_tiny", {"darwin_tiny.py": b"ANSWER = 12345\n"})
    third = build(**asked)
    assert not third["reused"]
    assert third["id"] != first["id"]


def test_a_root_filesystem_without_python(build: Build, engine_client: Any, tmp_path: Path) -> None:
    base = tmp_path / "base.tar"
    base.write_bytes(archived({"etc/hostname": secrets.token_bytes(8)}))
    with pytest.raises(DarwinError, match="has no python3") as caught:
        build(base=str(base))
    assert "--python" in caught.value.hint
    digest = hashlib.sha256(base.read_bytes()).hexdigest()
    engine_client.api.remove_image(f"darwin-git/base-{digest[:16]}")
    assert building(engine_client, os.getpid()) == []


def test_what_is_no_root_filesystem(build: Build, tmp_path: Path) -> None:
    base = tmp_path / "base.tar"
    base.write_bytes(b"no tar at all" * 1000)
    with pytest.raises(DarwinError, match="no root filesystem that the engine takes"):
        build(base=str(base))
    with pytest.raises(DarwinError, match="no such file"):
        build(base=str(tmp_path / "missing.tar"))


def test_a_base_that_cannot_be_had(build: Build) -> None:
    with pytest.raises(DarwinError, match=r"nowhere\.invalid/x:1 cannot be had") as caught:
        build(base="nowhere.invalid/x:1")
    assert "without a registry" in caught.value.hint


def test_a_base_for_another_processor(build: Build, engine_client: Any, tag: str) -> None:
    machine = engine_client.info()["Architecture"]
    other = "arm64" if machine == "x86_64" else "amd64"
    layer = archived({"etc/hostname": secrets.token_bytes(8)})
    config = json.dumps(
        {
            "architecture": other,
            "os": "linux",
            "config": {},
            "rootfs": {
                "type": "layers",
                "diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}"],
            },
        }
    ).encode()
    manifest = [{"Config": "config.json", "RepoTags": [tag], "Layers": ["layer.tar"]}]
    files = {
        "config.json": config,
        "layer.tar": layer,
        "manifest.json": json.dumps(manifest).encode(),
    }
    engine_client.images.load(archived(files))
    with pytest.raises(DarwinError, match=f"made for {other}"):
        build(base=tag)


def test_a_package_that_has_no_wheel(build: Build, engine_client: Any, tag: str) -> None:
    with pytest.raises(DarwinError, match="no wheel of darwin-git-no-such-package") as caught:
        build(packages=["darwin-git-no-such-package"])
    assert "--wheels" in caught.value.hint
    assert engine_client.api.images(tag) == []


@pytest.mark.parametrize("package", ["-r file", "https://example.invalid/x.whl", "x @ y", ""])
def test_what_is_no_requirement(build: Build, package: str) -> None:
    with pytest.raises(DarwinError, match="is no requirement"):
        build(packages=[package])


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_an_ended_build_leaves_nothing(
    number: signal.Signals,
    build: Build,
    engine_client: Any,
    engine_image: str,
    tag: str,
    tmp_path: Path,
) -> None:
    wheels, scratch = tmp_path / "wheels", tmp_path / "scratch"
    scratch.mkdir()
    wheel(wheels, "darwin_big", {"darwin_big.bin": bytes(300 << 20)})
    began = [sys.executable, "-m", "darwin_git", "image", "build", "--base", engine_image]
    began += ["--package", "darwin-big", "--wheels", str(wheels), "--tag", tag]
    with subprocess.Popen(
        began, env=os.environ | {"TMPDIR": str(scratch)}, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if "making the image" in line:
                break
        deadline = time.monotonic() + 60
        while not building(engine_client, process.pid) and time.monotonic() < deadline:
            time.sleep(0.02)
        process.send_signal(number)
        process.communicate(timeout=60)
    assert engine_client.api.images(tag) == []
    if number == signal.SIGTERM:
        assert process.returncode == 130
    else:  # nobody is left to clean up: the next build does
        wheel(wheels, "darwin_tiny", {"darwin_tiny.py": b""})
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("tempfile.tempdir", str(scratch))
            build(packages=["darwin-tiny"], wheel_folders=[wheels])
    assert building(engine_client, process.pid) == []
    assert list(scratch.iterdir()) == []


@pytest.mark.xdist_group("second_engine")
def test_an_engine_without_space(
    build: Build,
    engine_client: Any,
    engine_image: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    base = engine_client.images.get(engine_image).labels.get("darwin-git.base", "")
    base = base.partition(" ")[2] or engine_image
    size = engine_client.images.get(base).attrs["Size"]
    wheels = tmp_path / "wheels"
    wheel(wheels, "darwin_big", {"darwin_big.bin": os.urandom(64 << 20)})
    for name in ("torch", "numpy"):
        wheel(wheels, name, {f"{name}.py": b""})  # never imported
    asked = {"packages": ["darwin-big", "torch==1.0", "numpy==1.0"], "wheel_folders": [wheels]}
    with own_engine(disk_bytes=3 * size + (1 << 30)) as engine:
        client = engine.client(timeout=600)
        try:
            engine.load(base, engine_client)
            before = client.api.images(quiet=True, all=True)
            monkeypatch.setenv("DARWIN_SANDBOX__ENGINE", engine.address)
            disk = engine.folder / "data"
            for left in (32 << 20, 96 << 20):  # for less than the upload, for less than two
                with (disk / "ballast").open("wb") as ballast:
                    os.posix_fallocate(ballast.fileno(), 0, shutil.disk_usage(disk).free - left)
                with pytest.raises(DarwinError, match=r"disk is full|broke off") as caught:
                    build(base=base, **asked)
                assert "docker system df" in caught.value.hint
                assert leftovers(client) == []
                assert client.api.images(quiet=True, all=True) == before
                (disk / "ballast").unlink()
            assert not build(base=base, **asked)["reused"]
        finally:
            client.close()
