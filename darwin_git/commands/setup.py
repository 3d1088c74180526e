"""`init`: a genome repository from seed_repo/, or somebody's own adopted as it is."""

import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from darwin_git.config import FILE_NAME
from darwin_git.domain.measurement import Measurement
from darwin_git.errors import DarwinError
from darwin_git.store.history import GitHistory
from darwin_git.store.objects import read_identity
from darwin_git.store.repository import Repository
from darwin_git.trial.checkout import Broken, check
from darwin_git.trial.texts import default_corpus, shakespeare
from darwin_git.wiring import work_tree

Device = Literal["cpu", "cuda"]

_GIT = ("git", "-c", "core.hooksPath=/dev/null", "-c", "protocol.ext.allow=never")
_URL = re.compile(r"(https?|ssh|git|file)://\S+|[A-Za-z0-9_.-]+@[A-Za-z0-9_.-]+:\S+")
_GPU = {
    'train = ["train.py", "config/tiny_cpu.py"]': 'train = ["train.py", "config/single_gpu.py"]',
    'device = "cpu"': 'device = "cuda"',
    'dtype = "float32"': 'dtype = "bfloat16"',
    "compile = false": "compile = true",
    "tokens = 230400": "tokens = 16384000",
}
_CPU_SIZES = """
# Small enough for one CPU core; with a GPU, remove these and raise budget.tokens.
n_layer = 4
n_head = 4
n_embd = 128
block_size = 64
batch_size = 12
gradient_accumulation_steps = 1
dropout = 0.0
"""


@dataclass(frozen=True)
class Initialised:
    """What `init` made."""

    folder: Path
    adopted: bool
    corpus: str
    corpus_bytes: int
    branch: str


def package_file(name: str) -> Path:
    """seed_repo/ and darwin.toml: beside the package in a checkout, inside it in a wheel."""
    here = Path(__file__).resolve().parents[1]
    for place in (here / f"_{name}", here.parent / name):
        if place.exists():
            return place
    raise DarwinError(f"{name} is missing from this installation", hint="install it again")


def init(folder: Path | None, genome: str | None, data: str | None, device: Device) -> Initialised:
    """Make or adopt a genome repository; on failure everything is as it was.

    Args:
        folder: where; the present folder, or for a URL one named after it.
        genome: path or URL of a repository to adopt; None starts from seed_repo/.
        data: a text file, "shakespeare", or None for the embedded corpus.
        device: what to configure for.
    """
    corpus = read_corpus(data)
    if genome is None:
        return _from_seed(folder or Path(), corpus, device)
    source = Path(genome).expanduser()
    if not _URL.fullmatch(genome) and not source.is_dir():
        raise DarwinError(
            f"{genome} is neither a folder nor a URL of a git repository",
            hint="give the path of a clone, or https://…",
        )
    if source.is_dir() and (folder is None or folder.resolve() == source.resolve()):
        return _adopt(source, corpus, device)
    name = Path(genome.rstrip("/").removesuffix(".git")).name
    target = folder or Path(re.split(r"[:/]", name)[-1] or "genome")
    _refuse_filled(target)
    existed = target.exists()
    try:
        _clone(genome, target)
        return _adopt(target, corpus, device)
    except BaseException:
        _empty(target, keep=existed)
        raise


def read_corpus(data: str | None) -> bytes:
    """The text to train on, as UTF-8."""
    if data is None:
        return default_corpus()
    if data == "shakespeare":
        return shakespeare()
    path = Path(data).expanduser()
    try:
        return path.read_bytes()
    except OSError as error:
        raise DarwinError(
            f"the corpus {path} cannot be read: {error.strerror}",
            hint="give a readable text file, or `shakespeare`",
        ) from None


