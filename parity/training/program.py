"""One step of JAX's as equations, be it traced here or read from a record."""

import contextlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np

from parity.trace.jax_eval import BODIES
from parity.training.backward import holds_any, program_backward


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

    def carried(self) -> set[str]:
        """Return the leaves that a step changes without a backward pass, as the state of a recurrent network."""
        jaxpr, back = self.closed.jaxpr, program_backward(self)
        behind: set[int] = set()
        for equation in jaxpr.eqns:
            if holds_any(equation, back) or any(id(v) in behind for v in equation.invars):
                behind |= {id(v) for v in equation.outvars}
        after = dict(zip(self.outputs, jaxpr.outvars, strict=False))
        return {name for name, v in after.items() if id(v) not in behind} - self.unchanged()

    def moved_by_data(self) -> set[str]:
        """Return those of `carried` that depend on the batch."""
        jaxpr = self.closed.jaxpr
        reached = {id(v) for v in jaxpr.invars[self.count :]}
        for equation in jaxpr.eqns:
            if any(id(v) in reached for v in equation.invars):
                reached |= {id(v) for v in equation.outvars}
        after = dict(zip(self.outputs, jaxpr.outvars, strict=False))
        return {name for name in self.carried() if id(after[name]) in reached}

    def unchanged(self) -> set[str]:
        """Return the leaves that a step leaves as they are."""
        before = dict(zip(self.names, self.closed.jaxpr.invars, strict=False))
        after = dict(zip(self.outputs, self.closed.jaxpr.outvars, strict=False))
        return {name for name, v in after.items() if v is before[name]}

    def loss_alone(
        self, carried: Collection[str] = (), zeros: Mapping[str, np.ndarray] | None = None
    ) -> tuple[Any, list[str], list[str]]:
        """Return the part of the step that computes the loss, for the engine of ports, and the leaves in it.

        Args:
            carried: leaves that are inputs, before the batch, and returned by themselves.
            zeros: leaves that are constants: a product with zeros tells nothing about a weight.
        """
        constants = zeros or {}
        jaxpr = self.closed.jaxpr
        result = jaxpr.outvars[self.loss]
        needed, equations = {id(result)}, []
        for equation in reversed(jaxpr.eqns):
            if any(id(v) in needed for v in equation.outvars):
                equations.append(equation)
                needed |= {id(v) for v in equation.invars}
        named = {name: v for name, v in zip(self.names, jaxpr.invars, strict=False) if id(v) in needed}
        used = [name for name in named if name not in carried and name not in constants]
        given = [name for name in named if name in carried and name not in constants]
        fixed = [name for name in named if name in constants]
        part = SimpleNamespace(
            constvars=[*jaxpr.constvars, *(named[name] for name in fixed)],
            invars=[*(named[name] for name in (*used, *given)), *jaxpr.invars[self.count :]],
            eqns=equations[::-1],
            outvars=[result],
        )
        consts = [*self.closed.consts, *(constants[name] for name in fixed)]
        return self.widened(part, consts), used, given
