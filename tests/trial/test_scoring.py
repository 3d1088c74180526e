"""One trained checkpoint, scored through honest and dishonest code.

The cheats are those of an early prototype and of METR's and parameter-golf's reports.
"""

import importlib.util
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from darwin_git.domain.flops import flops_per_token, parameters
from darwin_git.domain.trial import Shard, loss
from darwin_git.ports import Command, DialogueEnded, File, Slot
from darwin_git.trial import evaluate, probes
from darwin_git.trial.scorer import Scorer, Unscorable, open_scorer
from darwin_git.trial.training import progress

from .conftest import BLOCK, SETTINGS, STEPS, Bench, Trained, edited

RETURN = "        return logits, loss\n"
LOGITS = "        logits = self.lm_head(x)\n"


def before_the_end(code: str) -> tuple[str, str]:
    """An edit that puts code before forward's last line."""
    return RETURN, "".join(f"        {line}\n" for line in code.strip().split("\n")) + RETURN


def answer(
    bench: Bench, trained: Trained, *edits: tuple[str, str], seconds: float = 40
) -> tuple[tuple[Shard, ...], probes.Interview, str]:
    """Shards, the interview and the dtype of the checkpoint under edited model code."""
    files = edited(bench.seed, "model.py", *edits)
    windows = evaluate.windows(bench.corpus.scored, BLOCK, 4096)
    cuts = probes.draw(len(windows.inputs), BLOCK, random.randrange(1 << 64))
    with open_scorer(
        bench.runner,
        bench.slot,
        bench.measurement,
        files,
        trained.checkpoint,
        len(bench.corpus.symbols),
        replace(bench.limits, wall_seconds=seconds),
        label="score",
        trusted=True,
    ) as scorer:
        scorer.describe()
        scorer.build()
        nats, said = probes.interview(scorer, windows, cuts)
        return evaluate.shards(windows, nats), said, scorer.dtype


def verdicts(said: probes.Interview, dtype: str) -> dict[str, bool]:
    return {p.name: p.passed for p in probes.judge(said, probes.tolerance(dtype))}


@pytest.fixture(scope="module")
def honest(bench: Bench, trained: Trained) -> tuple[tuple[Shard, ...], probes.Interview, str]:
    return answer(bench, trained)


def seed_model(bench: Bench, folder: Path) -> ModuleType:
    """The genome's model.py as a module of this process."""
    (folder / "seed_model.py").write_bytes(bench.seed["model.py"].content)
    spec = importlib.util.spec_from_file_location("seed_model", folder / "seed_model.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_trusted_loss_is_the_cross_entropy_that_torch_computes(
    bench: Bench,
    trained: Trained,
    honest: tuple[tuple[Shard, ...], probes.Interview, str],
    tmp_path: Path,
) -> None:
    import torch

    checkpoint = torch.load(trained.path, weights_only=True)
    module = seed_model(bench, tmp_path)
    model = module.GPT(module.GPTConfig(**checkpoint["model_args"])).eval()
    model.load_state_dict(checkpoint["model"])
    scored, _, dtype = honest
    assert dtype == "float32"
    assert len(scored) == 4
    for tokens, shard in zip(bench.corpus.scored.shards, scored, strict=True):
        count = shard.tokens // BLOCK
        text = torch.from_numpy(tokens[: count * BLOCK + 1].astype(np.int64))
        idx, targets = text[:-1].view(count, BLOCK), text[1:].view(count, BLOCK)
        with torch.no_grad():
            logits = model(idx, idx)[0].double()
        expected = torch.nn.functional.cross_entropy(
            logits.view(-1, logits.size(-1)), targets.reshape(-1), reduction="sum"
        )
        assert shard.nats == pytest.approx(float(expected), rel=1e-6)
        assert shard.bytes == shard.tokens  # ASCII
    assert sum(shard.tokens for shard in scored) <= 4096
    assert loss(scored) < np.log(len(bench.corpus.symbols)) - 0.5


