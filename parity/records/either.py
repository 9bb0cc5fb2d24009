"""Records from Python: of either side, checked against the other. Only what a side needs is imported."""

import importlib
from pathlib import Path
from typing import Any

from parity.records.jax_side import RecordedSide
from parity.records.opened import opened
from parity.records.training_command import is_torch
from parity.records.written import Written, WrittenTraining
from parity.report import Report
from parity.sides.frameworks import is_a


def record(model: Any, inputs: Any, path: Path | str, **options: Any) -> Written:
    """Record a PyTorch module (see `parity.records.record`) or a JAX model (see `parity.records.jax_record`).

    Args:
        model: what is recorded; it stays as it is.
        inputs: an array, a tuple, or a dict by name.
        path: of the new file.
        options: `layout`, `name`, `seed`; for a PyTorch module `limit`, too.

    Raises:
        UserError: the model cannot be called so, or the file cannot be written.
    """
    if is_a(model, "torch.nn:Module"):
        return importlib.import_module("parity.records.record").record(model, inputs, path, **options)
    return importlib.import_module("parity.records.jax_record").record_jax(model, inputs, path, **options)


def record_training(make: Any, batches: Any, path: Path | str, steps: int = 20, **options: Any) -> WrittenTraining:
    """Record a PyTorch training (see `parity.records.torch_training`) or a JAX training (see `...jax_training`).

    Args:
        make: function without an argument, as for `parity.check_training`; it is called to tell which it is.
        batches: likewise.
        path: of the new file.
        steps: how many.
        options: `name`; for a PyTorch training `limit`, `most` and `seed`, too.

    Raises:
        UserError: the training cannot be called so, or the file cannot be written.
    """
    name = "torch" if is_torch(make) else "jax"
    function = getattr(importlib.import_module(f"parity.records.{name}_training"), f"record_{name}_training")
    return function(make, batches, path, steps, **options)


def check_record(path: Path | str, model: Any, inputs: Any = None, **options: Any) -> Report:
    """Compare a model with the record of the other side.

    Args:
        path: of the file.
        model: a JAX model if PyTorch's side was recorded, else a PyTorch module.
        inputs: of the model, where it is given others than were recorded.
        options: those of `parity.check`: `purpose`, `accept`, `layout`, `mapping`, `output_mask`, `name`.

    Raises:
        UserError: the record cannot be read, or the model cannot be called with its inputs.
    """
    side = opened(Path(path))
    if isinstance(side, RecordedSide):
        return importlib.import_module("parity.records.check_torch").check_jax_record(side, model, inputs, **options)[
            1
        ]
    return importlib.import_module("parity.records.check").check_record(side, model, inputs, **options)[1]
