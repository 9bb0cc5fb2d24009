"""One numpy loader for both frameworks: datasets, batches, sizes. Imports neither framework."""

import os
from pathlib import Path

from data.base import DataError, Dataset, Source, Split, make_dataset
from data.loader import Batch, Loader, hold_out, normalise
from data.registry import UserError, discover, lookup
from data.resize import fit_to

DATASETS: dict[str, Source] = discover("data.datasets", "DATASETS")

__all__ = [
    "DATASETS",
    "Batch",
    "DataError",
    "Dataset",
    "Loader",
    "Source",
    "Split",
    "UserError",
    "data_folder",
    "fit_to",
    "hold_out",
    "load",
    "make_dataset",
    "normalise",
]


def data_folder(data_dir: Path | str | None = None) -> Path:
    """Return the folder that datasets are in: `data_dir`, else $JAXNETS_DATA, else ~/.cache/jaxnets."""
    return Path(data_dir or os.environ.get("JAXNETS_DATA") or "~/.cache/jaxnets").expanduser()


def load(name: str, data_dir: Path | str | None = None) -> Dataset:
    """Load a dataset by name.

    Raises:
        UserError: no such dataset.
        DataError: its files are missing or damaged.
    """
    return lookup("dataset", name, DATASETS).load(data_folder(data_dir))
