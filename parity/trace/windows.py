"""Equations on windows in numpy: padding, pooling and its gradient, convolution.

XLA compiles each of them anew for each shape, and its code for float64 is slow where it has been told to be quick.
"""

import itertools
import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

MOST_PATCHES = 1 << 24  # numbers of a convolution's windows that are laid out at once


def _padded(x: np.ndarray, value: Any, config: Sequence[tuple[int, int, int]]) -> np.ndarray:
    """Return an array with so many values before, behind and between its own, for each axis; fewer than none cut."""
    for axis, (low, high, inside) in enumerate(config):
        if inside:
            sides = list(x.shape)
            sides[axis] = max(0, (sides[axis] - 1) * (inside + 1) + 1)
            wide = np.full(sides, value, x.dtype)
            wide[_along(axis, slice(None, None, inside + 1))] = x
            x = wide
        x = np.pad(x, [(max(0, low), max(0, high)) if a == axis else (0, 0) for a in range(x.ndim)],
                   constant_values=value)  # fmt: skip
        x = x[_along(axis, slice(max(0, -low), x.shape[axis] - max(0, -high)))]
    return x


def _along(axis: int, part: slice) -> tuple[slice, ...]:
    return (*(slice(None),) * axis, part)


def _pad(x: np.ndarray, value: np.ndarray, *, padding_config: Any, **_: Any) -> np.ndarray:
    return _padded(x, value.item(), padding_config)


def _windows(x: np.ndarray, sizes: Sequence[int], strides: Sequence[int], dilation: Sequence[int]) -> np.ndarray:
    """Return a view of all windows: first where they stand, then what is in them."""
    reach = [(size - 1) * step + 1 for size, step in zip(sizes, dilation, strict=True)]
    view = np.lib.stride_tricks.sliding_window_view(x, reach)
    return view[(*(slice(None, None, s) for s in strides), *(slice(None, None, d) for d in dilation))]


def _reduce_window(
    reduce: Callable[..., Any],
    x: np.ndarray,
    *,
    window_dimensions: Any,
    window_strides: Any,
    padding: Any,
    base_dilation: Any = None,
    window_dilation: Any = None,
    **_: Any,
) -> np.ndarray:
    """Reduce each window; beyond the edges and between the numbers stand those that change nothing."""
    ones = (1,) * x.ndim
    around = 0 if reduce is np.sum else _least(x.dtype) if reduce is np.max else _greatest(x.dtype)
    x = _padded(x, around, [(*p, b - 1) for p, b in zip(padding, base_dilation or ones, strict=True)])
    windows = _windows(x, window_dimensions, window_strides, window_dilation or ones)
    return np.asarray(reduce(windows, axis=tuple(range(x.ndim, 2 * x.ndim))), x.dtype)


def _least(dtype: np.dtype) -> Any:
    return -np.inf if dtype.kind == "f" else np.iinfo(dtype).min


def _greatest(dtype: np.dtype) -> Any:
    return np.inf if dtype.kind == "f" else np.iinfo(dtype).max


def _select_and_scatter_add(
    source: np.ndarray,
    x: np.ndarray,
    *,
    window_dimensions: Any,
    window_strides: Any,
    padding: Any,
    select_prim: Any = "ge",
    **_: Any,
) -> np.ndarray:
    """Add each number of the source where its window is largest, or for "le" smallest: the first of equal ones."""
    config = [(*p, 0) for p in padding]
    wide = _padded(-x if str(select_prim) == "le" else x, -np.inf, config)
    numbers = np.arange(wide.size).reshape(wide.shape)
    ones, count = (1,) * x.ndim, int(np.prod(window_dimensions))
    views = [
        _windows(a, window_dimensions, window_strides, ones).reshape(*source.shape, count) for a in (wide, numbers)
    ]
    at = np.take_along_axis(views[1], views[0].argmax(-1)[..., None], -1)[..., 0]
    result = np.zeros(wide.size, source.dtype)
    np.add.at(result, at.ravel(), source.ravel())
    return _padded(result.reshape(wide.shape), 0, [(-low, -high, 0) for low, high, _ in config])


