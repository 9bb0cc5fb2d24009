"""The types of a dataset: arrays, class names and statistics."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from data.errors import UserError


class DataError(UserError):
    """A data file or an array is missing or invalid."""


class Split(NamedTuple):
    """Examples and their labels."""

    inputs: np.ndarray  # images (N, H, W, C) uint8, waveforms (N, length, C) int16, or features (N, H, W, C) float32
    labels: np.ndarray  # (N,) int32, 0 <= label < len(classes)


class Dataset(NamedTuple):
    """A dataset: its splits, the class names and the per-channel statistics of the training inputs."""

    train: Split
    test: Split
    classes: tuple[str, ...]
    mean: np.ndarray  # (C,) float32, of the training inputs scaled by `full_scale`
    std: np.ndarray  # (C,) float32, likewise
    validation: Split | None = None  # the official one, if there is one; else see `hold_out`
    rate: int | None = None  # sampling rate of waveforms, in Hz


class Source(NamedTuple):
    """How to load and download a dataset: the entry that a dataset's file registers under its name."""

    load: Callable[..., Dataset]  # load(data folder), or load(data folder, input shape or None) if `sized`
    download: Callable[[Path], None] | None  # None: embedded; raises if only the user can fetch it
    about: str
    sized: bool = False  # images of different sizes, resized to the network's input (H, W, C) while they are read


KINDS = {(4, "uint8"): "images", (3, "int16"): "waveforms", (4, "float32"): "features"}
SCALES = {np.dtype(np.uint8): 255.0, np.dtype(np.int16): 32768.0, np.dtype(np.float32): 1.0}


def full_scale(dtype: np.dtype) -> float:
    """Return the divisor that maps pixels to 0..1 and waveforms to -1..1; it is 1 for features."""
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
        DataError: the inputs are of no kind named in `Split`, counts differ, or a label is out of range.
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
    # Two passes over pieces: a float64 copy of everything could take eight times the memory of the data.
    pieces = np.array_split(inputs, max(1, inputs.size // 2**24))
    variance = sum(np.square(piece - mean).sum(axis=axes) for piece in pieces) / (inputs.size // inputs.shape[-1])
    return mean / scale, np.maximum(np.sqrt(variance) / scale, 1e-6)


def _check(name: str, split: Split, num_classes: int) -> None:
    inputs, labels = split
    if (inputs.ndim, inputs.dtype.name) not in KINDS:
        expected = "(N, H, W, C) uint8, (N, length, C) int16 or (N, H, W, C) float32"
        raise DataError(f"{name} inputs: expected {expected}, found {inputs.shape} {inputs.dtype}")
    if len(inputs) != len(labels) or len(labels) == 0:
        found = f"found {len(inputs)} inputs and {len(labels)} labels"
        raise DataError(f"{name} data: {found}; the counts must be equal and at least 1")
    if labels.min() < 0 or labels.max() >= num_classes:
        bad = labels[(labels < 0) | (labels >= num_classes)][0]
        raise DataError(f"{name} labels: found label {bad}, expected 0 to {num_classes - 1}")
