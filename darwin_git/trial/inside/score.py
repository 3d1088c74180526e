"""Answers for a checkpoint: ``score.py MODEL.py CHECKPOINT DEVICE``, over stdin and stdout.

1. Reads the checkpoint without any of the genome's code and says what is in it:
   u32 length, JSON {"tensors": [[name, shape, dtype, group]], "model_args": {...}} or {"error"}.
2. Builds the genome's model and fills it: u8 state (READY, NO_CODE, NO_FIT).
3. Answers requests until stdin ends. Request: u32 rows, length, first, then int32 tokens
   (rows x length). Answer: u8 state, u8 dtype, u32 rows, positions, vocabulary, then the logits
   of positions first..length-1, in the model's own dtype, at most CHUNK positions at a time.

The true next tokens never come here. All integers are little-endian.
"""

import importlib.util
import json
import os
import pathlib
import struct
import sys

CHUNK = 128
READY, NO_CODE, NO_FIT, FAILED = 0, 1, 2, 3
DTYPES = ("torch.float32", "torch.float16", "torch.bfloat16", "torch.float64")


def take_wire() -> tuple[int, int]:
    """Keep stdin and stdout for ourselves; what the genome prints goes nowhere."""
    wire = os.dup(0), os.dup(1)
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 0)
    os.dup2(nothing, 1)
    return wire


def read(wire: int, count: int) -> bytearray:
    """Exactly `count` bytes; the end of the stream is the end of the work."""
    data = bytearray()
    while len(data) < count:
        part = os.read(wire, count - len(data))
        if not part:
            os._exit(0)
        data += part
    return data


def write(wire: int, data: bytes) -> None:
    """All of it."""
    view = memoryview(data)
    while view:
        view = view[os.write(wire, view) :]


def open_checkpoint(path: str) -> tuple[dict, dict]:
    """State dict and model arguments; only tensors and plain values are unpickled."""
    import torch

    checkpoint = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    state = {name.removeprefix("_orig_mod."): t for name, t in checkpoint["model"].items()}
    if not all(isinstance(t, torch.Tensor) for t in state.values()):
        raise TypeError("not a state dict")
    return state, dict(checkpoint["model_args"])


def describe(state: dict, model_args: dict) -> dict:
    """Names, shapes, dtypes; tensors that share their storage have one group."""
    groups: dict = {}
    tensors = []
    for name, t in state.items():
        place = (t.untyped_storage().data_ptr(), t.storage_offset(), tuple(t.shape))
        group = groups.setdefault(place, len(groups))
        tensors.append([name, list(t.shape), str(t.dtype).removeprefix("torch."), group])
    plain = {k: v for k, v in model_args.items() if isinstance(v, (bool, int, float, str))}
    return {"tensors": tensors, "model_args": plain}


def build(source: str, state: dict, model_args: dict, device: str):
    """The genome's model with the trained weights; returns (state, model)."""
    sys.path[0] = str(pathlib.Path.cwd())
    try:
        name = pathlib.Path(source).stem
        spec = importlib.util.spec_from_file_location(name, source)
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
        model = module.GPT(module.GPTConfig(**model_args))
    except (Exception, SystemExit):
        return NO_CODE, None
    try:
        model.load_state_dict(state, strict=True)
        return READY, model.to(device).eval()
    except Exception:
        return NO_FIT, None


def answer(out: int, model, rows: int, length: int, first: int, tokens: bytearray, device) -> None:
    """One request."""
    import torch

    try:
        idx = torch.frombuffer(tokens, dtype=torch.int32).view(rows, length).long().to(device)
        with torch.inference_mode():
            # targets, so that all positions are answered: the input itself, never the next tokens
            logits = model(idx, targets=idx)[0]
        logits = logits[:, first:]
        positions, vocabulary = logits.shape[1:]
        flat = logits.reshape(rows * positions, vocabulary)
        dtype = DTYPES.index(str(flat.dtype))
        header = struct.pack("<BBIII", READY, dtype, rows, positions, vocabulary)
    except (Exception, SystemExit):
        write(out, struct.pack("<BBIII", FAILED, 0, 0, 0, 0))
        return
    write(out, header)
    for start in range(0, len(flat), CHUNK):
        part = flat[start : start + CHUNK].contiguous().cpu()
        write(out, part.view(torch.uint8).numpy().tobytes())


def main() -> None:
    """Describe, build, answer."""
    source, path, device = sys.argv[1:]
    into, out = take_wire()
    try:
        state, model_args = open_checkpoint(path)
        said = json.dumps(describe(state, model_args), allow_nan=False).encode()
    except Exception:
        said = b'{"error":"checkpoint"}'
    write(out, struct.pack("<I", len(said)) + said)
    if said == b'{"error":"checkpoint"}':
        return
    ready, model = build(source, state, model_args, device)
    write(out, struct.pack("<B", ready))
    if ready != READY:
        return
    while True:
        rows, length, first = struct.unpack("<III", read(into, 12))
        tokens = read(into, rows * length * 4)
        answer(out, model, rows, length, first, tokens, device)


if __name__ == "__main__":
    main()
