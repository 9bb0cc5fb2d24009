"""A step traced without its casts to less than 64 bits, so that what it computes with is exact there.

A cast within the step brings constants of that type with it: `jax.nn.gelu` has the root of a half, which bfloat16
rounds to 0.70703125. Once the jaxpr is made, nobody can tell what such a number stands for.
"""

import contextlib
import inspect
import sys
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from types import FrameType
from typing import Any

import jax
import numpy as np

from parity.trace.low import is_low

_PLACE, _NAME = inspect.unwrap(jax.lax.convert_element_type).__globals__, "_convert_element_type"
_asked: ContextVar[bool] = ContextVar("wide_casts", default=False)


def traced_wide(function: Callable[..., Any], *args: Any) -> tuple[Any, Any]:
    """Return a function's jaxpr and the tree of its output, casts to a type of less than 64 bits left out.

    Nothing is jitted: JAX keeps what it has traced of jitted functions, and would take it for theirs later.

    Raises:
        Exception: whatever JAX raises; a function may insist on the type that it casts to.
    """
    before = _PLACE[_NAME]

    def cast(operand: Any, new_dtype: Any = None, *rest: Any, **kwargs: Any) -> Any:
        wide = np.dtype(np.float64) if is_low(new_dtype) and _asked.get() and not _drawing() else new_dtype
        return before(operand, wide, *rest, **kwargs)

    _PLACE[_NAME] = cast
    token = _asked.set(True)
    try:
        with jax.disable_jit():
            return jax.make_jaxpr(function, return_shape=True)(*args)
    finally:
        _asked.reset(token)
        _PLACE[_NAME] = before


def _drawing() -> bool:
    """Tell whether it is `jax.random` that casts, which makes numbers out of bits."""
    frame: FrameType | None = sys._getframe(2)
    while frame is not None and frame.f_globals.get("__name__", "").startswith("jax."):
        if frame.f_globals["__name__"].startswith("jax._src.random"):
            return True
        frame = frame.f_back
    return False


@contextlib.contextmanager
def casts() -> Iterator[None]:
    """Let casts be as they are written, for a function that is jitted although nothing else is."""
    token = _asked.set(False)
    try:
        yield
    finally:
        _asked.reset(token)
