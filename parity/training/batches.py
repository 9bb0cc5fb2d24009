"""The batches of a training, as both sides are given them."""

import itertools
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from data.errors import UserError
from parity.sides.faults import explained
from parity.sides.numbers import is_array, wide

Batch = tuple[Any, ...]


def drawn(batches: Callable[[], Any] | Iterable[Any], steps: int) -> list[tuple[Batch, Batch]]:
    """Return so many batches, each for PyTorch and for JAX, floats in float64.

    Raises:
        UserError: there are none, or they cannot be made.
    """
    if steps < 1:
        raise UserError(f"steps is {steps}: expected at least 1")
    try:
        made = list(itertools.islice(iter(batches() if callable(batches) else batches), steps))
    except Exception as error:
        raise UserError(f"the batches cannot be made: {explained(error)}") from error
    if not made:
        raise UserError("there are no batches: expected a function that yields what a step is given")
    return [_both(batch) for batch in made]


def fewer(pairs: Sequence[Any], steps: int) -> list[str]:
    """Return what a report says where there are fewer batches than steps."""
    return [f"{len(pairs)} batches, fewer than {steps} steps"] if len(pairs) < steps else []


def _both(batch: Any) -> tuple[Batch, Batch]:
    if isinstance(batch, tuple | list) and len(batch) == 2 and all(isinstance(part, tuple | list) for part in batch):
        return _one(batch[0]), _one(batch[1])
    found = _one(batch)
    return found, found


def _one(batch: Any) -> Batch:
    parts = tuple(batch) if isinstance(batch, tuple | list) else (batch,)
    return tuple(_wide(part) for part in parts)


def _wide(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _wide(part) for key, part in value.items()}
    if isinstance(value, tuple | list):
        return type(value)(_wide(part) for part in value)
    if not is_array(value):
        return np.asarray(value) if isinstance(value, int | float) else value
    value = wide(value)
    # Numbers of float32, so that a step that asks for float32 changes none.
    return value.astype(np.float32).astype(np.float64) if value.dtype == np.float64 else value
