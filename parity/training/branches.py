"""Branches that return another precision than each other, once the state is float64: both return the wider one.

`optax.MultiSteps` is one: it was made for parameters of float32, and makes zeros of these.
"""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp

from parity.sides.arrays import is_float

_cond = jax.lax.cond


@contextlib.contextmanager
def wide_branches() -> Iterator[None]:
    """Let `jax.lax.cond` widen what it would refuse."""
    jax.lax.cond = cond
    try:
        yield
    finally:
        jax.lax.cond = _cond


def cond(pred: Any, true_fun: Callable[..., Any], false_fun: Callable[..., Any], *operands: Any, **kwargs: Any) -> Any:
    """Do what `jax.lax.cond` does, with results as wide as the wider branch returns them."""
    try:
        return _cond(pred, true_fun, false_fun, *operands, **kwargs)
    except TypeError:
        shapes = [jax.eval_shape(branch, *operands) for branch in (true_fun, false_fun)]
        if jax.tree.structure(shapes[0]) != jax.tree.structure(shapes[1]):
            raise

    def wide(branch: Callable[..., Any]) -> Callable[..., Any]:
        return lambda *args: jax.tree.map(_promoted, branch(*args), *shapes)

    return _cond(pred, wide(true_fun), wide(false_fun), *operands, **kwargs)


def _promoted(value: Any, *shapes: Any) -> Any:
    if not all(is_float(shape) for shape in shapes):
        return value
    return jnp.asarray(value, jnp.result_type(*(shape.dtype for shape in shapes)))
