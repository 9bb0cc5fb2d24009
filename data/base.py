"""The types of a dataset: arrays, class names and statistics."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from data.arrays import KINDS as KINDS
from data.arrays import Split as Split
from data.arrays import as_split
from data.arrays import full_scale as full_scale
from data.errors import DataError as DataError


class Windows(NamedTuple):
    """Further windows of those clips of a split that are longer than its inputs, which hold the first window."""

    inputs: np.ndarray  # (M, length, C), of the dtype of the split
    owners: np.ndarray  # (M,) the index of the clip in the split, in ascending order


class Dataset(NamedTuple):
    """A dataset: its splits, the class names and the per-channel statistics of the training inputs."""

    train: Split
    test: Split
    classes: tuple[str, ...]
    mean: np.ndarray  # (C,) float32, of the training inputs scaled by `full_scale`
    std: np.ndarray  # (C,) float32, likewise
    validation: Split | None = None  # the official one, if there is one; else see `hold_out`
    rate: int | None = None  # sampling rate of waveforms, in Hz
    windows: Mapping[str, Windows] = {}  # of long clips, by the name of the split: train, test, validation
    notes: tuple[str, ...] = ()  # how the files were read, a line each
    depth: int | None = None  # significant bits of the 16-bit pictures, if there are any
    name: str = ""  # as given to `data.load`; "" if it was made of arrays


class Reading(NamedTuple):
    """How a folder of pictures is read."""

    first_rules: bool = False  # as version 0.1.0 did: see the option --data-rules
    depth: int | None = None  # significant bits of 16-bit pictures; None: found in the pictures


CURRENT = Reading()


class Source(NamedTuple):
    """How to load and download a dataset: the entry that a dataset's file registers under its name."""

    load: Callable[..., Dataset]  # load(data folder), or load(data folder, input shape, `Reading`) if `sized`
    download: Callable[[Path], None] | None  # None: embedded; raises if only the user can fetch it
    about: str
    sized: bool = False  # images of different sizes, resized to the network's input (H, W, C) while they are read


def make_dataset(
    train: Split,
    test: Split,
    classes: Sequence[str],
    *,
    validation: Split | None = None,
    rate: int | None = None,
    windows: Mapping[str, Windows] | None = None,
) -> Dataset:
    """Check or convert the splits (`data.arrays.as_split`) and compute the statistics of the training inputs.

    Raises:
        DataError: the inputs are of no kind named in `Split`, counts or shapes differ, a number is not finite, or a
            label is out of range.
    """
    names = tuple(map(str, classes))
    train, test = as_split("training", *train, names), as_split("test", *test, names)
    validation = None if validation is None else as_split("validation", *validation, names)
    for name, split in (("test", test), ("validation", validation)):
        if split and _kind(split) != _kind(train):
            shapes = f"found {_kind(train)} for training and {_kind(split)} in the {name} split"
            raise DataError(f"{name} inputs: expected the shape and dtype of the training inputs; {shapes}")
    mean, std = _statistics(train.inputs)
    found = mean.astype(np.float32), std.astype(np.float32)
    return Dataset(train, test, names, *found, validation, rate, windows or {})


def _kind(split: Split) -> str:
    return f"{split.inputs.shape[1:]} {split.inputs.dtype}"


def _statistics(inputs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and standard deviation per channel, in float64, of scaled inputs."""
    scale, axes = full_scale(inputs.dtype), tuple(range(inputs.ndim - 1))
    mean = inputs.mean(axis=axes, dtype=np.float64)
    # Two passes over pieces: a float64 copy of everything could take eight times the memory of the data.
    pieces = np.array_split(inputs, max(1, inputs.size // 2**24))
    variance = sum(np.square(piece - mean).sum(axis=axes) for piece in pieces) / (inputs.size // inputs.shape[-1])
    return mean / scale, np.maximum(np.sqrt(variance) / scale, 1e-6)
