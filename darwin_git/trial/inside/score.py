"""Answers for a checkpoint: ``score.py MODEL.py CHECKPOINT DEVICE``, over stdin and stdout.

It starts without any of the genome's code.

1. Reads the checkpoint and says what is in it: u32 length, JSON {"tensors": [[name, shape, dtype,
   group]], "model_args": {...}} or {"error": "checkpoint" or "settings"}. From here on only copies
   of the state dict's tensors are left: what else stood in the file is out of the model's reach.
2. Takes the genome's files: u32 length, JSON [[path, executable, size]], then their bytes; writes
   them to the working directory: u8 state (READY, NOT_STORED), the last word that is ours alone.
   Builds the model and fills it: u8 state (READY, NO_CODE, NO_FIT).
3. Answers requests until stdin ends. Request: u32 rows, length, first, then int32 tokens
   (rows x length). Answer: u8 state, u8 dtype, u32 rows, positions, vocabulary, then the logits
   of positions first..length-1, in the model's own dtype, at most CHUNK positions at a time.

The true next tokens never come here. All integers are little-endian.
"""

import importlib
import importlib.util
import json
import math
import os
import pathlib
import struct
import sys

CHUNK = 128
READY, NO_CODE, NO_FIT, FAILED, NOT_STORED = 0, 1, 2, 3, 4
DTYPES = ("torch.float32", "torch.float16", "torch.bfloat16", "torch.float64")
MAX_INDEX = 8 << 20
MAX_GENOME = 64 << 20
MAX_SETTINGS = 1 << 16
VIEWS = 4
"""How often the bytes of a checkpoint may be looked at: tied weights are, once or twice."""


class Settings(Exception):
    """model_args that are no plain settings."""


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
    if not all(is_plain(t) for t in state.values()):
        raise TypeError("not a state dict")
    model_args = dict(checkpoint["model_args"])
    check_settings(model_args)
    return state, model_args


def check_settings(model_args: dict) -> None:
    """Numbers, texts and lists of them, a few: no weights come in by this door; raises Settings."""
    left, pending = MAX_SETTINGS, [model_args]
    while pending:
        value = pending.pop()
        if isinstance(value, dict):
            if not all(isinstance(name, str) for name in value):
                raise Settings
            parts = [*value, *value.values()]
        elif isinstance(value, (list, tuple)):
            parts = value
        elif isinstance(value, str):
            left, parts = left - len(value), ()
        elif isinstance(value, int):
            left, parts = left - value.bit_length() // 8, ()
        elif value is None or (isinstance(value, float) and math.isfinite(value)):
            parts = ()
        else:
            raise Settings
        left -= 1 + len(parts)
        if left < 0:
            raise Settings
        pending += parts


def is_plain(t: object) -> bool:
    """A dense tensor in main memory whose elements are all its own: none sparse, quantized, on the
    meta device, or one number stretched over a large shape.
    """
    import torch

    return (
        type(t) in (torch.Tensor, torch.nn.Parameter)
        and t.layout is torch.strided
        and t.device.type == "cpu"
        and not (t.is_quantized or t.is_nested)
        and t.numel() * t.element_size() <= t.untyped_storage().nbytes()
    )


def place(t) -> tuple:
    """Tensors with one place share their storage."""
    return t.untyped_storage().data_ptr(), t.storage_offset(), tuple(t.shape)


def describe(state: dict, model_args: dict) -> dict:
    """Names, shapes, dtypes; tensors that share their storage have one group."""
    groups: dict = {}
    tensors = []
    for name, t in state.items():
        group = groups.setdefault(place(t), len(groups))
        tensors.append([name, list(t.shape), str(t.dtype).removeprefix("torch."), group])
    plain = {k: v for k, v in model_args.items() if isinstance(v, (bool, int, float, str))}
    return {"tensors": tensors, "model_args": plain}


def own(state: dict, most: int) -> dict:
    """Copies that no longer map the file of `most` bytes; tied tensors stay one."""
    import torch

    views = {name: (*place(t), t.stride(), t.dtype) for name, t in state.items()}
    unique = dict(zip(views.values(), state.values(), strict=True))
    if sum(t.numel() * t.element_size() for t in unique.values()) > VIEWS * most:
        raise ValueError("the same numbers over and over")
    kept = torch.contiguous_format
    copies = {view: t.detach().clone(memory_format=kept) for view, t in unique.items()}
    return {name: copies[view] for name, view in views.items()}


def receive_genome(wire: int) -> None:
    """The genome's files into the working directory; raises OSError or ValueError."""
    (length,) = struct.unpack("<I", read(wire, 4))
    if length > MAX_INDEX:
        raise ValueError("the index is too long")
    index = json.loads(read(wire, length))
    if sum(size for _, _, size in index) > MAX_GENOME:
        raise ValueError("the genome is too large")
    for path, executable, size in index:
        content = read(wire, size)
        if {"", ".", ".."} & set(path.split("/")):
            raise ValueError(f"{path!r} leaves the checkout")
        pathlib.Path(path).parent.mkdir(parents=True, exist_ok=True)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
        file = os.open(path, flags, 0o755 if executable else 0o644)
        write(file, content)
        os.close(file)
    importlib.invalidate_caches()


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
    error, state, model_args = "", {}, {}
    try:
        state, model_args = open_checkpoint(path)
        said = json.dumps(describe(state, model_args), allow_nan=False).encode()
        state = own(state, pathlib.Path(path).stat().st_size)
    except Settings:
        error = "settings"
    except Exception:
        error = "checkpoint"
    if error:
        said = json.dumps({"error": error}).encode()
    write(out, struct.pack("<I", len(said)) + said)
    if error:
        return
    try:
        pathlib.Path(path).unlink()
        receive_genome(into)
    except (OSError, ValueError):
        write(out, struct.pack("<B", NOT_STORED))
        return
    write(out, struct.pack("<B", READY))  # before any of its code: it could write here, too
    ready, model = build(source, state, model_args, device)
    del state
    write(out, struct.pack("<B", ready))
    if ready != READY:
        return
    while True:
        rows, length, first = struct.unpack("<III", read(into, 12))
        tokens = read(into, rows * length * 4)
        answer(out, model, rows, length, first, tokens, device)


if __name__ == "__main__":
    main()
