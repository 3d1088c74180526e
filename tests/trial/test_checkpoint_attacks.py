"""Checkpoints made to hurt whoever opens them, and to carry more than weights; both runners.

One training writes all of them and opens them as score.py does; some are scored in a process of
their own: every attack has a named outcome, and neither the tool nor a later scoring is worse off.
"""

import os
import resource
from collections.abc import Iterator

import numpy as np
import pytest

from darwin_git.ports import Command, File, Finished, Limits, Runner
from darwin_git.trial import evaluate
from darwin_git.trial.scorer import Unscorable, open_scorer
from darwin_git.trial.training import inside

from .conftest import BLOCK, Bench, edited

LIMITS = Limits(wall_seconds=240, memory_bytes=1 << 30, output_bytes=256 << 20)
SYMBOLS = 5

MAKER = r'''
import io, os, pathlib, pickle, sys, zipfile
import torch
from model import GPT, GPTConfig

out = pathlib.Path(sys.argv[1])
args = dict(n_layer=1, n_head=1, n_embd=8, block_size=16, bias=False, vocab_size=5, dropout=0.0)
torch.manual_seed(0)
model = GPT(GPTConfig(**args))
state = {k: v.detach().clone() for k, v in model.state_dict().items()}
first = next(iter(state))


def save(name, weights=state, settings=args, **more):
    torch.save({"model": weights, "model_args": settings, **more}, out / name)


def copy(source, name, change, compression=zipfile.ZIP_STORED):
    """The archive with a change to each member."""
    with zipfile.ZipFile(out / source) as old, zipfile.ZipFile(out / name, "w") as new:
        for item in old.infolist():
            said = change(item.filename, old.read(item))
            if said is not None:
                new.writestr(item.filename, said, compression)


class Shell:
    def __reduce__(self):
        return os.system, ("touch " + sys.argv[2],)


class Missing:
    def __reduce__(self):
        return eval, ("__import__('os').system('touch " + sys.argv[2] + "')",)


laughs = [1]
for _ in range(40):
    laughs = [laughs] * 10

save("honest")
save("code", best=Shell())
save("other_code", best=Missing())
save("code_in_settings", settings={**args, "x": Shell()})
save("extra_megabytes", table=torch.arange(1 << 22), text="x" * (1 << 20))
save("wrong_shape", {**state, first: torch.zeros(3, 3)})
save("missing_tensor", {k: v for k, v in state.items() if k != first})
save("stretched", {**state, first: torch.zeros(1).expand(1 << 20, 1 << 20)})
every = torch.zeros(1 << 20)
save("overlapping", {f"t{n}": every[n:] for n in range(1000)})
save("sparse", {**state, first: state[first].to_sparse()})
save("quantized", {**state, first: torch.quantize_per_tensor(state[first], 0.1, 0, torch.qint8)})
save("meta", {**state, first: state[first].to("meta")})
save("nested", {**state, first: torch.nested.nested_tensor([torch.ones(2), torch.ones(3)])})
save("nan", {k: torch.full_like(v, float("nan")) if v.is_floating_point() else v
             for k, v in state.items()})
save("weights_in_settings", settings={**args, "more": torch.zeros(1 << 20)})
save("text_in_settings", settings={**args, "more": "x" * (1 << 20)})
save("number_in_settings", settings={**args, "more": 1 << (1 << 22)})
save("laughs_in_settings", settings={**args, "more": laughs})
save("endless_settings", settings={**args, "more": float("inf")})
save("numbers_for_names", {n: v for n, v in enumerate(state.values())})
save("many_names", {f"name{n}": state[first] for n in range(60_000)})
save("long_name", {**state, "x" * (8 << 20): state[first]})
save("no_dict", [1, 2, 3])
torch.save(torch.zeros(3), out / "a_tensor")
torch.save({"model": state, "model_args": args}, out / "old_format",
           _use_new_zipfile_serialization=False)
(out / "empty").write_bytes(b"")
(out / "noise").write_bytes(os.urandom(1 << 16))
(out / "cut").write_bytes((out / "honest").read_bytes()[:-2000])
(out / "plain_pickle").write_bytes(pickle.dumps(Shell()))


packed = zipfile.ZipFile(out / "bomb", "w", zipfile.ZIP_DEFLATED, compresslevel=1)
with zipfile.ZipFile(out / "honest") as old, packed as new:
    for item in old.infolist():
        if not item.filename.endswith("data.pkl"):
            new.writestr(item.filename, old.read(item), zipfile.ZIP_STORED)
            continue
        with new.open(item.filename, "w") as member:
            member.write(b"\x80\x02")
            for _ in range(24):
                member.write(b"N" * (64 << 20))
            member.write(b".")
copy("honest", "deflated", lambda _, said: said, zipfile.ZIP_DEFLATED)
copy("honest", "no_weights", lambda name, said: None if "/data/" in name else said)
copy("honest", "short_weights", lambda name, said: said[:4] if "/data/" in name else said)

os.symlink("/etc/passwd", out / "link")
os.symlink("honest", out / "link_inside")
os.mkfifo(out / "pipe")
(out / "folder").mkdir()
(out / "linked").write_bytes(b"x")
os.link(out / "linked", out / "hard_link")
with open(out / "sparse_file", "wb") as file:
    try:
        file.truncate(1 << 40)
    except OSError as error:
        print("sparse:", error.strerror)

sys.path.insert(0, "../tools")
import score

for name in sys.argv[3].split(","):
    path = str(out / name)
    try:
        weights, settings = score.open_checkpoint(path)
        score.describe(weights, settings)
        score.own(weights, os.stat(path).st_size)
        print("opened", name, "fine")
    except score.Settings:
        print("opened", name, "rule")
    except Exception:
        print("opened", name, "other")
print("made")
'''

