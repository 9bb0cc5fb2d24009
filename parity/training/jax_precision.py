"""What a JAX training computes and keeps in which type, run as its user runs it."""

from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp

from parity.sides.arrays import narrowed
from parity.trace.jax_eval import BODIES, line_of
from parity.trace.lines import Line
from parity.training.backward import program_backward
from parity.training.jax_steps import JaxTraining, Program
from parity.training.precision import LOSSES, PRODUCTS, Precision, narrowest, unknown


def jax_precision(make: Callable[[], Any], batch: Sequence[Any]) -> Precision:
    """Return the types of one step, or what it raises in float32."""
    try:
        return _types(make, batch)
    except Exception as error:  # a training may run in float64 alone
        return unknown(error)


def _types(make: Callable[[], Any], batch: Sequence[Any]) -> Precision:
    training = JaxTraining(make, wide=False)
    program = training.program(narrowed(tuple(batch)))
    products: list[tuple[str, Line | None]] = []
    losses: list[tuple[str, Line | None]] = []
    _walk(program, program.closed.jaxpr, products, losses)
    after = program.closed.jaxpr.outvars[: len(program.outputs)]
    leaves = {name: str(v.aval.dtype) for name, v in zip(program.outputs, after, strict=True)}
    return Precision(products, losses, leaves, {})


def _walk(program: Program, jaxpr: Any, products: list[Any], losses: list[Any]) -> None:
    backward = program_backward(program)
    for equation in jaxpr.eqns:
        if id(equation) in backward:
            continue
        kinds = [str(v.aval.dtype) for v in equation.invars if jnp.issubdtype(v.aval.dtype, jnp.floating)]
        name = equation.primitive.name
        if name in PRODUCTS and kinds:
            products.append((narrowest(kinds), line_of(equation)))
            losses.clear()  # the loss is what follows the last product
        elif name in LOSSES and kinds:
            losses.append((narrowest(kinds), line_of(equation)))
        for key in BODIES:
            if key in equation.params:
                _walk(program, getattr(equation.params[key], "jaxpr", equation.params[key]), products, losses)
