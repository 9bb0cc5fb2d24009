"""Adjoints of JAX's usual linear and smooth equations in numpy, which need no compilation for each shape.

What has a convention, at a tie or at zero, is left to JAX itself.
"""

import string
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np


def adjoint(equation: Any, values: Sequence[Any], cotangents: Sequence[Any]) -> list[np.ndarray] | None:
    """Return the contributions to all operands, None if numpy has no adjoint of such an equation."""
    run = ADJOINTS.get(equation.primitive.name)
    if run is None or any(getattr(getattr(v, "dtype", None), "kind", "?") not in "fib" for v in values):
        return None
    if len(cotangents) != 1 or any(v.dtype.kind == "f" and v.dtype.itemsize < 4 for v in values):
        return None
    values, cotangent = [np.asarray(v) for v in values], np.asarray(cotangents[0])
    with np.errstate(all="ignore"):
        found = run(cotangent, *values, **equation.params)
    return [np.asarray(_summed(array, value), value.dtype) for array, value in zip(found, values, strict=True)]


def _summed(array: np.ndarray, value: np.ndarray) -> np.ndarray:
    """Return a contribution to what was used more than once: a scalar, or an axis of one element."""
    if value.dtype.kind != "f":  # a mask, an index
        return np.zeros(value.shape)
    if value.ndim == 0:
        return np.sum(array)
    spread = tuple(axis for axis, size in enumerate(value.shape) if size == 1 and array.shape[axis] != 1)
    return array.sum(spread, keepdims=True) if spread else array


def _broadcast(c: np.ndarray, *_: Any, broadcast_dimensions: Any, **__: Any) -> list[np.ndarray]:
    c = c.sum(tuple(axis for axis in range(c.ndim) if axis not in broadcast_dimensions))
    return [c]


def _sum(c: np.ndarray, x: np.ndarray, *, axes: Any, **_: Any) -> list[np.ndarray]:
    return [np.broadcast_to(np.expand_dims(c, tuple(axes)), x.shape)]


def _dot(c: np.ndarray, x: np.ndarray, y: np.ndarray, *, dimension_numbers: Any, **_: Any) -> list[np.ndarray]:
    (contract_x, contract_y), (batch_x, batch_y) = dimension_numbers
    letters = iter(string.ascii_letters)
    names_x, names_y = [next(letters) for _ in x.shape], [next(letters) for _ in y.shape]
    for a, b in zip((*contract_x, *batch_x), (*contract_y, *batch_y), strict=True):
        names_y[b] = names_x[a]
    out = [names_x[a] for a in batch_x]
    out += [n for i, n in enumerate(names_x) if i not in (*contract_x, *batch_x)]
    out += [n for i, n in enumerate(names_y) if i not in (*contract_y, *batch_y)]
    names = "".join(out), "".join(names_x), "".join(names_y)
    return [
        np.einsum(f"{names[0]},{names[2]}->{names[1]}", c, y, optimize=True),
        np.einsum(f"{names[0]},{names[1]}->{names[2]}", c, x, optimize=True),
    ]


def _slice(c: np.ndarray, x: np.ndarray, *, start_indices: Any, limit_indices: Any, strides: Any, **_: Any):
    whole, steps = np.zeros(x.shape, c.dtype), strides or (1,) * x.ndim
    whole[tuple(slice(a, b, s) for a, b, s in zip(start_indices, limit_indices, steps, strict=True))] = c
    return [whole]


def _concatenate(c: np.ndarray, *xs: np.ndarray, dimension: int, **_: Any) -> list[np.ndarray]:
    return np.split(c, np.cumsum([x.shape[dimension] for x in xs])[:-1], dimension)


def _select(c: np.ndarray, which: np.ndarray, *cases: np.ndarray, **_: Any) -> list[np.ndarray]:
    which = np.broadcast_to(which, c.shape).astype(int)
    return [which, *(np.where(which == i, c, 0) for i in range(len(cases)))]


def _power(c: np.ndarray, x: np.ndarray, *, y: int, **_: Any) -> list[np.ndarray]:
    return [c * y * x ** np.asarray(y - 1, x.dtype)]


def _reshaped(c: np.ndarray, x: np.ndarray, **_: Any) -> list[np.ndarray]:
    return [c.reshape(x.shape)]


def _transposed(c: np.ndarray, *_: Any, permutation: Any, **__: Any) -> list[np.ndarray]:
    return [c.transpose(np.argsort(permutation))]


# fmt: off
ADJOINTS: dict[str, Callable[..., Any]] = {
    "add": lambda c, *_, **__: [c, c],
    "add_any": lambda c, *_, **__: [c, c],
    "sub": lambda c, *_, **__: [c, -c],
    "mul": lambda c, x, y, **_: [c * y, c * x],
    "div": lambda c, x, y, **_: [c / y, -c * x / y / y],
    "neg": lambda c, *_, **__: [-c],
    "exp": lambda c, x, **_: [c * np.exp(x)],
    "log": lambda c, x, **_: [c / x],
    "tanh": lambda c, x, **_: [c * (1 - np.tanh(x) ** 2)],
    "sin": lambda c, x, **_: [c * np.cos(x)],
    "cos": lambda c, x, **_: [-c * np.sin(x)],
    "square": lambda c, x, **_: [2 * c * x],
    "rsqrt": lambda c, x, **_: [-0.5 * c / np.sqrt(x) / x],
    "copy": lambda c, *_, **__: [c],
    "copy_p": lambda c, *_, **__: [c],
    "reshape": _reshaped, "squeeze": _reshaped, "expand_dims": _reshaped,
    "transpose": _transposed,
    "convert_element_type": lambda c, *_, **__: [c],
    "rev": lambda c, *_, dimensions, **__: [np.flip(c, tuple(dimensions))],
    "integer_pow": _power,
    "broadcast_in_dim": _broadcast,
    "reduce_sum": _sum,
    "dot_general": _dot,
    "slice": _slice,
    "concatenate": _concatenate,
    "select_n": _select,
}
# fmt: on
