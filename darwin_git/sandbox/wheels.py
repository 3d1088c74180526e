"""Packages for another machine's Python: resolved here by pip, as wheels, never built.

The base needs no pip and no network. Markers in a package's requirements are read by this machine's
interpreter: a base with another Python version gets what this one would get.
"""

import contextlib
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from darwin_git.errors import DarwinError
from darwin_git.sandbox.base import Base, lives

SITE = "opt/darwin/site"
"""Where packages stand in the image, below the root."""
TORCH_INDEX = "https://download.pytorch.org/whl/"
CUDA = "cu130"
"""The index behind --cuda: CUDA 13, of which an older driver knows nothing; then name cu126."""
OLDEST_GLIBC = 17
CHUNK = 1 << 20
_TEMPORARY = "darwin-git-site-"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


@dataclass(frozen=True)
class Sources:
    """Where wheels come from, beside what pip is configured for.

    Attributes:
        index: a further index, mostly torch's.
        wheels: folders with wheels.
    """

    index: str = ""
    wheels: tuple[Path, ...] = ()


def index_of(name: str) -> str:
    """An index by its URL, or torch's by a short name such as ``cpu`` or ``cu126``."""
    if not name or "://" in name:
        return name
    if not re.fullmatch(r"cpu|cu\d{2,3}|rocm[\d.]+|xpu", name):
        raise DarwinError(
            f"--torch-index {name!r} is no index", hint="cpu, cu126, cu130 …, or a URL"
        )
    return TORCH_INDEX + name


def pinned(package: str) -> str:
    """A requirement of the version that this machine has, without its local part; else bare."""
    try:
        version = metadata.version(package)
    except metadata.PackageNotFoundError:
        return package
    return f"{package}=={version.partition('+')[0]}"


def name_of(requirement: str) -> str:
    """The package's name, as metadata spells it; raises DarwinError for an option or a URL."""
    found = _NAME.match(requirement)
    if not found or "://" in requirement or "@" in requirement:
        raise DarwinError(
            f"--package {requirement!r} is no requirement",
            hint="as pip takes it: einops, or einops==0.8.1; files by --wheels DIR",
        )
    return re.sub(r"[-_.]+", "-", found[0]).lower()


@contextlib.contextmanager
def site_of(base: Base, requirements: Sequence[str], sources: Sources) -> Iterator[Path]:
    """A folder with the requirements installed for the base's Python; gone at the end.

    Raises:
        DarwinError: there is no pip, no such wheel, no space.
    """
    _sweep()
    try:
        folder = Path(tempfile.mkdtemp(prefix=f"{_TEMPORARY}{os.getpid()}-"))
    except OSError as error:
        raise DarwinError(f"no temporary folder: {error.strerror}", hint="set TMPDIR") from None
    try:
        if requirements:
            _install(folder, base, requirements, sources)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def same_bytecode(base: Base) -> bool:
    """Whether what this Python compiles is valid there."""
    return base.version[:2] == sys.version_info[:2]


def _install(folder: Path, base: Base, requirements: Sequence[str], sources: Sources) -> None:
    command = [sys.executable, "-m", "pip", "install", "--no-input", "--quiet", "--target"]
    command += [str(folder), "--only-binary=:all:", "--implementation=cp"]
    command += ["--python-version", ".".join(map(str, base.version))]
    for minor in range(base.glibc, OLDEST_GLIBC - 1, -1):
        command += ["--platform", f"manylinux_2_{minor}_{base.machine}"]
    command += [
        "--platform",
        f"manylinux2014_{base.machine}",
        "--platform",
        f"linux_{base.machine}",
    ]
    if not same_bytecode(base):
        command.append("--no-compile")
    if sources.index:
        command += ["--extra-index-url", sources.index]
    for wheels in sources.wheels:
        command += ["--find-links", str(wheels.resolve())]
    environment = os.environ | {"PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_REQUIRE_VIRTUALENV": "0"}
    done = subprocess.run(
        [*command, *requirements],
        capture_output=True,
        text=True,
        errors="replace",
        env=environment,
        check=False,
    )
    if done.returncode != 0:
        raise _explained(done.stderr, base, requirements)


def _explained(errors: str, base: Base, requirements: Sequence[str]) -> DarwinError:
    low = errors.lower()
    if "no module named pip" in low:
        return DarwinError(
            f"{sys.executable} has no pip, which fetches the image's packages",
            hint=f"{sys.executable} -m ensurepip, or install darwin-git with pip",
        )
    if "no space left" in low:
        return DarwinError(
            f"no space left for packages in {tempfile.gettempdir()}",
            hint="TMPDIR=/a/larger/folder darwin-git image build",
        )
    python = f"Python {base.version[0]}.{base.version[1]} on {base.machine}"
    missing = re.search(r"No matching distribution found for (\S+)", errors)
    if missing:
        return DarwinError(
            f"there is no wheel of {missing[1]} for {python}, the base's",
            hint="check the network and pip's index; another base (--base), another version "
            "(--package torch==…), another index (--torch-index), or a folder of wheels that "
            "`pip wheel` made (--wheels DIR)",
        )
    told = [line for line in errors.splitlines() if line.startswith("ERROR")] or [errors.strip()]
    return DarwinError(
        f"pip cannot install {', '.join(requirements)} for {python}: {told[-1][:400]}",
        hint="check the requirements and pip's settings",
    )


def _sweep() -> None:
    """Folders of builds whose process is dead."""
    for left in Path(tempfile.gettempdir()).glob(f"{_TEMPORARY}*"):
        process = left.name.removeprefix(_TEMPORARY).partition("-")[0]
        if process.isdecimal() and not lives(int(process)) and left.stat().st_uid == os.geteuid():
            shutil.rmtree(left, ignore_errors=True)


def archive(folder: Path) -> Iterator[bytes]:
    """The folder as a tar stream below `SITE`, root's, readable by everybody, links followed."""
    reading, writing = os.pipe()

    def write() -> None:
        with (
            os.fdopen(writing, "wb", buffering=CHUNK) as pipe,
            tarfile.open(
                fileobj=pipe, mode="w|", format=tarfile.GNU_FORMAT, dereference=True
            ) as tar,
        ):
            parents = SITE.split("/")
            for depth in range(1, len(parents)):
                entry = tarfile.TarInfo("/".join(parents[:depth]))
                entry.type, entry.mode = tarfile.DIRTYPE, 0o755
                tar.addfile(entry)
            tar.add(folder, SITE, filter=_plain)

    with ThreadPoolExecutor(1) as pool, os.fdopen(reading, "rb", buffering=0) as pipe:
        done = pool.submit(write)
        try:
            while chunk := pipe.read(CHUNK):
                yield chunk
        finally:
            pipe.close()  # a writer that nobody reads ends by EPIPE
            with contextlib.suppress(BrokenPipeError):
                done.result()


def _plain(entry: tarfile.TarInfo) -> tarfile.TarInfo | None:
    if not (entry.isreg() or entry.isdir()):
        return None
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = ""
    entry.mode = 0o755 if entry.isdir() or entry.mode & 0o100 else 0o644
    return entry
