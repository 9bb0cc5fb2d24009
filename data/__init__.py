"""Datasets and one numpy loader for both frameworks. Imports neither framework.

What it offers loads on first use: a program that needs an error or a terminal alone waits for no decoder.
"""

import importlib
from contextlib import suppress
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from data.augment import AUGMENTATIONS
    from data.base import DataError, Dataset, Reading, Source, Split, Windows, make_dataset
    from data.errors import UserError
    from data.finding import DATASETS, data_folder, find, load, own_folder
    from data.frontend import apply_frontend
    from data.holdout import hold_out
    from data.loader import Batch, Loader, normalise
    from data.own_arrays import from_arrays
    from data.resize import fit_to

__all__ = [
    "AUGMENTATIONS",
    "DATASETS",
    "Batch",
    "DataError",
    "Dataset",
    "Loader",
    "Reading",
    "Source",
    "Split",
    "UserError",
    "Windows",
    "apply_frontend",
    "data_folder",
    "find",
    "fit_to",
    "from_arrays",
    "hold_out",
    "load",
    "make_dataset",
    "normalise",
    "own_folder",
]

MODULES = {
    "AUGMENTATIONS": "data.augment",
    "DATASETS": "data.finding",
    "Batch": "data.loader",
    "DataError": "data.base",
    "Dataset": "data.base",
    "Loader": "data.loader",
    "Reading": "data.base",
    "Source": "data.base",
    "Split": "data.base",
    "UserError": "data.errors",
    "Windows": "data.base",
    "apply_frontend": "data.frontend",
    "data_folder": "data.finding",
    "find": "data.finding",
    "fit_to": "data.resize",
    "from_arrays": "data.own_arrays",
    "hold_out": "data.holdout",
    "load": "data.finding",
    "make_dataset": "data.base",
    "normalise": "data.loader",
    "own_folder": "data.finding",
}


def __getattr__(name: str) -> Any:
    if name in MODULES:
        value = globals()[name] = getattr(importlib.import_module(MODULES[name]), name)
        return value
    if not name.startswith("_"):
        with suppress(ModuleNotFoundError):
            return importlib.import_module(f"data.{name}")
    raise AttributeError(f"module 'data' has no attribute '{name}'")
