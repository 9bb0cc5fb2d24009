"""Equations of a record that `parity.trace.numpy_ops` does not have: indices, sorting."""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from data.errors import UserError
from parity.trace import windows
from parity.trace.program import Equation

KEYS = ("random_seed", "random_wrap", "random_unwrap", "random_split", "random_fold_in", "random_clone")


def compute(equation: Equation, values: Sequence[Any]) -> list[Any]:
    """Compute an equation's results.

    Raises:
        UserError: there is no such operation here.
    """
    name = equation.primitive.name
    if name in KEYS:  # of random numbers, which evaluation carries along and does not use
        return [np.zeros(variable.aval.shape, np.uint32) for variable in equation.outvars]
    if name not in EQUATIONS:
        where = f" at {equation.line}" if equation.line else ""
        raise UserError(f"the record's JAX side computes {name}{where}, which parity cannot compute without JAX: "
                        "record the PyTorch side instead")  # fmt: skip
    result = EQUATIONS[name](*map(np.asarray, values), **{"name": name, **equation.params})
    results = list(result) if isinstance(result, list | tuple) else [result]
    return [np.asarray(r, v.aval.dtype) for r, v in zip(results, equation.outvars, strict=True)]


def _indices(
    indices: np.ndarray, sides: Sequence[int], sizes: Sequence[int], starts_of: Sequence[int],
    batching: Sequence[int], indices_batching: Sequence[int], inside: bool,
) -> tuple[list[np.ndarray], np.ndarray]:  # fmt: skip
    """Return an index for each axis of the operand, of shape (batch..., window...), and where a window lies inside."""
    batch, rank = indices.shape[:-1], len(sides)
    starts = [np.zeros(batch, np.int64) for _ in sides]
    for place, axis in enumerate(starts_of):
        starts[axis] = indices[..., place].astype(np.int64)
    for axis, place in zip(batching, indices_batching, strict=True):
        shape = [side if i == place else 1 for i, side in enumerate(batch)]
        starts[axis] = np.broadcast_to(np.arange(sides[axis]).reshape(shape), batch)
    good = np.ones(batch, bool)
    for axis in range(rank):
        last = sides[axis] - sizes[axis]
        good &= (starts[axis] >= 0) & (starts[axis] <= last)
        if inside:
            starts[axis] = np.clip(starts[axis], 0, last)
    result = []
    for axis in range(rank):
        window = np.arange(sizes[axis]).reshape([-1 if a == axis else 1 for a in range(rank)])
        result.append(starts[axis].reshape(*batch, *(1,) * rank) + window)
    return result, good.reshape(*batch, *(1,) * rank)


def _gather(x: np.ndarray, indices: np.ndarray, *, dimension_numbers: Any, slice_sizes: Any, mode: Any = None,
            fill_value: Any = None, **_: Any) -> np.ndarray:  # fmt: skip
    d = dimension_numbers
    batching = tuple(getattr(d, "operand_batching_dims", ()))
    fills = "FILL" in str(mode)
    where, good = _indices(indices, x.shape, slice_sizes, d.start_index_map, batching,
                           tuple(getattr(d, "start_indices_batching_dims", ())), not fills)  # fmt: skip
    taken = x[tuple(np.clip(i, 0, side - 1) for i, side in zip(where, x.shape, strict=True))]
    if fills:
        nothing = np.nan if x.dtype.kind == "f" else np.iinfo(x.dtype).min if x.dtype.kind == "i" else 0
        taken = np.where(good, taken, nothing if fill_value is None else fill_value)
    batch = indices.ndim - 1
    dropped = tuple(batch + axis for axis in (*d.collapsed_slice_dims, *batching))
    taken = taken.squeeze(dropped)
    return np.moveaxis(taken, range(batch, taken.ndim), d.offset_dims)


def _scatter(x: np.ndarray, indices: np.ndarray, updates: np.ndarray, *, name: str, dimension_numbers: Any,
             mode: Any = None, **_: Any) -> np.ndarray:  # fmt: skip
    d, batch = dimension_numbers, indices.ndim - 1
    batching = tuple(getattr(d, "operand_batching_dims", ()))
    updates = np.moveaxis(updates, d.update_window_dims, range(batch, updates.ndim))
    gone = sorted((*d.inserted_window_dims, *batching))
    for axis in gone:
        updates = np.expand_dims(updates, batch + axis)
    where, good = _indices(indices, x.shape, updates.shape[batch:], d.scatter_dims_to_operand_dims, batching,
                           tuple(getattr(d, "scatter_indices_batching_dims", ())), "CLIP" in str(mode))  # fmt: skip
    shape = updates.shape
    kept = np.broadcast_to(good, shape).ravel()
    flat = tuple(np.broadcast_to(i, shape).ravel()[kept] for i in where)
    result = x.copy()
    how = name.partition("-")[2] or name.partition("_")[2]
    ufunc = {"add": np.add, "mul": np.multiply, "min": np.minimum, "max": np.maximum, "sub": np.subtract}.get(how)
    if ufunc is None:
        result[flat] = updates.ravel()[kept]
    else:
        ufunc.at(result, flat, updates.ravel()[kept])
    return result


