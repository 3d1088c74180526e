"""Runs the genome's training script: ``launch.py SEED OUT train.py [config.py ...]``.

Stands outside the checkout and runs before any of its code. Imports that a training pays for are
done before the start marker, so that they are no part of the measured time.
"""

import importlib
import importlib.machinery
import os
import pathlib
import random
import runpy
import sys
import types

import numpy
import torch

STARTED = "darwin-git: started"


class LazyDynamo(types.ModuleType):
    """torch._dynamo until somebody needs more of it than every optimizer step asks for.

    The first optimizer imports it, 1.4 s of CPU that a training without torch.compile has no use
    for. Whatever else is asked of it loads the real module.
    """

    def __init__(self) -> None:
        super().__init__("torch._dynamo")
        # Imports of its submodules come by _Submodules, below.
        self.__path__ = [str(pathlib.Path(torch.__file__).with_name("_dynamo"))]

    @staticmethod
    def graph_break(*_args: object, **_options: object) -> None:
        """Means nothing outside a compilation."""

    @staticmethod
    def disable(fn: object = None, *_args: object, **_options: object) -> object:
        """Keeps a function out of compilations: as it is, or as a decorator."""
        return fn if fn is not None else lambda one: one

    def __getattr__(self, name: str) -> object:
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(load_dynamo(), name)


def load_dynamo() -> types.ModuleType:
    """The real torch._dynamo, in the place of the lazy one."""
    if isinstance(sys.modules.get("torch._dynamo"), LazyDynamo):
        del sys.modules["torch._dynamo"]
        torch.__dict__.pop("_dynamo", None)
    return importlib.import_module("torch._dynamo")


class _Submodules:
    """An import of a submodule, ``torch._dynamo.config`` say, is a need for the real package."""

    def find_spec(self, name: str, *_: object) -> importlib.machinery.ModuleSpec | None:
        if not name.startswith("torch._dynamo."):
            return None
        if not isinstance(sys.modules.get("torch._dynamo"), LazyDynamo):
            return None
        load_dynamo()
        # The package has most likely loaded it by now: it must not run a second time.
        known = sys.modules.get(name)
        return importlib.machinery.ModuleSpec(name, _Known(known)) if known else None


class _Known:
    """A loader of what is loaded already."""

    def __init__(self, module: types.ModuleType) -> None:
        self._module, self._spec = module, module.__spec__

    def create_module(self, spec: object) -> types.ModuleType:
        return self._module

    def exec_module(self, module: types.ModuleType) -> None:
        module.__spec__ = self._spec


def postpone_dynamo() -> None:
    """Put the lazy module in place unless something has loaded the real one already."""
    if "torch._dynamo" not in sys.modules:
        sys.modules["torch._dynamo"] = torch._dynamo = LazyDynamo()
        sys.meta_path.insert(0, _Submodules())


def shift_seeds(offset: int) -> None:
    """Make every torch.manual_seed(n) mean n + offset; nanoGPT has no setting for its seed."""
    original = torch.manual_seed

    def manual_seed(seed: int) -> torch.Generator:
        return original(int(seed) + offset)

    torch.manual_seed = torch.random.manual_seed = manual_seed
    # for genomes that draw without a seed
    random.seed(offset)
    numpy.random.seed(offset)
    original(offset)


def main() -> None:
    """Shift the seeds, say that the clock runs, become the script."""
    seed, out, script, *arguments = sys.argv[1:]
    shift_seeds(int(seed))
    postpone_dynamo()
    os.environ["DARWIN_OUT"] = out
    sys.path[0] = str(pathlib.Path.cwd())
    sys.argv = [script, *arguments]
    print(STARTED, flush=True)
    runpy.run_path(script, run_name="__main__")


if __name__ == "__main__":
    main()
