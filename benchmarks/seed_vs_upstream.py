"""Is seed_repo as fast and as good as nanoGPT itself?

python benchmarks/seed_vs_upstream.py PATH_TO_UPSTREAM --data FILE --runs 5

Both train at the same configuration on the same seeds, in turn, each run in its own process on one
thread. Printed per configuration: the ratios of wall time and of CPU time (process start to end)
and of the median iteration, each as median, smallest and largest of the pairs; and the paired
difference of the validation loss beside its spread over seeds. The loss is computed here, over the
whole val split in non-overlapping windows. First of all, a checkpoint of each is loaded into the
other's model. On a shared machine believe the CPU time.
"""

import argparse
import contextlib
import io
import os
import re
import runpy
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

SEED_REPO = Path(__file__).parent.parent / "seed_repo"
COMMON = """
out_dir = "out"
always_save_checkpoint = True
eval_iters = 1
log_interval = 10
wandb_log = False
dataset = "darwin"
gradient_accumulation_steps = 1
dropout = 0.0
bias = False
weight_decay = 0.1
beta1 = 0.9
beta2 = 0.99
grad_clip = 1.0
warmup_iters = 20
device = "cpu"
dtype = "float32"
compile = False
n_head = 4
"""
CONFIGURATIONS = {
    "tiny_cpu": """
n_layer = 3
n_embd = 64
block_size = 48
batch_size = 16
learning_rate = 3e-3
min_lr = 3e-4
max_iters = lr_decay_iters = eval_interval = 300
""",
    "noise.md, 150 steps": """
n_layer = 4
n_embd = 128
block_size = 64
batch_size = 12
learning_rate = 1e-3
min_lr = 1e-4
max_iters = lr_decay_iters = eval_interval = 150
""",
}


def launch(seed):
    """Run ./train.py with its seed shifted; what the parent process calls."""
    import torch

    manual_seed = torch.manual_seed
    torch.manual_seed = lambda value: manual_seed(value + seed)
    sys.path.insert(0, os.getcwd())  # noqa: PTH109  (the genome's own folder)
    sys.argv = ["train.py", "override.py"]
    runpy.run_path("train.py", run_name="__main__")


def train(genome, seed):
    """Wall and CPU seconds of the whole process, and its median milliseconds an iteration."""
    command = [sys.executable, "-W", "ignore", __file__, "--launch", str(seed)]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    before = os.times()
    done = subprocess.run(
        command, cwd=genome, env=environment, capture_output=True, text=True, check=False
    )
    after = os.times()
    if done.returncode:
        sys.exit(f"{genome}: training failed\n{done.stderr}")
    steps = re.findall(r"^iter \d+: loss \S+, time ([\d.]+)ms", done.stdout, re.MULTILINE)
    cpu = after.children_user + after.children_system - before.children_user
    return (
        after.elapsed - before.elapsed,
        cpu - before.children_system,
        statistics.median(float(step) for step in steps[1:-1]),
    )


def load_model(genome, checkpoint):
    """A genome's model with a checkpoint's weights."""
    import torch

    module = runpy.run_path(str(genome / "model.py"))
    with contextlib.redirect_stdout(io.StringIO()):  # upstream prints its size
        model = module["GPT"](module["GPTConfig"](**checkpoint["model_args"]))
    model.load_state_dict(checkpoint["model"])
    torch.set_num_threads(1)
    return model.eval()


def loss_over(model, tokens):
    """Nats per token over a whole split, in non-overlapping windows."""
    import torch

    block = model.config.block_size
    windows = (len(tokens) - 1) // block
    inputs = tokens[: windows * block].view(windows, block)
    targets = tokens[1 : windows * block + 1].view(windows, block)
    total = 0.0
    with torch.no_grad():
        for x, y in zip(inputs.split(64), targets.split(64), strict=True):
            logits, _ = model(x, x)  # targets only ask for all positions
            log_p = logits.double().log_softmax(-1)
            total -= log_p.gather(-1, y[..., None]).sum().item()
    return total / (windows * block)


def compare(genomes, tokens, configuration, runs):
    """Train in turn on the same seeds and print what came out."""
    import torch

    for genome in genomes:
        (genome / "override.py").write_text(COMMON + configuration)
    times, losses = [], []
    for seed in range(runs):
        # Who goes first alternates.
        order = [0, 1] if seed % 2 == 0 else [1, 0]
        timed = {i: train(genomes[i], seed) for i in order}
        saved = [torch.load(genome / "out/ckpt.pt", weights_only=True) for genome in genomes]
        if seed == 0:
            check_interchange(genomes, saved, tokens)
        losses.append(
            [loss_over(load_model(genomes[i], saved[i]), tokens) for i in range(len(genomes))]
        )
        times.append([timed[0], timed[1]])
        for who, (wall, cpu, step), loss in zip(
            ("ours", "upstream"), times[-1], losses[-1], strict=True
        ):
            print(
                f"  seed {seed}, {who:8}: {wall:.2f} s wall, {cpu:.2f} s CPU, "
                f"{step:.2f} ms an iteration, loss {loss:.5f}",
                flush=True,
            )
    for i, what in enumerate(("wall time", "CPU time", "iteration")):
        ratios = sorted(ours[i] / theirs[i] for ours, theirs in times)
        print(
            f"  {what}, ours / upstream: median {statistics.median(ratios):.3f}, "
            f"{ratios[0]:.3f} to {ratios[-1]:.3f}"
        )
    differences = [ours - theirs for ours, theirs in losses]
    spread = statistics.stdev(theirs for _, theirs in losses) if runs > 1 else float("nan")
    print(
        f"  loss, ours - upstream: mean {statistics.fmean(differences):+.6f}, "
        f"largest {max(map(abs, differences)):.6f}; sd over seeds {spread:.4f}"
    )


def check_interchange(genomes, saved, tokens):
    """Each genome's checkpoint gives the same logits in the other's model."""
    import torch

    for checkpoint in saved:
        models = [load_model(genome, checkpoint) for genome in genomes]
        x = tokens[: models[0].config.block_size][None]
        with torch.no_grad():
            gap = (models[0](x, x)[0] - models[1](x, x)[0]).abs().max().item()
        if gap > 1e-5:
            sys.exit(f"checkpoints do not interchange: logits differ by {gap}")
    print("  checkpoints load into each other's model; logits agree")


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("upstream", type=Path, help="a checkout of nanoGPT")
    parser.add_argument("--data", type=Path, required=True, help="a UTF-8 text")
    parser.add_argument("--runs", type=int, default=5, help="seeds (default 5)")
    arguments = parser.parse_args()

    import numpy as np
    import torch

    with tempfile.TemporaryDirectory() as folder:
        genomes = [Path(folder) / "ours", Path(folder) / "upstream"]
        ignored = shutil.ignore_patterns("*.bin", "*.pkl", "out*", "__pycache__", ".git")
        for source, genome in zip((SEED_REPO, arguments.upstream), genomes, strict=True):
            shutil.copytree(source, genome, ignore=ignored)
            prepare = [sys.executable, str(SEED_REPO / "data/prepare.py"), str(arguments.data)]
            subprocess.run([*prepare, "--out", str(genome / "data/darwin")], check=True)
        tokens = torch.from_numpy(
            np.fromfile(genomes[0] / "data/darwin/val.bin", dtype="<u2").astype(np.int64)
        )
        for name, configuration in CONFIGURATIONS.items():
            print(name, flush=True)
            compare(genomes, tokens, configuration, arguments.runs)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--launch"]:
        launch(int(sys.argv[2]))
    else:
        main()
