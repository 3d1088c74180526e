"""torch.compile before anything is measured: a few steps on random tokens fill a tree's cache.

The cache's name is the tree's, and only this command fills it. It never sees the corpus, and each
training works on a private copy, so that nothing learned travels from one training to the next.
"""

import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from darwin_git.domain.measurement import Measurement
from darwin_git.domain.trial import Subject
from darwin_git.ports import File, Finished, Limits, Runner, Slot
from darwin_git.trial.corpus import Corpus
from darwin_git.trial.override import Grant
from darwin_git.trial.training import command

COMPILE_SECONDS = 600.0
"""A training that compiles may take this much longer before it is killed."""
STEPS = 3
MAX_TOKENS = 1 << 20


def warm_up(
    runner: Runner,
    measurement: Measurement,
    corpus: Corpus,
    files: Mapping[str, File],
    subject: Subject,
    cache: str,
    limits: Limits,
    slot: Slot,
) -> Finished:
    """Train a few steps on random tokens and keep what was compiled as `cache`."""
    training = command(
        measurement,
        files,
        random_data(corpus),
        Grant(measurement.tokens, measurement.tokens, STEPS),
        0,
        limits,
        label=f"{subject.label} compilation",
        trusted=subject.trusted,
        cache=cache,
    )
    finished = runner.run(replace(training, keep=(), fills_cache=True), slot)
    finished.outputs.discard()
    return finished


def random_data(corpus: Corpus) -> Path:
    """A folder like the training folder whose tokens are dice throws, made once beside it.

    Of the corpus it says the symbols (meta.pkl) and nothing more.
    """
    folder = corpus.folder.with_name(f"{corpus.folder.name}.random")
    if folder.is_dir():
        return folder
    draft = Path(tempfile.mkdtemp(dir=folder.parent, prefix=".draft-"))
    try:
        dice = np.random.default_rng(0)
        for name, count in (("train", corpus.training_tokens), ("val", corpus.decoy_tokens)):
            tokens = dice.integers(len(corpus.symbols), size=min(count, MAX_TOKENS), dtype="<u2")
            (draft / f"{name}.bin").write_bytes(tokens.tobytes())
        if (meta := corpus.folder / "meta.pkl").exists():
            (draft / "meta.pkl").write_bytes(meta.read_bytes())
        for file in draft.iterdir():
            file.chmod(0o444)
        draft.chmod(0o755)  # a container's user must be able to read it
        try:
            draft.rename(folder)
        except OSError:
            if not folder.is_dir():
                raise  # else another slot was faster
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return folder
