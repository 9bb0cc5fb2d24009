"""Checking the arrays of a training's state: that they are finite, and fit the training that is to go on."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from data.errors import UserError


def bad_tensors(state: Mapping[str, np.ndarray]) -> list[str]:
    """Return the names of the tensors that hold NaN or infinity."""
    return [name for name, array in state.items() if array.dtype.kind == "f" and not np.isfinite(array).all()]


def check_fitting(expected: Mapping[str, Any], state: Mapping[str, np.ndarray]) -> None:
    """Refuse a saved state whose arrays are not those that are `expected`, by name, shape and dtype.

    Raises:
        UserError: names the first few that are not.
    """
    lines = [f"'{name}' is not expected" for name in sorted(state.keys() - expected.keys())]
    for name, one in expected.items():
        shape, dtype, found = tuple(one.shape), np.dtype(one.dtype), state.get(name)
        if found is None:
            lines.append(f"'{name}' is not there")
        elif found.shape != shape or found.dtype != dtype:
            lines.append(f"'{name}' is {found.shape} {found.dtype}, expected {shape} {dtype}")
    if lines:
        few = "; ".join(lines[:4]) + (f"; and {len(lines) - 4} more" if len(lines) > 4 else "")
        raise UserError(f"the checkpoint is not of this training: {few}")
