"""One step of JAX's as equations, be it traced here or read from a record."""

import contextlib
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np


class Given(NamedTuple):
    """A batch, and what is drawn outside of the step."""

    batch: Any
    drawn: tuple[np.ndarray, ...]


class StepProgram:
    """One step for batches of one shape: from the leaves, the batch and what is drawn to the leaves and the loss."""

    closed: Any
    names: list[str]  # of the leaves, in order
    outputs: list[str]  # likewise
    loss: int  # which of the results it is
    count: int  # of the leaves
    single: bool  # whether the step computes a number in float32 behind the backward pass, as a schedule does

    def bits(self) -> Any:
        """Return a context in which equations are computed."""
        return contextlib.nullcontext()

    def flat(self, batch: Any) -> list[Any]:
        """Return the arrays of a batch, in the order of the equations."""
        return list(batch)

    def wide(self, equation: Any) -> Any:
        """Return an equation that makes float64 where it says less."""
        return equation

    def widened(self, jaxpr: Any, consts: Sequence[Any]) -> Any:
        """Return a closed jaxpr of which each equation is wide."""
        return SimpleNamespace(jaxpr=jaxpr, consts=consts)

    def loss_alone(self) -> tuple[Any, list[str]]:
        """Return the part of the step that computes the loss, for the engine of ports, and the leaves in it."""
        jaxpr = self.closed.jaxpr
        result = jaxpr.outvars[self.loss]
        needed, equations = {id(result)}, []
        for equation in reversed(jaxpr.eqns):
            if any(id(v) in needed for v in equation.outvars):
                equations.append(equation)
                needed |= {id(v) for v in equation.invars}
        used = [name for name, v in zip(self.names, jaxpr.invars, strict=False) if id(v) in needed]
        variables = [v for name, v in zip(self.names, jaxpr.invars, strict=False) if name in used]
        part = SimpleNamespace(
            constvars=jaxpr.constvars,
            invars=[*variables, *jaxpr.invars[self.count :]],
            eqns=equations[::-1],
            outvars=[result],
        )
        return self.widened(part, self.closed.consts), used
