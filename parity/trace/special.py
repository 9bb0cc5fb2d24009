"""Special functions: SciPy's where it is installed, as beside JAX; else those of Python, number by number."""

import importlib
import math
from typing import Any

import numpy as np


def _logistic(x: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):
        return np.where(x >= 0, 1 / (1 + np.exp(-np.abs(x))), np.exp(-np.abs(x)) / (1 + np.exp(-np.abs(x))))


def _loaded() -> Any:
    try:
        return importlib.import_module("scipy.special")
    except ModuleNotFoundError:
        return None


_scipy = _loaded()
erf = np.vectorize(math.erf, otypes=[float]) if _scipy is None else _scipy.erf
erfc = np.vectorize(math.erfc, otypes=[float]) if _scipy is None else _scipy.erfc
expit = _logistic if _scipy is None else _scipy.expit