def _dynamic_slice(x: np.ndarray, *starts: np.ndarray, slice_sizes: Any, **_: Any) -> np.ndarray:
    begin = [min(max(int(s), 0), n - k) for s, n, k in zip(starts, x.shape, slice_sizes, strict=True)]
    return x[tuple(slice(b, b + k) for b, k in zip(begin, slice_sizes, strict=True))]


def _dynamic_update_slice(x: np.ndarray, update: np.ndarray, *starts: np.ndarray, **_: Any) -> np.ndarray:
    begin = [min(max(int(s), 0), n - k) for s, n, k in zip(starts, x.shape, update.shape, strict=True)]
    result = x.copy()
    result[tuple(slice(b, b + k) for b, k in zip(begin, update.shape, strict=True))] = update
    return result


def _sort(*arrays: Any, dimension: int, num_keys: int, **_: Any) -> list[np.ndarray]:
    order = np.lexsort(arrays[:num_keys][::-1], axis=dimension)
    return [np.take_along_axis(a, order, dimension) for a in arrays]


def _arg(function: Callable[..., Any]) -> Callable[..., Any]:
    return lambda x, **p: function(x, axis=p["axes"][0]).astype(p["index_dtype"])


def _top_k(x: np.ndarray, *, k: int, **_: Any) -> list[np.ndarray]:
    order = np.argsort(-x, axis=-1, kind="stable")[..., :k]
    return [np.take_along_axis(x, order, -1), order]


def _cumlogsumexp(x: np.ndarray, *, axis: int, reverse: bool, **_: Any) -> np.ndarray:
    x = np.flip(x, axis) if reverse else x
    out = np.logaddexp.accumulate(x, axis=axis)
    return np.flip(out, axis) if reverse else out


def _reduce_precision(x: np.ndarray, *, exponent_bits: int, mantissa_bits: int, **_: Any) -> np.ndarray:
    known: Mapping[tuple[int, int], Any] = {(11, 52): np.float64, (8, 23): np.float32, (5, 10): np.float16}
    if (exponent_bits, mantissa_bits) not in known:
        raise UserError(f"the record's JAX side rounds to {mantissa_bits} bits, which parity cannot without JAX")
    return x.astype(known[exponent_bits, mantissa_bits]).astype(x.dtype)


def _same(*xs: np.ndarray, **_: Any) -> list[np.ndarray]:
    return list(xs)


def _unary(function: Callable[..., Any]) -> Callable[..., Any]:
    return lambda *xs, **_: function(*xs)


EQUATIONS: dict[str, Callable[..., Any]] = {
    **windows.OPERATIONS,  # here for numbers of fewer than 32 bits
    "gather": _gather,
    **dict.fromkeys(
        ("scatter", "scatter-add", "scatter_add", "scatter-mul", "scatter_mul", "scatter_min", "scatter_max"), _scatter
    ),
    "dynamic_slice": _dynamic_slice,
    "dynamic_update_slice": _dynamic_update_slice,
    "sort": _sort,
    "argmax": _arg(np.argmax),
    "argmin": _arg(np.argmin),
    "top_k": _top_k,
    "cumlogsumexp": _cumlogsumexp,
    "reduce_precision": _reduce_precision,
    **dict.fromkeys(("optimization_barrier", "name", "sharding_constraint", "pvary", "copy"), _same),
    **{
        name: _unary(function)
        for name, function in {
            "is_finite": np.isfinite,
            "rem": np.fmod,
            "tan": np.tan,
            "sinh": np.sinh,
            "cosh": np.cosh,
            "asin": np.arcsin,
            "acos": np.arccos,
            "asinh": np.arcsinh,
            "acosh": np.arccosh,
            "atanh": np.arctanh,
            "real": np.real,
            "imag": np.imag,
            "conj": np.conj,
            "nextafter": np.nextafter,
            "complex": lambda a, b: a + 1j * b,
            "mul": np.multiply,
            "add": np.add,
            "sub": np.subtract,
            "div": np.divide,
            "neg": np.negative,
        }.items()
    },
    "one_minus_square": lambda x, **_: 1 - x * x,
    "log2": lambda x, **_: np.log2(x),
    "polynomial": lambda x, *c, **_: functools.reduce(lambda sum_, next_: sum_ * x + next_, reversed(c)),
    "tile": lambda x, *, reps, **_: np.tile(x, reps),
    "stack": lambda *xs, axis, **_: np.stack(xs, axis),
    "unstack": lambda x, *, axis, **_: [part.squeeze(axis) for part in np.split(x, x.shape[axis], axis)],
    "reduce_xor": lambda x, *, axes, **_: np.logical_xor.reduce(x, axis=tuple(axes)),
    "shift_left": lambda x, y, **_: np.left_shift(x, y),
    "shift_right_arithmetic": lambda x, y, **_: np.right_shift(x, y),
    "round": lambda x, **_: np.round(x),
    "convert_element_type": lambda x, *, new_dtype, **_: x.astype(new_dtype),
}
