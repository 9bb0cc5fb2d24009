"""One numpy loader for both frameworks: datasets, batches, sizes. Imports neither framework."""

import os
from pathlib import Path

from data.augment import AUGMENTATIONS
from data.base import DataError, Dataset, Source, Split, make_dataset
from data.errors import UserError
from data.frontend import apply_frontend
from data.loader import Batch, Loader, hold_out, normalise
from data.registry import discover, lookup
from data.resize import fit_to

DATASETS: dict[str, Source] = discover("data.datasets", "DATASETS")

__all__ = [
    "AUGMENTATIONS",
    "DATASETS",
    "Batch",
    "DataError",
    "Dataset",
    "Loader",
    "Source",
    "Split",
    "UserError",
    "apply_frontend",
    "data_folder",
    "find",
    "fit_to",
    "hold_out",
    "load",
    "make_dataset",
    "normalise",
    "own_folder",
]


def data_folder(data_dir: Path | str | None = None) -> Path:
    """Return the folder that datasets are in: `data_dir`, else $JAXNETS_DATA, else ~/.cache/jaxnets."""
    return Path(data_dir or os.environ.get("JAXNETS_DATA") or "~/.cache/jaxnets").expanduser()


def own_folder(name: str) -> Path | None:
    """Return the absolute path of the folder that a dataset's `name` is, unless it is a registered name."""
    try:
        path = Path(name).expanduser()
        return path.resolve() if name and name not in DATASETS and path.is_dir() else None
    except (OSError, RuntimeError):  # too long for a path; "~" of a user whom nobody knows
        return None


def find(name: str, data_dir: Path | str | None = None) -> tuple[Source, Path]:
    """Return a dataset's source and its data folder; `name` may also be a folder of pictures.

    Raises:
        UserError: neither a dataset nor a folder, or a folder beside which another is named.
    """
    if not (own := own_folder(name)):
        if name not in DATASETS and Path(name).name != name:  # it has a slash: a path, not a typing error
            raise UserError(f"dataset '{name}' is neither a folder that exists nor one of: {', '.join(DATASETS)}")
        return lookup("dataset", name, DATASETS), data_folder(data_dir)
    if data_dir:
        raise UserError(f"dataset '{name}' is a folder already, so there is nothing to look for in {data_dir}")
    return DATASETS["folder"], own


def load(name: str, data_dir: Path | str | None = None, input_shape: tuple[int, ...] | None = None) -> Dataset:
    """Load a dataset by name, or the pictures of a folder by its path.

    Args:
        name: registered name, or path.
        data_dir: see `data_folder`.
        input_shape: what the network takes, (H, W, C): pictures of many sizes are made to fit as they are read. All
            other datasets stay as they are; see `fit_to`.

    Raises:
        UserError: no such dataset.
        DataError: its files are missing or damaged.
    """
    source, folder = find(name, data_dir)
    return source.load(folder, input_shape) if source.sized else source.load(folder)
