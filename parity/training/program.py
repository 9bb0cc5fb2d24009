"""One step of JAX's as equations, be it traced here or read from a record."""

import contextlib
from collections.abc import Iterator, Sequence
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np

from parity.trace.jax_eval import BODIES


def equations(jaxpr: Any) -> Iterator[Any]:
    """Yield the equations of a jaxpr and of all that it calls, in order."""
    for equation in jaxpr.eqns:
        yield equation
        for key in (*BODIES, "cond_jaxpr", "body_jaxpr"):
            if equation.params.get(key) is not None:
                yield from equations(_open(equation.params[key]))
        for branch in equation.params.get("branches", ()):
            yield from equations(_open(branch))


def _open(body: Any) -> Any:
    return getattr(body, "jaxpr", body)


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