def test_what_a_checkpoint_holds_is_known_before_its_code_runs(
    bench: Bench, trained: Trained
) -> None:
    with open_scorer(
        bench.runner,
        bench.slot,
        bench.measurement,
        {"model.py": File(b"raise SystemExit")},
        trained.checkpoint,
        len(bench.corpus.symbols),
        bench.limits,
        label="describe",
        trusted=True,
    ) as scorer:
        found = scorer.describe()
        with pytest.raises(Unscorable, match="failed with the checkpoint"):
            scorer.build()
    width, layers, symbols = SETTINGS["n_embd"], SETTINGS["n_layer"], len(bench.corpus.symbols)
    assert found.size("block_size") == BLOCK and found.size("vocab_size") == symbols
    names = [t.name for t in found.tensors]
    tied = {t.group for t in found.tensors if t.shape == (symbols, width)}
    assert len(tied) == 1 and len(names) > 8
    gains = (2 * layers + 1) * width
    matrices = layers * 12 * width * width
    assert parameters(found.tensors) == matrices + gains + (symbols + BLOCK) * width
    assert (
        flops_per_token(found.tensors, found.model_args)
        == 6 * (matrices + gains + symbols * width) + 12 * layers * width * BLOCK
    )


def test_a_model_cannot_play_a_fault_of_ours(bench: Bench, trained: Trained) -> None:
    """It can write where score.py answers; what it says there is held against it."""
    loud = b"""
import os
for number in range(3, 30):
    try:
        os.write(number, bytes([4]))
    except OSError:
        pass
"""
    with (
        pytest.raises(Unscorable),
        open_scorer(
            bench.runner,
            bench.slot,
            bench.measurement,
            {"model.py": File(loud)},
            trained.checkpoint,
            len(bench.corpus.symbols),
            bench.limits,
            label="loud",
            trusted=True,
        ) as scorer,
    ):
        scorer.describe()
        scorer.build()


def test_the_training_reports_by_the_outside_clock(trained: Trained) -> None:
    told = progress(trained.finished)
    assert told.steps == STEPS and told.tokens_per_step == 8 * BLOCK
    assert 0 < told.seconds < trained.finished.seconds - 0.5  # imports are not counted
    assert told.printed[-1][1] == STEPS
    assert told.step_seconds and told.step_seconds < 1


def test_an_honest_model_passes(
    honest: tuple[tuple[Shard, ...], probes.Interview, str],
) -> None:
    _, said, dtype = honest
    assert verdicts(said, dtype) == {"prefix": True, "repeat": True}
    assert len(said.within) > 150 and len(said.again) > 40


NOISE = """
import os, sys
print("garbage" * 1000); sys.stdout.flush()
os.write(1, bytes(5000)); os.write(2, bytes(5000))
assert sys.stdin.read() == ""
"""


def test_what_the_model_prints_or_reads_does_not_reach_the_wire(
    bench: Bench, trained: Trained, honest: tuple[tuple[Shard, ...], probes.Interview, str]
) -> None:
    scored, said, dtype = answer(bench, trained, before_the_end(NOISE))
    assert scored == honest[0]
    assert all(verdicts(said, dtype).values())


def test_bfloat16_logits_are_taken_as_they_are(
    bench: Bench, trained: Trained, honest: tuple[tuple[Shard, ...], probes.Interview, str]
) -> None:
    scored, said, dtype = answer(bench, trained, before_the_end("logits = logits.bfloat16()"))
    assert dtype == "bfloat16"
    assert loss(scored) == pytest.approx(loss(honest[0]), abs=0.01)
    assert all(verdicts(said, dtype).values())


PEEK = """
peek = torch.nn.functional.one_hot(idx[:, 1:], logits.size(-1)) * 10.0
"""
CHEATS = {
    "no causal mask": ("is_causal=True", "is_causal=False"),
    "reads the next token": before_the_end(
        PEEK + "logits = torch.cat([logits[:, :-1] + peek, logits[:, -1:]], 1)"
    ),
    "reads the next token at one position in eight": before_the_end(
        PEEK + "logits = logits.clone()\nlogits[:, 0:-1:8] += peek[:, ::8]"
    ),
    "rows of a batch see each other": (
        LOGITS,
        "        x = x + 0.2 * x.mean(0, keepdim=True)\n" + LOGITS,
    ),
}


@pytest.mark.parametrize("cheat", CHEATS)
def test_a_look_ahead_is_caught(bench: Bench, trained: Trained, cheat: str) -> None:
    _, said, dtype = answer(bench, trained, CHEATS[cheat])
    assert not verdicts(said, dtype)["prefix"]


