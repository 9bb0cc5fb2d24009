"""A jaxpr without JAX: what a record of the JAX side holds, with the same names as JAX's own classes have."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from parity.trace.jax_eval import bind
from parity.trace.lines import Line


class Aval(NamedTuple):
    """Shape and dtype of a variable."""

    shape: tuple[int, ...]
    dtype: Any


class Variable:
    """A variable; equal to itself alone."""

    def __init__(self, aval: Aval):
        self.aval = aval


class Literal:
    """A constant among the operands of an equation."""

    def __init__(self, val: Any, aval: Aval):
        self.val, self.aval = val, aval


class Primitive(NamedTuple):
    """What an equation computes."""

    name: str
    multiple_results: bool


class Equation(NamedTuple):
    """One operation."""

    primitive: Primitive
    params: Mapping[str, Any]
    invars: Sequence[Variable | Literal]
    outvars: Sequence[Variable]
    line: Line | None
    compute: Callable[["Equation", Sequence[Any]], list[Any]]  # what numpy does not compute by itself


class Jaxpr(NamedTuple):
    """Equations, and what goes in and out."""

    constvars: Sequence[Variable]
    invars: Sequence[Variable]
    eqns: Sequence[Equation]
    outvars: Sequence[Variable | Literal]


class Closed(NamedTuple):
    """A jaxpr and its constants."""

    jaxpr: Jaxpr
    consts: Sequence[Any]


class Numbers:
    """A visitor of equations that computes them, and no more."""

    def constant(self, array: Any) -> Any:
        """Return a constant."""
        return array

    def step(self, equation: Any, line: Line | None, cells: Sequence[Any]) -> list[Any]:  # noqa: ARG002
        """Compute one equation."""
        return bind(equation, cells)

    def value(self, cell: Any) -> Any:
        """Return a value for a condition."""
        return cell

    def take(self, cell: Any, index: int) -> Any:
        """Return one row."""
        return cell[index]

    def stack(self, cells: Sequence[Any], line: Line | None) -> Any:  # noqa: ARG002
        """Return rows put together."""
        return np.stack(cells)
