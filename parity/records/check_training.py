"""Comparing a training with the record of the other side's. Only the framework of the training is needed."""

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from data.errors import UserError
from parity.records.opened import opened
from parity.records.training_sides import RecordedJaxTraining, RecordedTorchTraining
from parity.sides.faults import explained
from parity.training.outcome import TrainingReport

Recorded = RecordedTorchTraining | RecordedJaxTraining


def check_training_record(
    record: Path | str | Recorded, training: Callable[[], Any], steps: int | None = None, *, name: str = ""
) -> TrainingReport:
    """Compare a training with the recorded one of the other side, stage by stage of every step.

    Args:
        record: a file that `parity record --batches` has written, or what `open_training` returns.
        training: JAX's if PyTorch's was recorded, else PyTorch's; as for `parity.check_training`.
        steps: how many of the recorded steps; None: all.
        name: what the report is called.

    Raises:
        UserError: the record cannot be read, or the training cannot be called.
    """
    if steps is not None and steps < 1:
        raise UserError(f"steps is {steps}: expected at least 1")
    side = open_training(Path(record)) if isinstance(record, Path | str) else record
    module = "check_torch_training" if isinstance(side, RecordedJaxTraining) else "check_jax_training"
    check = importlib.import_module(f"parity.records.{module}").check
    try:
        report = check(side, training, steps)
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"the training cannot be compared with the record: {explained(error)}") from error
    notes = (f"one side is a record: {side.made}", *side.notes, *report.notes)
    return report._replace(name=name or side.made.name, notes=notes)


def open_training(path: Path) -> Recorded:
    """Return the training that a record holds.

    Raises:
        UserError: it is no record, damaged, altered, newer, or that of a module or model; one line.
    """
    found = opened(path)
    if not isinstance(found, Recorded):
        raise UserError(f"{path} is no record of a training: parity check compares it")
    return found
