"""Measures this slot's matmul peak: ``peak.py DEVICE DTYPE`` prints FLOP/s, best of several."""

import sys
import time

import torch


def main() -> None:
    device, dtype = sys.argv[1:]
    size = 8192 if device == "cuda" else 1024
    a = torch.randn(size, size, device=device).to(getattr(torch, dtype))
    seconds = []
    for _ in range(12):
        began = time.perf_counter()
        b = a @ a
        if device == "cuda":
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - began)
        del b
    print(f"{2 * size**3 / min(seconds):.6e}", flush=True)


if __name__ == "__main__":
    main()
