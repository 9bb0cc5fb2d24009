"""Datasets by name, and folders of pictures or sounds by their path."""

import os
from pathlib import Path

from data.base import CURRENT, Dataset, Reading, Source
from data.errors import UserError
from data.registry import discover, lookup

DATASETS: dict[str, Source] = discover("data.datasets", "DATASETS")


def data_folder(data_dir: Path | str | None = None) -> Path:
    """Return the folder of the datasets: `data_dir`, else $JAXNETS_DATA, else ~/.cache/jaxnets."""
    return Path(data_dir or os.environ.get("JAXNETS_DATA") or "~/.cache/jaxnets").expanduser()


def own_folder(name: str) -> Path | None:
    """Return the absolute path if `name` is a folder and not a registered dataset, else None."""
    try:
        path = Path(name).expanduser()
        return path.resolve() if name and name not in DATASETS and path.is_dir() else None
    except (OSError, RuntimeError):  # too long for a path, or "~" of an unknown user
        return None


def find(name: str, data_dir: Path | str | None = None) -> tuple[Source, Path]:
    """Return a dataset's source and its data folder; `name` may also be the path of a folder of pictures or sounds.

    Raises:
        UserError: `name` is neither a dataset nor a folder, or it is a folder and `data_dir` is given, too.
    """
    if name.startswith(":"):
        raise UserError("the data were arrays of a Python program; give a dataset or a folder, or go on in Python")
    if not (own := own_folder(name)):
        if name not in DATASETS and Path(name).name != name:  # it has a slash: a path, not a misspelt name
            raise UserError(f"dataset '{name}' is neither a folder that exists nor one of: {', '.join(DATASETS)}")
        return lookup("dataset", name, DATASETS), data_folder(data_dir)
    if data_dir:
        raise UserError(f"dataset '{name}' is a folder already, so there is nothing to look for in {data_dir}")
    return DATASETS["folder"], own


def load(
    name: str,
    data_dir: Path | str | None = None,
    input_shape: tuple[int, ...] | None = None,
    reading: Reading = CURRENT,
) -> Dataset:
    """Load a dataset by name, or the pictures or sounds of a folder by its path.

    Args:
        name: registered name, or path.
        data_dir: see `data_folder`.
        input_shape: input shape of the network, (H, W, C). Datasets of images of different sizes are resized to it
            while they are read; all others are left unchanged (see `fit_to`). (length, 1) for a folder of sounds.
        reading: how a folder of pictures or sounds is read.

    Raises:
        UserError: there is no such dataset.
        DataError: its files are missing or damaged.
    """
    source, folder = find(name, data_dir)
    found = source.load(folder, input_shape, reading) if source.sized else source.load(folder)
    return found._replace(name=name)
