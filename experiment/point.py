"""What a framework's loop and the course of a training hand to each other."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from data.registry import UserError
from experiment.monitor import Counts


class Point(NamedTuple):
    """A moment between two steps; valid until the loop goes on."""

    epoch: int  # from 0
    batches: int  # of it that are done
    variables: Any  # to judge and to keep: the moving average's, if there is one
    state: Callable[[], Mapping[str, np.ndarray]]  # all that the steps to come depend on, as arrays


class Start(NamedTuple):
    """Where a loop goes on."""

    counts: Counts | None  # of an epoch that has begun
    epoch: int
    state: Mapping[str, np.ndarray]  # of `Point`

    @property
    def batches(self) -> int:
        """How many of the epoch's batches are done."""
        return self.counts.steps if self.counts else 0


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
