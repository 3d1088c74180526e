"""What an image can do: one training step with everything a training uses, told as one JSON line.

``check.py OUT DEVICE DTYPE COMPILE``; every part is tried by itself, so that all that is missing is
said at once. With ``check.py echo`` it sends back what it reads: the scoring dialogue.
"""

import json
import pathlib
import platform
import shutil
import sys
import sysconfig

COMPILERS = ("c++", "g++", "clang++")


def main() -> None:
    if sys.argv[1] == "echo":
        sys.stdout.buffer.write(sys.stdin.buffer.read(1 << 20))
        sys.stdout.buffer.flush()
        return
    out, device, dtype, compiled = sys.argv[1:]
    told = {"python": platform.python_version()}
    told["compiler"] = next(filter(None, map(shutil.which, COMPILERS)), "")
    headers = pathlib.Path(sysconfig.get_paths()["include"], "Python.h")
    told["headers"] = str(headers) if headers.exists() else ""
    for name in ("numpy", "torch"):
        try:
            told[name] = str(__import__(name).__version__)
        except Exception as error:
            told[f"{name}_error"] = f"{type(error).__name__}: {error}"[:300]
    compiling = compiled == "1" and bool(told["compiler"] and told["headers"])
    if "torch" in told and "numpy" in told:
        try:
            told["gpus"] = gpus()
            told["loss"] = step(device, dtype, compiling, pathlib.Path(out))
        except Exception as error:
            told["step_error"] = f"{type(error).__name__}: {error}"[:600]
    print(json.dumps(told), flush=True)


def gpus():
    import torch

    return [torch.cuda.get_device_name(n) for n in range(torch.cuda.device_count())]


def step(device, dtype, compiled, out):
    """Loss of one AdamW step of a model of tokens, and a checkpoint of it."""
    import numpy
    import torch

    torch.manual_seed(1)
    tokens = torch.from_numpy(numpy.arange(4 * 17, dtype=numpy.int64).reshape(4, 17) % 65)
    tokens = tokens.to(device)
    model = torch.nn.Sequential(torch.nn.Embedding(65, 32), torch.nn.Linear(32, 65)).to(device)
    run = torch.compile(model) if compiled else model
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    with torch.autocast(device, getattr(torch, dtype), enabled=dtype != "float32"):
        logits = run(tokens[:, :-1])
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten())
    loss.backward()
    optimizer.step()
    torch.save({"model": model.state_dict()}, out / "ckpt.pt")
    return float(loss)


if __name__ == "__main__":
    main()
