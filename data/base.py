"""What a dataset is: arrays plus names."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from data.errors import UserError


class DataError(UserError):
    """A data file or an array is missing or not what it should be."""


class Split(NamedTuple):
    """Examples and what they are."""

    inputs: np.ndarray  # images (N, H, W, C) uint8, waveforms (N, length, C) int16, or features (N, H, W, C) float32
    labels: np.ndarray  # (N,) int32, 0 <= label < len(classes)


class Dataset(NamedTuple):
    """A dataset: its splits, the names of the classes, and the statistics of the inputs per channel."""

    train: Split
    test: Split
    classes: tuple[str, ...]
    mean: np.ndarray  # (C,) float32, of the training inputs scaled by `full_scale`
    std: np.ndarray  # (C,) float32, likewise
    validation: Split | None = None  # if the dataset has an official one; else `hold_out` makes it
    rate: int | None = None  # of waveforms, in Hz


class Source(NamedTuple):
    """Where a dataset comes from: what a dataset's file registers under its name."""

    load: Callable[..., Dataset]  # load(data folder), or load(data folder, input shape or None) if `sized`
    download: Callable[[Path], None] | None  # None: embedded, nothing to fetch; raises if only a person can fetch it
    about: str
    sized: bool = False  # pictures of many sizes, that are made to fit a network's input (H, W, C) as they are read


KINDS = {(4, "uint8"): "images", (3, "int16"): "waveforms", (4, "float32"): "features"}
SCALES = {np.dtype(np.uint8): 255.0, np.dtype(np.int16): 32768.0, np.dtype(np.float32): 1.0}


def full_scale(dtype: np.dtype) -> float:
    """Return what inputs are divided by: pixels become 0..1, waveforms -1..1; features stay as they are."""
    return SCALES[dtype]


def make_dataset(
    train: Split,
    test: Split,
    classes: tuple[str, ...],
    *,
    validation: Split | None = None,
    rate: int | None = None,
) -> Dataset:
    """Check the splits and compute the statistics of the training inputs.

    Raises:
        DataError: inputs are not of a kind named in `Split`, counts disagree, or a label is out of range.
    """
    for name, split in (("training", train), ("test", test), ("validation", validation)):
        if split is not None:
            _check(name, split, len(classes))
    mean, std = _statistics(train.inputs)
    return Dataset(train, test, classes, mean.astype(np.float32), std.astype(np.float32), validation, rate)


def _statistics(inputs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and standard deviation per channel, in float64, of scaled inputs."""
    scale, axes = full_scale(inputs.dtype), tuple(range(inputs.ndim - 1))
    mean = inputs.mean(axis=axes, dtype=np.float64)
    # Two passes, in pieces: a copy of everything in float64 could be eight times the data.
    pieces = np.array_split(inputs, max(1, inputs.size // 2**24))
    variance = sum(np.square(piece - mean).sum(axis=axes) for piece in pieces) / (inputs.size // inputs.shape[-1])
    return mean / scale, np.maximum(np.sqrt(variance) / scale, 1e-6)


def _check(name: str, split: Split, num_classes: int) -> None:
    inputs, labels = split
    if (inputs.ndim, inputs.dtype.name) not in KINDS:
        expected = "(N, H, W, C) uint8, (N, length, C) int16 or (N, H, W, C) float32"
        raise DataError(f"{name} inputs: expected {expected}, found {inputs.shape} {inputs.dtype}")
    if len(inputs) != len(labels) or len(labels) == 0:
        raise DataError(f"{name} data: {len(inputs)} inputs but {len(labels)} labels; expected as many, and one")
    if labels.min() < 0 or labels.max() >= num_classes:
        bad = labels[(labels < 0) | (labels >= num_classes)][0]
        raise DataError(f"{name} labels: found label {bad}, expected 0 to {num_classes - 1}")