OPENED = {  # without the genome's code
    "honest": "fine",
    "extra_megabytes": "fine",
    "code": "other",
    "other_code": "other",
    "code_in_settings": "other",
    "wrong_shape": "fine",
    "missing_tensor": "fine",
    "stretched": "other",
    "overlapping": "other",
    "sparse": "other",
    "quantized": "other",
    "meta": "other",
    "nested": "other",
    "nan": "fine",
    "weights_in_settings": "rule",
    "text_in_settings": "rule",
    "number_in_settings": "other",
    "laughs_in_settings": "rule",
    "endless_settings": "rule",
    "numbers_for_names": "other",
    "many_names": "fine",  # too much said of it: refused outside
    "long_name": "fine",
    "no_dict": "other",
    "a_tensor": "other",
    "old_format": "other",
    "empty": "other",
    "noise": "other",
    "cut": "other",
    "plain_pickle": "other",
    "deflated": "fine",  # read as it lies there: noise for weights
    "no_weights": "other",
    "short_weights": "fine",
}
SCORED = {  # from the first word to the last logit
    "honest": "",
    "extra_megabytes": "",
    "code": "other",
    "wrong_shape": "shape",
    "nan": "nan",
    "weights_in_settings": "rule",
    "long_name": "other",
    "bomb": "other or oom",
}
REFUSED = ("link", "link_inside", "pipe", "folder", "missing")

HIDDEN = """
import os
assert os.listdir("../tools") == ["score.py"], os.listdir("../tools")
assert "honest" not in open("/proc/self/maps").read()
assert "ckpt" not in open("/proc/self/maps").read()
"""


@pytest.fixture
def made(wall: Runner, bench: Bench, tmp_path: object) -> Iterator[Finished]:
    """Everything above, left by one command; nothing of it ran code in the making."""
    marker = f"{tmp_path}/pwned"
    command = Command(
        label="checkpoints",
        trusted=True,
        genome={**bench.seed, "make.py": File(MAKER.encode())},
        tools={"score.py": inside("score.py")},
        argv=("{python}", "make.py", "{out}", marker, ",".join(OPENED)),
        limits=LIMITS,
        data={},
        artifacts={},
        keep=(*SCORED, *REFUSED, "hard_link", "sparse_file"),
    )
    finished = wall.run(command, bench.slot)
    try:
        assert [line.text for line in finished.lines][-1:] == ["made"], finished
        yield finished
    finally:
        finished.outputs.discard()
    assert not os.path.lexists(marker), "a checkpoint's code ran"


def opened(wall: Runner, bench: Bench, finished: Finished, name: str) -> str:
    """What becomes of a checkpoint: a class of failure, empty where it was scored."""
    artifact = finished.outputs.artifact(name)
    assert artifact, name
    text = np.random.default_rng(0).integers(SYMBOLS, size=(4, BLOCK + 1), dtype=np.int32)
    files = edited(bench.seed, "model.py", ("import torch\n", f"import torch\n{HIDDEN}\n"))
    try:
        with open_scorer(
            wall,
            bench.slot,
            bench.measurement,
            files,
            artifact,
            SYMBOLS,
            LIMITS,
            label=name,
            trusted=True,
        ) as scorer:
            scorer.describe()
            scorer.build()
            nats, _ = evaluate.sweep(scorer, text[:, :-1].copy(), text[:, 1:].copy())
            assert np.isfinite(nats).all()
    except Unscorable as error:
        assert error.reason and "x" * 99 not in error.reason
        return error.failure
    return ""


def test_every_checkpoint_has_a_named_outcome(wall: Runner, bench: Bench, made: Finished) -> None:
    for name in REFUSED:
        assert made.outputs.artifact(name) is None, name
    linked = made.outputs.artifact("hard_link")  # what comes out of a container is a copy
    assert linked is None or linked.size == 1
    huge = made.outputs.artifact("sparse_file")
    assert huge is None or huge.size <= LIMITS.output_bytes
    said = [line.text.split()[1:] for line in made.lines if line.text.startswith("opened ")]
    assert dict(said) == OPENED
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    found = {name: opened(wall, bench, made, name) for name in SCORED}
    wrong = {n: f for n, f in found.items() if f not in SCORED[n].split(" or ")}
    assert not wrong
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 300 << 10, f"the tool grew by {grown} KiB"
    assert opened(wall, bench, made, "honest") == ""
