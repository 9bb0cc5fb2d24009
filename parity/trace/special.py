"""Special functions: SciPy's where it is installed, as beside JAX; else those of Python, number by number."""

import functools
import importlib
import math
from typing import Any

import numpy as np


def _logistic(x: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):
        return np.where(x >= 0, 1 / (1 + np.exp(-np.abs(x))), np.exp(-np.abs(x)) / (1 + np.exp(-np.abs(x))))


@functools.cache
def _scipy() -> Any:
    """Import SciPy on first use, which takes a fifth of a second."""
    try:
        return importlib.import_module("scipy.special")
    except ModuleNotFoundError:
        return None


def erf(x: np.ndarray) -> Any:
    """Return the error function."""
    return _scipy().erf(x) if _scipy() else np.vectorize(math.erf, otypes=[float])(x)


def erfc(x: np.ndarray) -> Any:
    """Return one minus the error function."""
    return _scipy().erfc(x) if _scipy() else np.vectorize(math.erfc, otypes=[float])(x)


def expit(x: np.ndarray) -> Any:
    """Return 1 / (1 + exp(-x))."""
    return _scipy().expit(x) if _scipy() else _logistic(x)
