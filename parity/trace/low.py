"""Numbers of low precision as what they stand for."""

import math
from typing import Any

import numpy as np

LOW = ("float32", "bfloat16", "float16")
MOST_CONSTANTS = 4096
AS_IS = ("bitcast_convert_type", "random_bits", "threefry2x32")  # equations that are about bits, not numbers


def is_low(dtype: Any) -> bool:
    """Tell whether a dtype, or a type of numbers, is one of real numbers of less than 64 bits."""
    return getattr(dtype, "name", getattr(dtype, "__name__", "")) in LOW


def as_wide(array: Any) -> Any:
    """Return an array of floats in float64, any other as it is."""
    return np.asarray(array, np.float64) if is_low(getattr(array, "dtype", None)) else array


def restored(array: Any) -> Any:
    """Return constants of low precision as the decimal numbers that they stand for: 0.1, not 0.100000001."""
    if not is_low(getattr(array, "dtype", None)):
        return array
    if array.size > MOST_CONSTANTS:
        return as_wide(array)
    return np.array([_decimal(x, array.dtype) for x in array.ravel()], np.float64).reshape(array.shape)


def _decimal(value: Any, dtype: np.dtype) -> float:
    """Return the shortest decimal number that a number of low precision may be."""
    exact = float(value)
    if not np.isfinite(exact) or exact.is_integer():
        return exact
    if whole := next(
        (n for n in (math.pi, 2 * math.pi, math.pi / 2) if float(np.asarray(n, dtype)) == abs(exact)), 0.0
    ):
        return math.copysign(whole, exact)  # in a cosine
    texts = (float(f"{exact:.{digits}g}") for digits in range(1, 10))
    return next((number for number in texts if float(np.asarray(number, dtype)) == exact), exact)
