"""`init`: a genome repository from seed_repo/, or somebody's own adopted as it is."""

import re
import shutil
import subprocess
from collections.abc import Callable
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
from darwin_git.trial.tokenizers import gpt2_table, read_table
from darwin_git.wiring import work_tree

Device = Literal["cpu", "cuda"]
Cut = Literal["characters", "bytes", "gpt2", "bpe"]

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
class Text:
    """What to train on, and how it is cut.

    Attributes:
        data: the corpus.
        tokenizer: as in darwin.toml.
        table: of the byte pairs, where it takes one.
    """

    data: bytes
    tokenizer: Cut = "characters"
    table: bytes | None = None


@dataclass(frozen=True)
class Initialised:
    """What `init` made."""

    folder: Path
    adopted: bool
    corpus_bytes: int
    branch: str


def package_file(name: str) -> Path:
    """seed_repo/ and darwin.toml: beside the package in a checkout, inside it in a wheel."""
    here = Path(__file__).resolve().parents[1]
    for place in (here / f"_{name}", here.parent / name):
        if place.exists():
            return place
    raise DarwinError(f"{name} is missing from this installation", hint="install it again")


def init(
    folder: Path | None,
    genome: str | None,
    data: str | None,
    device: Device,
    tokenizer: Cut | None = None,
    bpe: Path | None = None,
) -> Initialised:
    """Make or adopt a genome repository; on failure everything is as it was.

    Args:
        folder: where; the present folder, or for a URL one named after it.
        genome: path or URL of a repository to adopt; None starts from seed_repo/.
        data: a text file, "shakespeare", or None for the embedded corpus.
        device: what to configure for.
        tokenizer: characters by default, with a table byte pairs.
        bpe: a table of byte pairs in tiktoken's format.
    """
    corpus = read_text(data, tokenizer, bpe)
    if genome is None:
        return _from_seed(folder or Path(), corpus, device)
    return adopted(folder, genome, lambda place: _adopt(place, corpus, device))


def adopted(folder: Path | None, genome: str, adopt: Callable[[Path], Initialised]) -> Initialised:
    """Adopt a repository where it is, or a clone of it; a clone that fails is taken back."""
    source = Path(genome).expanduser()
    if not _URL.fullmatch(genome) and not source.is_dir():
        raise DarwinError(
            f"{genome} is neither a folder nor a URL of a git repository",
            hint="give the path of a clone, or https://…",
        )
    if source.is_dir() and (folder is None or folder.resolve() == source.resolve()):
        return adopt(source)
    name = Path(genome.rstrip("/").removesuffix(".git")).name
    target = folder or Path(re.split(r"[:/]", name)[-1] or "genome")
    _refuse_filled(target)
    existed = target.exists()
    try:
        _clone(genome, target)
        return adopt(target)
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


def read_text(data: str | None, tokenizer: Cut | None, bpe: Path | None) -> Text:
    """The corpus and, for byte pairs, their table: what a run needs is kept in its repository."""
    if bpe is not None:
        if tokenizer not in (None, "bpe"):
            raise DarwinError(
                f"--bpe gives byte pairs, --tokenizer asks for {tokenizer}", hint="give one"
            )
        try:
            table = read_table(bpe.expanduser().read_bytes(), str(bpe))
        except OSError as error:
            raise DarwinError(
                f"the table {bpe} cannot be read: {error.strerror}",
                hint="give a readable file in tiktoken's format",
            ) from None
        return Text(read_corpus(data), "bpe", table)
    if tokenizer == "bpe":
        raise DarwinError("--tokenizer bpe needs a table", hint="give it: --bpe FILE")
    if tokenizer == "gpt2":
        return Text(read_corpus(data), "gpt2", gpt2_table())
    return Text(read_corpus(data), tokenizer or "characters")


def _from_seed(folder: Path, corpus: Text, device: Device) -> Initialised:
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
            text = _with_corpus(repository, package_file(FILE_NAME).read_text(), corpus)
            write_config(folder, text, device)
            _commit_all(folder, "Start from the seed genome of darwin-git")
        return Initialised(folder.resolve(), False, len(corpus.data), "main")
    except BaseException:
        _empty(folder, keep=existed)
        raise


def _adopt(folder: Path, corpus: Text, device: Device) -> Initialised:
    """Add darwin.toml to the work tree (not to a commit) and the corpus under refs/darwin/."""
    with Repository.open(folder) as repository:
        root = refuse_adopted(repository)
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
        text = _with_corpus(repository, package_file(FILE_NAME).read_text(), corpus)
        listed = ", ".join(f'"{one}"' for one in train)
        text = text.replace('train = ["train.py", "config/tiny_cpu.py"]', f"train = [{listed}]")
        if device == "cpu" and "config/tiny_cpu.py" not in train:
            marker = "[genome.overrides]"
            at = text.index("\n", text.index(marker)) + 1
            text = text[:at] + _CPU_SIZES.lstrip("\n") + text[at:]
        write_config(root, text, device)
        branch = repository.git.run("rev-parse", "--abbrev-ref", "HEAD").decode().strip()
        return Initialised(root, True, len(corpus.data), branch)


def refuse_adopted(repository: Repository) -> Path:
    """The work tree's root; raises DarwinError where darwin.toml is there already."""
    root = work_tree(repository)
    path = root / FILE_NAME
    if path.exists():
        raise DarwinError(
            f"{path} is there already: the repository was adopted before",
            hint="edit it, or remove it and run init again",
        )
    return root


def _commit_all(folder: Path, message: str) -> None:
    """The first commit of a repository that we have just made."""
    for command in (["add", "--all"], ["commit", "--quiet", "--no-verify", "-m", message]):
        done = subprocess.run([*_GIT, "-C", str(folder), *command], capture_output=True, text=True)
        if done.returncode:
            raise DarwinError(
                f"git could not commit in {folder}: {done.stderr.strip()[-300:]}",
                hint="check your git configuration",
            )


def _with_corpus(repository: Repository, text: str, corpus: Text) -> str:
    """Keep the corpus and its table in the repository; darwin.toml's text that names them."""
    table = "" if corpus.table is None else repository.corpus.put(corpus.table)
    values = {
        "corpus": repository.corpus.put(corpus.data),
        "tokenizer": corpus.tokenizer,
        "table": table,
    }
    for key, value in values.items():
        text = re.sub(rf'(?m)^{key} = "[a-z]*"( *)#', f'{key} = "{value}"  #', text, count=1)
    return text


def write_config(folder: Path, text: str, device: Device) -> None:
    """Put darwin.toml into the work tree, all of it or nothing."""
    if device == "cuda":
        for old, new in _GPU.items():
            text = text.replace(old, new)
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
