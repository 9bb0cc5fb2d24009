"""A second walk, in which all that JAX computes in float32 or less is computed in float64.

Where a port computes in float32, a step is the same if it agrees to float32's rounding, so that an epsilon of 1e-4 in
place of 1e-6 is not seen where the variance is large, although the outputs are further apart than rounding explains.
In float64 it is. If then nothing differs, the precision itself is the cause.
"""

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np

from parity.align.lockstep import Cell, Walk
from parity.trace.jax_eval import floating, is_floating, is_key
from parity.trace.lines import Line

NEAR = 3e-7  # constants are in float32 still: 0.1 is 1.5e-8 off, and a product of some of them a little more
DTYPES = ("new_dtype", "dtype", "preferred_element_type")  # parameters of equations that name the results' type


class WideWalk(Walk):
    """A walk that computes every equation in float64."""

    def constant(self, array: Any) -> Cell:
        """Return the cell of a constant or a literal, in float64."""
        wide = not is_key(array) and is_floating(np.asarray(array).dtype)
        return Cell(np.asarray(array, np.float64)) if wide else super().constant(array)

    def step(self, equation: Any, line: Line | None, cells: Sequence[Cell]) -> list[Cell]:
        """Compute one equation in float64."""
        return super().step(widened(equation), line, cells)


def widened(equation: Any) -> Any:
    """Return an equation whose results have float64 in place of a smaller type; itself if there is nothing to do."""
    params = {
        name: np.dtype(np.float64) if name in DTYPES and value is not None and is_floating(np.dtype(value)) else value
        for name, value in equation.params.items()
    }
    outvars = [
        SimpleNamespace(aval=SimpleNamespace(shape=v.aval.shape, dtype=np.dtype(np.float64)))
        if is_floating(v.aval.dtype)
        else v
        for v in equation.outvars
    ]
    return SimpleNamespace(primitive=equation.primitive, params=params, outvars=outvars)


def narrowest(walk: Walk) -> Cell | None:
    """Return the first value that a walk computed in the lowest precision of all, None if all are float64's."""
    found = [cell for cell in walk.cells if cell.line is not None and floating(cell.computed)]
    low = min((cell.computed.dtype.itemsize for cell in found), default=8)
    return next((cell for cell in found if cell.computed.dtype.itemsize == low < 8), None)
