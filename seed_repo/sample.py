"""Print samples of a trained character model: python sample.py [--out_dir=out] [--start=TEXT]."""

import os
import pickle
import sys

import torch
from configurator import configure
from model import GPT, GPTConfig

out_dir = "out"
start = "\n"
num_samples = 3
max_new_tokens = 300
temperature = 0.8
top_k = 200
seed = 1337
device = "cuda" if torch.cuda.is_available() else "cpu"
configure(globals(), sys.argv[1:])

path = os.path.join(out_dir, "ckpt.pt")
if not os.path.exists(path):
    sys.exit(f"{path} is missing: train first, or name another --out_dir")
checkpoint = torch.load(path, map_location=device, weights_only=True)
model = GPT(GPTConfig(**checkpoint["model_args"]))
model.load_state_dict({k.removeprefix("_orig_mod."): v for k, v in checkpoint["model"].items()})
model.eval().to(device)

meta_path = os.path.join("data", checkpoint["config"]["dataset"], "meta.pkl")
if not os.path.exists(meta_path):
    sys.exit(f"{meta_path} is missing: without it, tokens are only numbers")
with open(meta_path, "rb") as file:
    meta = pickle.load(file)
unknown = sorted(set(start) - set(meta["stoi"]))
if unknown or not start:
    sys.exit(f"--start must be text over the vocabulary; unknown: {unknown}")

torch.manual_seed(seed)
prompt = torch.tensor([[meta["stoi"][character] for character in start]], device=device)
for _ in range(num_samples):
    ids = model.generate(prompt, max_new_tokens, temperature=temperature, top_k=top_k)
    print("".join(meta["itos"][i] for i in ids[0].tolist()))
    print("-" * 15)
