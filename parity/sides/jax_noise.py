"""What a JAX model draws in evaluation mode, too, as a variational autoencoder does: seen, and given from outside.

`jax.random`'s functions are replaced while the model is called, so that every line of its own stays what it is.
"""

import contextlib
import inspect
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from parity.sides.random_draws import JAX, MASK, UNIFORM, Draw


@contextlib.contextmanager
def noted() -> Iterator[list[Draw]]:
    """Collect what a model draws while it is traced."""
    found: list[Draw] = []

    def note(draw: Draw) -> None:
        found.append(draw)

    with _replaced(note):
        yield found


@contextlib.contextmanager
def given(numbers: Sequence[np.ndarray] | None, axis: str | None = None) -> Iterator[None]:
    """Give a model these numbers in place of what it draws; None: it draws its own.

    `axis`: that of the examples, where the model is called for one at a time and numbers have an axis of examples.
    """
    if numbers is None:
        yield
        return
    supply = (array if axis is None else jnp.asarray(array)[jax.lax.axis_index(axis)] for array in numbers)
    with (
        jax.disable_jit(),
        _replaced(lambda _: next(supply, None)),
    ):  # a function that is jitted draws when it is traced
        yield


@contextlib.contextmanager
def _replaced(supply: Callable[[Draw], Any]) -> Iterator[None]:
    """Ask a supply for the numbers of each draw; None: JAX draws them."""
    inner = inspect.unwrap(jax.random.bernoulli).__globals__
    before = {name: inner[name] for name in JAX if name in inner}
    inside: list[str] = []  # the draw that is being made
    inner.update({name: _supplied(JAX[name], function, supply, inside) for name, function in before.items()})
    try:
        yield
    finally:
        inner.update(before)


def _supplied(
    kind: str, function: Callable[..., Any], supply: Callable[[Draw], Any], inside: list[str]
) -> Callable[..., Any]:
    signature = inspect.signature(inspect.unwrap(function))

    def call(*args: Any, **kwargs: Any) -> Any:
        asked: dict[str, Any] = signature.bind(*args, **kwargs).arguments
        shape, rate = asked.get("shape"), asked.get("p", 0.0)
        keep = float(rate) if kind == MASK and jnp.ndim(rate) == 0 and not isinstance(rate, Tracer) else None
        numbers = None
        if not inside and not _initialises():
            numbers = supply(Draw(kind, tuple(jnp.shape(rate) if shape is None else shape), keep))
        if numbers is None:
            inside.append(kind)
            found = function(*args, **kwargs)  # normal numbers are made of uniform ones
            inside.pop()
            return found
        if kind == UNIFORM:
            numbers = asked["minval"] + numbers * (asked["maxval"] - asked["minval"])
        return jnp.asarray(numbers, asked.get("dtype", bool))

    return call


def _initialises() -> bool:
    """Tell whether Linen compares a parameter with what its initialiser would return."""
    frame = sys._getframe(2)
    while frame is not None:
        if frame.f_code.co_name == "param" and frame.f_globals.get("__name__") == "flax.core.scope":
            return True
        frame = frame.f_back
    return False
