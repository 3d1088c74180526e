"""Turn a text file into character tokens: python data/prepare.py FILE --out data/NAME

Writes train.bin (the first 90 %) and val.bin, as little-endian uint16, and meta.pkl, the
vocabulary.
"""

import argparse
import os
import pickle
import sys

import numpy as np


def prepare(source, out):
    """Write the three files; return the numbers of training and validation tokens."""
    try:
        with open(source, encoding="utf-8") as file:
            text = file.read()
    except OSError as error:
        sys.exit(f"{source}: {error.strerror}")
    except UnicodeDecodeError:
        sys.exit(f"{source}: not a UTF-8 text")
    characters = sorted(set(text))
    if len(text) < 10:
        sys.exit(f"{source}: {len(text)} characters are too few to split 90 to 10")
    if len(characters) > 2**16:
        sys.exit(f"{source}: {len(characters)} different characters do not fit into uint16")

    ids = {character: i for i, character in enumerate(characters)}
    tokens = np.array([ids[character] for character in text], dtype="<u2")
    cut = len(text) * 9 // 10
    os.makedirs(out, exist_ok=True)
    tokens[:cut].tofile(os.path.join(out, "train.bin"))
    tokens[cut:].tofile(os.path.join(out, "val.bin"))
    meta = {"vocab_size": len(characters), "itos": dict(enumerate(characters)), "stoi": ids}
    with open(os.path.join(out, "meta.pkl"), "wb") as file:
        pickle.dump(meta, file)
    return cut, len(text) - cut


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Turn a text file into character tokens.")
    parser.add_argument("source", metavar="FILE", help="a UTF-8 text")
    parser.add_argument("--out", metavar="data/NAME", required=True, help="folder to write to")
    arguments = parser.parse_args()
    train, val = prepare(arguments.source, arguments.out)
    print(f"{arguments.out}: {train:,} training and {val:,} validation tokens")
