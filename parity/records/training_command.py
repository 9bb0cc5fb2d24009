"""Records of trainings on the command line: record --batches, and check-training with a record."""

import argparse
import importlib
import sys
from pathlib import Path
from typing import Any

from data.errors import UserError
from parity.records.loading import load, on_cpu

SUFFIX = ".parity"
STEPS = 20
OTHERS = ("input", "inputs", "layout")  # options of modules and models


def record(args: argparse.Namespace) -> str:
    """Record a training; return what was written, in words."""
    if given := [name for name in OTHERS if getattr(args, name)]:
        raise UserError(f"--{given[0]} is for modules and models: a training is given what --batches yields")
    load("records.file").check_new(args.out)
    functions = load("sides.target")
    with on_cpu():
        make, batches = (functions.load_function(name) for name in (args.name, args.batches))
        steps = STEPS if args.steps is None else args.steps
        if is_torch(make):
            recording = load("records.torch_training", "torch", "recording a PyTorch training")
            options = {"limit": args.limit, "most": 1e9 * args.max_size, "name": args.name}
            return str(recording.record_torch_training(make, batches, args.out, steps, **options))
        recording = load("records.jax_training", "jax", "recording a JAX training")
        return str(recording.record_jax_training(make, batches, args.out, steps, name=args.name))


def is_torch(make: Any) -> bool:
    """Tell whether a function makes a PyTorch training: by what its file has imported, else by calling it."""
    imported = [name for name in ("torch", "jax") if sys.modules.get(name)]
    if len(imported) == 1:
        return imported == ["torch"]
    explained = load("sides.faults").explained
    try:
        made = make()
    except Exception as error:
        raise UserError(f"the training cannot be made: {explained(error)}") from error
    first = made[0] if isinstance(made, tuple | list) and made else made
    return load("sides.frameworks").is_a(first, "torch.nn:Module")


def has_record(names: list[str]) -> bool:
    """Tell whether one of two targets is a record."""
    return any(name.endswith(SUFFIX) for name in names)


def check(args: argparse.Namespace) -> Any:
    """Compare a training with a record; return the report."""
    if sum(name.endswith(SUFFIX) for name in args.names) != 1:
        raise UserError("a record is checked against one training: check-training training.parity my_jax.py:training")
    if args.batches:
        raise UserError("--batches: the batches are those of the record")
    file, target = sorted(args.names, key=lambda name: name.endswith(SUFFIX), reverse=True)
    if not Path(file).is_file():
        raise UserError(f"{file}: there is no such file; parity record --batches writes it")
    checking = load("records.check_training")
    with on_cpu():
        side = checking.open_training(Path(file))
        framework = "torch" if side.framework == "JAX" else "jax"
        what = f"checking a {'PyTorch' if framework == 'torch' else 'JAX'} training against a record"
        load(f"records.check_{framework}_training", framework, what)
        if framework == "jax":
            importlib.import_module("jaxnets.environment").start_device()
        make = load("sides.target").load_function(target)
        return checking.check_training_record(side, make, args.steps, name=" ".join(args.names))
