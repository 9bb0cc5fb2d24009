"""Floats that numpy has only by way of ml_dtypes, which JAX brings; where it is missing there are none of them."""

import importlib
from types import SimpleNamespace
from typing import Any

import numpy as np

NAMES = ("bfloat16", "float8_e4m3fn", "float8_e5m2", "float8_e4m3fnuz", "float8_e5m2fnuz")


def _loaded() -> Any:
    try:
        return importlib.import_module("ml_dtypes")
    except ModuleNotFoundError:
        return SimpleNamespace(finfo=np.finfo)


ml_dtypes = _loaded()
SMALL: dict[str, Any] = {name: getattr(ml_dtypes, name) for name in NAMES if hasattr(ml_dtypes, name)}