def _convolution(x: np.ndarray, w: np.ndarray, *, window_strides: Any, padding: Any, lhs_dilation: Any,
                 rhs_dilation: Any, dimension_numbers: Any, feature_group_count: int, batch_group_count: int,
                 preferred_element_type: Any = None, **_: Any) -> np.ndarray:  # fmt: skip
    """Convolve: the windows of `x`, as rows, times the kernels."""
    d, rank = dimension_numbers, len(window_strides)
    x, w = x.transpose(d.lhs_spec), w.transpose(d.rhs_spec)
    x = _padded(x, 0, [(0, 0, 0), (0, 0, 0), *((*p, s - 1) for p, s in zip(padding, lhs_dilation, strict=True))])
    groups = feature_group_count * batch_group_count
    if batch_group_count > 1:  # the examples of a group are those of its outputs
        x = x.reshape(batch_group_count, -1, *x.shape[1:]).swapaxes(0, 1)
        x = x.reshape(x.shape[0], -1, *x.shape[3:])
    reach = [(n - 1) * s + 1 for n, s in zip(w.shape[2:], rhs_dilation, strict=True)]
    sides = [max(0, (n - r) // s + 1) for n, r, s in zip(x.shape[2:], reach, window_strides, strict=True)]
    w = w.reshape(groups, w.shape[0] // groups, *w.shape[1:])
    x = x.reshape(x.shape[0], groups, x.shape[1] // groups, *x.shape[2:])
    steps = [(b, n, s) for b, n, s in zip(rhs_dilation, sides, window_strides, strict=True)]
    few = 0 < x.shape[0] * math.prod(sides) * math.prod(w.shape[2:]) * groups <= MOST_PATCHES
    result = (_by_patches if few else _by_places)(x, w, steps)
    result = result.reshape(result.shape[0], groups * w.shape[1], *sides)  # sizes may be zero
    back = np.argsort(d.out_spec)
    result = result.transpose(back) if rank else result
    return result if preferred_element_type is None else result.astype(preferred_element_type)


def _by_patches(x: np.ndarray, w: np.ndarray, steps: Sequence[tuple[int, int, int]]) -> np.ndarray:
    """Return (N, groups, O, *sides) by one product: a kernel's gradient has as many places as the picture.

    Args:
        x: (N, groups, I, *padded sides)
        w: (groups, O, I, *places)
        steps: of each axis the kernel's dilation, the length of the result, and the stride.
    """
    ones, rank = (1, 1, 1), len(steps)
    windows = _windows(x, (*ones, *w.shape[3:]), (*ones, *(s for *_, s in steps)), (*ones, *(d for d, *_ in steps)))
    windows = windows.squeeze(tuple(range(3 + rank, 6 + rank)))  # (N, groups, I, *sides, *places)
    sides = windows.shape[3 : 3 + rank]
    patches = windows.transpose(1, 2, *range(3 + rank, 3 + 2 * rank), 0, *range(3, 3 + rank))
    rows = math.prod(w.shape[2:])
    patches = patches.reshape(w.shape[0], rows, x.shape[0] * math.prod(sides))
    result = np.matmul(w.reshape(*w.shape[:2], rows), patches).reshape(*w.shape[:2], x.shape[0], *sides)
    return np.moveaxis(result, 2, 0)


def _by_places(x: np.ndarray, w: np.ndarray, steps: Sequence[tuple[int, int, int]]) -> np.ndarray:
    """Return the same by shifted products, one for each place of the kernel, which take less memory."""
    sides = tuple(length for _, length, _ in steps)
    result = np.zeros((x.shape[0], w.shape[0], w.shape[1], *sides), np.result_type(x, w))
    for place in itertools.product(*map(range, w.shape[3:])) if result.size else ():
        begin = [p * dilation for p, (dilation, _, _) in zip(place, steps, strict=True)]
        part = x[(..., *(slice(b, b + (n - 1) * s + 1, s) for b, (_, n, s) in zip(begin, steps, strict=True)))]
        product = np.matmul(
            w[(slice(None), slice(None), slice(None), *place)], part.reshape(*part.shape[:3], math.prod(sides))
        )
        result += product.reshape(result.shape)
    return result


OPERATIONS: dict[str, Callable[..., Any]] = {
    "pad": _pad,
    "reduce_window_max": partial(_reduce_window, np.max),
    "reduce_window_min": partial(_reduce_window, np.min),
    "reduce_window_sum": partial(_reduce_window, np.sum),
    "select_and_scatter_add": _select_and_scatter_add,
    "conv_general_dilated": _convolution,
}