MEMORY = """
seen = self.__dict__.setdefault("seen", {})
logits = logits.clone()
for row, text in enumerate(idx.tolist()):
    after = seen.get(tuple(text))
    if after is not None:
        logits[row, -1, after] += 10.0
    for k in range(1, len(text)):
        seen[tuple(text[:k])] = text[k]
"""


def test_a_memory_of_the_windows_is_caught(bench: Bench, trained: Trained) -> None:
    _, said, dtype = answer(bench, trained, before_the_end(MEMORY))
    assert verdicts(said, dtype) == {"prefix": True, "repeat": False}


def test_probabilities_that_sum_to_more_than_one_gain_nothing(
    bench: Bench, trained: Trained, honest: tuple[tuple[Shard, ...], probes.Interview, str]
) -> None:
    scored, _, _ = answer(bench, trained, before_the_end("logits = logits + 277.0"))
    assert loss(scored) == pytest.approx(loss(honest[0]), abs=1e-4)


BROKEN = {
    "nan": (before_the_end("logits[0, -1] = float('nan')"), "nan", "not finite"),
    "one position": (before_the_end("logits = logits[:, -1:]"), "shape", "every position"),
    "narrow": (before_the_end("logits = logits[..., :9]"), "shape", "9 logits"),
    "raises": (before_the_end("raise KeyError(str(idx.tolist()))"), "other", "exception"),
    "exits": (before_the_end("import os; os._exit(0)"), "other", "ended"),
    "other names": (("self.lm_head", "self.head"), "shape", "state dict"),
    "fails": (
        ("    def forward(self, idx", "    assert False\n    def forward(self, idx"),
        "import",
        "model_args",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_model_that_cannot_be_scored_is_named_in_our_words(
    bench: Bench, trained: Trained, name: str
) -> None:
    edit, failure, words = BROKEN[name]
    with pytest.raises(Unscorable, match=words) as error:
        answer(bench, trained, edit)
    assert error.value.failure == failure
    assert "[" not in error.value.reason  # no token of the held-out text


def test_a_model_that_never_answers_is_killed(bench: Bench, trained: Trained) -> None:
    began = time.monotonic()
    with pytest.raises(Unscorable) as error:
        answer(bench, trained, before_the_end("import time; time.sleep(600)"), seconds=6)
    assert error.value.failure == "timeout"
    assert time.monotonic() - began < 15


class Liar:
    """A dialogue whose other side says what it likes."""

    def __init__(self, said: bytes) -> None:
        self._said = said

    def send(self, data: bytes) -> None:
        """Ignored."""

    def receive(self, count: int) -> bytes:
        """The next bytes."""
        taken, self._said = self._said[:count], self._said[count:]
        return taken


@pytest.mark.parametrize(
    "said",
    [
        b"\xff\xff\xff\x7f",
        b"\x02\0\0\0[]",
        b'\x1f\0\0\0{"tensors":[],"model_args":{}}  ',
        b'\x33\0\0\0{"tensors":[["a",[-1],"float32",0]],"model_args":{}}',
        b'\x33\0\0\0{"tensors":[["a",["1"],"float3",0]],"model_args":{}}',
    ],
)
def test_a_malformed_description_is_refused(said: bytes) -> None:
    with pytest.raises((Unscorable, ValueError)):
        Scorer(Liar(said), 5).describe()


@pytest.mark.parametrize(
    "header",
    [
        (0, 9, 1, 4, 5),  # no such type
        (0, 0, 1, 4, 1 << 31),  # terabytes
        (0, 0, 2, 4, 5),
        (0, 0, 1, 3, 5),
        (7, 0, 1, 4, 5),
    ],
)
def test_a_malformed_answer_is_refused_before_it_is_read(header: tuple[int, ...]) -> None:
    import struct

    scorer = Scorer(Liar(struct.pack("<BBIII", *header)), 5)
    with pytest.raises(Unscorable):
        list(scorer.logits(np.zeros((1, 4), np.int32), 0))


def test_the_probes_tolerance_is_floored_and_capped() -> None:
    bounds: Callable[..., float] = probes.tolerance
    assert bounds("float32") == 1e-4
    assert bounds("float32", 5e-5) == pytest.approx(4e-4)
    assert bounds("float32", 1.0) == 1e-3
    assert bounds("bfloat16", 0.02) == pytest.approx(0.16)
    assert bounds("bfloat16", 0.07) == 0.25


# --- the trusted arithmetic ------------------------------------------------------------------


class Canned:
    """A scorer that answers with logits of its own."""

    def __init__(self, vocabulary: int, block: int) -> None:
        self.vocabulary = vocabulary
        self._block = block

    def logits(self, tokens: np.ndarray, first: int) -> Iterator[tuple[slice, np.ndarray]]:
        """The same logits for the same row, in blocks of any size."""
        length = tokens.shape[1]
        parts = [
            np.random.default_rng(row.tolist()).standard_normal((length, self.vocabulary))
            for row in tokens
        ]
        whole = np.concatenate([20 * part[first:] for part in parts]).astype(np.float32)
        for start in range(0, len(whole), self._block):
            part = whole[start : start + self._block]
            yield slice(start, start + len(part)), part


@pytest.mark.parametrize("vocabulary", [3, 65, 257, 5000])
@pytest.mark.parametrize("block", [1, 7, 4096])
def test_losses_are_bit_for_bit_those_of_the_whole_log_softmax(vocabulary: int, block: int) -> None:
    """Scores of earlier versions stay comparable: evaluator 1 normalised every answer whole."""
    dice = np.random.default_rng(vocabulary)
    text = dice.integers(vocabulary, size=(11, 17), dtype=np.int32)
    inputs, targets = text[:, :-1].copy(), text[:, 1:].copy()
    scorer = Canned(vocabulary, block)
    nats, _ = evaluate.sweep(scorer, inputs, targets)  # type: ignore[arg-type]
    expected = np.zeros(11)
    for chosen in evaluate.batches(11, 16):
        for part, logits in Canned(vocabulary, 128).logits(inputs[chosen], 0):
            wide = logits.astype(np.float64)
            wide -= wide.max(axis=-1, keepdims=True)
            values = wide - np.log(np.exp(wide).sum(axis=-1, keepdims=True))
            wanted = targets[chosen].reshape(-1).astype(np.int64)[part, None]
            rows = chosen[np.arange(part.start, part.stop) // 16]
            np.add.at(expected, rows, -np.take_along_axis(values, wanted, -1)[:, 0])
    assert nats.tobytes() == expected.tobytes()


def test_a_large_vocabulary_is_asked_for_fewer_tokens_at_once() -> None:
    def rows(count: int, block: int, vocabulary: int) -> int:
        found = list(evaluate.batches(count, block, vocabulary))
        assert sorted(np.concatenate(found).tolist()) == list(range(count))
        return max(map(len, found))

    assert rows(100, 64, 65) == rows(100, 64, 1) == 50  # two batches of at most 4096 tokens
    assert rows(100, 1024, 50_304) == 1
    assert 50_304 * 64 * rows(100, 64, 50_304) <= 1 << 26


@pytest.mark.parametrize("path", ["../out.py", "/tmp/x.py", "a//b.py", "./x.py", "a/../../b"])
def test_a_genome_that_leaves_its_folder_is_not_written(
    bench: Bench, trained: Trained, path: str
) -> None:
    with (
        pytest.raises(DialogueEnded),
        open_scorer(
            bench.runner,
            bench.slot,
            bench.measurement,
            {**bench.seed, path: File(b"")},
            trained.checkpoint,
            len(bench.corpus.symbols),
            bench.limits,
            label="leaving",
            trusted=True,
        ) as scorer,
    ):
        scorer.describe()
        scorer.build()


def test_no_code_of_the_genome_is_there_while_the_checkpoint_is_opened(
    bench: Bench, trained: Trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[Command] = []
    converse = bench.runner.converse

    def watched(command: Command, slot: Slot) -> object:
        started.append(command)
        return converse(command, slot)

    monkeypatch.setattr(bench.runner, "converse", watched)
    answer(bench, trained)
    assert [dict(command.genome) for command in started] == [{}]
    assert [set(command.tools) for command in started] == [{"score.py"}]
