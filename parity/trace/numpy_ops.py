"""Equations in numpy: no compilation for each shape, and another opinion than XLA's on what an equation means."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from parity.trace import special, windows

Operation = Callable[..., Any]


def computed(name: str, values: Sequence[Any], params: dict[str, Any]) -> list[np.ndarray] | None:
    """Return an equation's results, None if numpy has no such operation."""
    run = OPERATIONS.get(name)
    if run is None or any(getattr(getattr(v, "dtype", None), "kind", "?") not in "fiub" for v in values):
        return None
    if any(v.dtype.kind == "f" and v.dtype.itemsize < 4 for v in values):
        return None
    with np.errstate(all="ignore"):
        result = run(*(np.asarray(v) for v in values), **params)
    return result if isinstance(result, list) else [np.asarray(result)]


def _unary(function: Callable[..., Any]) -> Operation:
    return lambda x, **_: np.asarray(function(x), x.dtype)


def _binary(function: Callable[..., Any]) -> Operation:
    return lambda x, y, **_: function(x, y)


def _broadcast(x: np.ndarray, *, shape: Any, broadcast_dimensions: Any, **_: Any) -> np.ndarray:
    sides = [1] * len(shape)
    for axis, size in zip(broadcast_dimensions, x.shape, strict=True):
        sides[axis] = size
    return np.broadcast_to(x.reshape(sides), shape)


def _convert(x: np.ndarray, *, new_dtype: Any, **_: Any) -> np.ndarray:
    return x.astype(new_dtype)


def _dot(x: np.ndarray, y: np.ndarray, *, dimension_numbers: Any, preferred_element_type: Any = None, **_: Any) -> Any:
    (contract_x, contract_y), (batch_x, batch_y) = dimension_numbers
    rest_x = [axis for axis in range(x.ndim) if axis not in (*contract_x, *batch_x)]
    rest_y = [axis for axis in range(y.ndim) if axis not in (*contract_y, *batch_y)]
    batch = [x.shape[axis] for axis in batch_x]
    sides = [x.shape[axis] for axis in rest_x], [y.shape[axis] for axis in rest_y]
    length = math.prod(x.shape[axis] for axis in contract_x)
    left = x.transpose((*batch_x, *rest_x, *contract_x)).reshape((*batch, math.prod(sides[0]), length))
    right = y.transpose((*batch_y, *contract_y, *rest_y)).reshape((*batch, length, math.prod(sides[1])))
    out = np.matmul(left, right).reshape((*batch, *sides[0], *sides[1]))
    return out.astype(preferred_element_type) if preferred_element_type is not None else out


def _slice(x: np.ndarray, *, start_indices: Any, limit_indices: Any, strides: Any, **_: Any) -> np.ndarray:
    steps = strides or (1,) * x.ndim
    return x[tuple(slice(a, b, s) for a, b, s in zip(start_indices, limit_indices, steps, strict=True))]


def _split(x: np.ndarray, *, sizes: Any, axis: int, **_: Any) -> list[np.ndarray]:
    return np.split(x, np.cumsum(sizes)[:-1], axis)


def _select(which: np.ndarray, *cases: np.ndarray, **_: Any) -> np.ndarray:
    if which.shape != cases[0].shape:
        which = np.broadcast_to(which, cases[0].shape)
    return np.where(which, cases[1], cases[0]) if len(cases) == 2 else np.choose(which, cases)


def _iota(*_: Any, dtype: Any, shape: Any, dimension: int, **__: Any) -> np.ndarray:
    sides = [1] * len(shape)
    sides[dimension] = shape[dimension]
    return np.broadcast_to(np.arange(shape[dimension], dtype=dtype).reshape(sides), shape)


def _reduced(function: Callable[..., Any]) -> Operation:
    return lambda x, *, axes, **_: np.asarray(function(x, axis=tuple(axes)), x.dtype)