def _from_seed(folder: Path, corpus: bytes, device: Device) -> Initialised:
    if (folder / ".git").exists():
        raise DarwinError(
            f"{folder.resolve()} is a git repository already",
            hint=f"adopt it with `darwin-git init --genome {folder}`, or name a new folder",
        )
    _refuse_filled(folder)
    existed = folder.exists()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with Repository.create(folder) as repository:
            read_identity(repository.git, "COMMITTER")
            shutil.copytree(
                package_file("seed_repo"),
                folder,
                dirs_exist_ok=True,
                ignore=shutil.ignore_patterns("__pycache__", "*.bin", "*.pkl", "*.pt"),
            )
            sha256 = repository.corpus.put(corpus)
            _write_config(folder, package_file(FILE_NAME).read_text(), sha256, device)
            _commit_all(folder, "Start from the seed genome of darwin-git")
        return Initialised(folder.resolve(), False, sha256, len(corpus), "main")
    except BaseException:
        _empty(folder, keep=existed)
        raise


def _adopt(folder: Path, corpus: bytes, device: Device) -> Initialised:
    """Add darwin.toml to the work tree (not to a commit) and the corpus under refs/darwin/."""
    with Repository.open(folder) as repository:
        root = work_tree(repository)
        path = root / FILE_NAME
        if path.exists():
            raise DarwinError(
                f"{path} is there already: the repository was adopted before",
                hint="edit it, or remove it and run init again",
            )
        checkout = GitHistory(repository).checkout(repository.resolve("HEAD"))
        train = ["train.py"]
        if "config/train_shakespeare_char.py" in checkout:
            train.append("config/train_shakespeare_char.py")
        elif "config/tiny_cpu.py" in checkout:
            train.append("config/tiny_cpu.py" if device == "cpu" else "config/single_gpu.py")
        try:
            check(checkout, Measurement(train=tuple(train), tokens=1, data=""))
        except Broken as broken:
            raise DarwinError(
                f"{root} does not keep nanoGPT's contract: {broken.reason}",
                hint="a genome needs train.py, configurator.py and model.py as nanoGPT has them",
            ) from None
        sha256 = repository.corpus.put(corpus)
        text = package_file(FILE_NAME).read_text()
        listed = ", ".join(f'"{one}"' for one in train)
        text = text.replace('train = ["train.py", "config/tiny_cpu.py"]', f"train = [{listed}]")
        if device == "cpu" and "config/tiny_cpu.py" not in train:
            marker = "[genome.overrides]"
            at = text.index("\n", text.index(marker)) + 1
            text = text[:at] + _CPU_SIZES.lstrip("\n") + text[at:]
        _write_config(root, text, sha256, device)
        branch = repository.git.run("rev-parse", "--abbrev-ref", "HEAD").decode().strip()
        return Initialised(root, True, sha256, len(corpus), branch)


def _commit_all(folder: Path, message: str) -> None:
    """The first commit of a repository that we have just made."""
    for command in (["add", "--all"], ["commit", "--quiet", "--no-verify", "-m", message]):
        done = subprocess.run([*_GIT, "-C", str(folder), *command], capture_output=True, text=True)
        if done.returncode:
            raise DarwinError(
                f"git could not commit in {folder}: {done.stderr.strip()[-300:]}",
                hint="check your git configuration",
            )


def _write_config(folder: Path, text: str, sha256: str, device: Device) -> None:
    if device == "cuda":
        for old, new in _GPU.items():
            text = text.replace(old, new)
    text = re.sub(r'(?m)^corpus = ""( *)#', f'corpus = "{sha256}"  #', text)
    temporary = folder / f".{FILE_NAME}.new"
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(folder / FILE_NAME)


def _refuse_filled(folder: Path) -> None:
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise DarwinError(
            f"{folder.resolve()} is not empty",
            hint="name a new folder; to adopt a repository there: `darwin-git init --genome "
            f"{folder}`",
        )


def _clone(url: str, target: Path) -> None:
    done = subprocess.run(
        [*_GIT, "clone", "--quiet", "--no-recurse-submodules", "--", url, str(target)],
        capture_output=True,
        text=True,
    )
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["git gave no reason"])[-1]
        raise DarwinError(f"{url} could not be cloned: {last}", hint="check the address")


def _empty(folder: Path, keep: bool) -> None:
    """Take back what a failed init made."""
    if keep:
        for entry in folder.iterdir():
            shutil.rmtree(entry) if entry.is_dir() and not entry.is_symlink() else entry.unlink()
    elif folder.exists():
        shutil.rmtree(folder)
