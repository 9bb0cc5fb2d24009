"""What only JAX can do: trace a function, compute an equation."""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import jax
import jax.numpy as jnp

from parity.trace.jax_eval import as_numpy


def traced(function: Callable[..., Any], *args: Any) -> tuple[Any, Any]:
    """Return a function's jaxpr and the tree of its output.

    Functions that are jitted inside keep the lines of their first call, so they are traced anew at each call; where a
    function does not allow that, the lines of the outer call are what is shown.
    """
    try:
        with jax.disable_jit():
            return jax.make_jaxpr(function, return_shape=True)(*args)
    except Exception:
        return jax.make_jaxpr(function, return_shape=True)(*args)


@contextmanager
def plain_convolutions() -> Iterator[None]:
    """Trace convolutions of this project's networks as such, not as the sums of which they are made on a CPU."""
    module: Any = sys.modules.get("jaxnets.convolution")  # not imported: a network that needs it has done so
    if module is None:
        yield
        return
    token = module.DIRECT.set(True)
    try:
        yield
    finally:
        module.DIRECT.reset(token)


def traced_pass(side: Any, inputs: Any) -> tuple[Any, list[Any], Any]:
    """Return the jaxpr of the JAX side's pass in evaluation mode, its inputs in the jaxpr's order, the output tree."""
    leaves = {path: jnp.asarray(array) for path, array in side.leaves.items()}
    if side.concrete:  # it looks at its inputs' values in Python
        run = lambda leaves: side.call(leaves, *inputs, train=False)[0]  # noqa: E731
        with plain_convolutions():
            closed, output = traced(run, leaves)
        return closed, [], output
    given = jax.tree.map(jnp.asarray, (inputs.args, dict(inputs.kwargs)))
    run_all = lambda leaves, given: side.call(leaves, *given, train=False)[0]  # noqa: E731
    with plain_convolutions():
        closed, output = traced(run_all, leaves, given)
    return closed, jax.tree.leaves(given), output


def compute(equation: Any, values: Sequence[Any]) -> list[Any]:
    """Compute an equation's results by JAX."""
    outputs = equation.primitive.bind(*map(jnp.asarray, values), **equation.primitive.get_bind_params(equation.params))
    return [as_numpy(o) for o in (outputs if equation.primitive.multiple_results else [outputs])]
