"""Loops whose carry is made in another precision than the body returns: both become the wider one.

`flax.linen.RNN` and others start from `jnp.zeros(..., jnp.float32)`, which JAX refuses once the weights are float64.
"""

import contextlib
import inspect
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp

from parity.sides.arrays import is_array

_scan, _while_loop = jax.lax.scan, jax.lax.while_loop


@contextlib.contextmanager
def wide_carries() -> Iterator[None]:
    """Let `jax.lax.scan` and its kin widen a carry that they would refuse."""
    inner = inspect.unwrap(_scan).__globals__  # where `fori_loop` and `map` look them up
    places = [(vars(jax.lax), "scan", scan), (vars(jax.lax), "while_loop", while_loop)]
    places += [(inner, name, new) for _, name, new in places if name in inner]
    before = [place[name] for place, name, _ in places]
    for place, name, new in places:
        place[name] = new
    try:
        yield
    finally:
        for (place, name, _), old in zip(places, before, strict=True):
            place[name] = old


def scan(f: Callable[..., Any], init: Any, xs: Any = None, *args: Any, **kwargs: Any) -> Any:
    """Do what `jax.lax.scan` does, with a carry as wide as the body returns it."""
    try:
        return _scan(f, init, xs, *args, **kwargs)
    except TypeError:
        row = jax.tree.map(lambda x: jax.ShapeDtypeStruct(jnp.shape(x)[1:], jnp.result_type(x)), xs)
        wide = _widened(lambda carry, x: f(carry, x)[0], init, row)
        if wide is None:
            raise

        def body(carry: Any, x: Any) -> Any:
            after, y = f(carry, x)
            return _like(after, wide), y

        return _scan(body, wide, xs, *args, **kwargs)


def while_loop(cond_fun: Callable[..., Any], body_fun: Callable[..., Any], init_val: Any) -> Any:
    """Do what `jax.lax.while_loop` does, with a carry as wide as the body returns it."""
    try:
        return _while_loop(cond_fun, body_fun, init_val)
    except TypeError:
        wide = _widened(body_fun, init_val)
        if wide is None:
            raise
        return _while_loop(cond_fun, lambda carry: _like(body_fun(carry), wide), wide)


def _widened(body: Callable[..., Any], init: Any, *rows: Any) -> Any:
    """Return a carry in the dtypes that it has after the body, where they are wider; None if it has them already."""
    after = jax.eval_shape(body, init, *rows)
    if jax.tree.structure(after) != jax.tree.structure(init):
        return None
    pairs = list(zip(jax.tree.leaves(init), jax.tree.leaves(after), strict=True))
    if all(jnp.result_type(a) == b.dtype for a, b in pairs if _number(a)):
        return None
    return jax.tree.map(
        lambda a, b: jnp.asarray(a, jnp.promote_types(jnp.result_type(a), b.dtype)) if _number(a) else a, init, after
    )


def _like(carry: Any, wide: Any) -> Any:
    return jax.tree.map(lambda a, b: jnp.asarray(a, b.dtype) if _number(a) else a, carry, wide)


def _number(value: Any) -> bool:
    return jnp.result_type(value).kind in "iufc" if is_array(value) else type(value) in (int, float, complex)