def _cumulated(function: Callable[..., Any]) -> Operation:
    def run(x: np.ndarray, *, axis: int, reverse: bool, **_: Any) -> np.ndarray:
        x = np.flip(x, axis) if reverse else x
        out = function(x, axis=axis)
        return np.flip(out, axis) if reverse else out

    return run


def _clamp(low: np.ndarray, x: np.ndarray, high: np.ndarray, **_: Any) -> np.ndarray:
    return np.minimum(np.maximum(x, low), high).astype(x.dtype)


def _logistic(x: np.ndarray) -> np.ndarray:
    return special.expit(x)


def _divide(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    if x.dtype.kind == "f":
        return x / y
    safe = np.where(y == 0, 1, y)
    return (np.sign(x) * np.sign(safe) * (np.abs(x) // np.abs(safe))).astype(x.dtype)


# fmt: off
OPERATIONS: dict[str, Operation] = {
    **{
        name: _unary(function)
        for name, function in {
            "neg": np.negative,
            "exp": np.exp,
            "log": np.log,
            "tanh": np.tanh,
            "sin": np.sin,
            "cos": np.cos,
            "sqrt": np.sqrt,
            "rsqrt": lambda x: 1 / np.sqrt(x),
            "logistic": _logistic,
            "erf": special.erf,
            "erfc": special.erfc,
            "log1p": np.log1p,
            "expm1": np.expm1,
            "abs": np.abs,
            "sign": np.sign,
            "square": np.square,
            "floor": np.floor,
            "ceil": np.ceil,
            "stop_gradient": lambda x: x,
            "copy": lambda x: x,
            "copy_p": lambda x: x,
            "exp2": np.exp2,
            "cbrt": np.cbrt,
            "not": np.invert,
            "atan": np.arctan,
        }.items()
    },
    **{
        name: _binary(function)
        for name, function in {
            "add": np.add,
            "sub": np.subtract,
            "mul": np.multiply,
            "div": _divide,
            "max": np.maximum,
            "min": np.minimum,
            "pow": np.power,
            "add_any": np.add,
            "atan2": np.arctan2,
            "eq": np.equal,
            "ne": np.not_equal,
            "lt": np.less,
            "le": np.less_equal,
            "gt": np.greater,
            "ge": np.greater_equal,
            "and": np.bitwise_and,
            "or": np.bitwise_or,
            "xor": np.bitwise_xor,
        }.items()
    },
    "integer_pow": lambda x, *, y, **_: np.asarray(x ** np.asarray(y, x.dtype), x.dtype),
    "broadcast_in_dim": _broadcast,
    "convert_element_type": _convert,
    "dot_general": _dot,
    "reshape": lambda x, *, new_sizes, dimensions=None, **_: (
        x if dimensions is None else x.transpose(dimensions)
    ).reshape(new_sizes),
    "transpose": lambda x, *, permutation, **_: x.transpose(permutation),
    "squeeze": lambda x, *, dimensions, **_: x.squeeze(tuple(dimensions)),
    "expand_dims": lambda x, *, dimensions, **_: np.expand_dims(x, tuple(dimensions)),
    "concatenate": lambda *xs, dimension, **_: np.concatenate(xs, dimension),
    "rev": lambda x, *, dimensions, **_: np.flip(x, tuple(dimensions)),
    "slice": _slice,
    "split": _split,
    "select_n": _select,
    "iota": _iota,
    "clamp": _clamp,
    "reduce_sum": _reduced(np.sum),
    "reduce_max": _reduced(np.max),
    "reduce_min": _reduced(np.min),
    "reduce_prod": _reduced(np.prod),
    "reduce_and": _reduced(np.all),
    "reduce_or": _reduced(np.any),
    "cumsum": _cumulated(np.cumsum),
    "cumprod": _cumulated(np.cumprod),
    "cummax": _cumulated(np.maximum.accumulate),
    **windows.OPERATIONS,
}
# fmt: on
