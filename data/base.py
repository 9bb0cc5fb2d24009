"""What a dataset is: arrays plus names."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from data.registry import UserError


class DataError(UserError):
    """A data file or an array is missing or not what it should be."""


class Split(NamedTuple):
    """Images and what they show."""

    images: np.ndarray  # (N, H, W, C) uint8
    labels: np.ndarray  # (N,) int32, 0 <= label < len(classes)


class Dataset(NamedTuple):
    """A dataset: two splits, the names of the classes, and the pixels' statistics per channel."""

    train: Split
    test: Split
    classes: tuple[str, ...]
    mean: np.ndarray  # (C,) float32, of the training pixels scaled to 0..1
    std: np.ndarray  # (C,) float32, likewise


class Source(NamedTuple):
    """Where a dataset comes from: what a dataset's file registers under its name."""

    load: Callable[[Path], Dataset]  # takes the data folder
    download: Callable[[Path], None] | None  # None: embedded, nothing to fetch
    about: str


def make_dataset(train: Split, test: Split, classes: tuple[str, ...]) -> Dataset:
    """Check both splits and compute the statistics of the training pixels.

    Raises:
        DataError: images are not (N, H, W, C) uint8, counts disagree, or a label is out of range.
    """
    for name, split in (("training", train), ("test", test)):
        _check(name, split, len(classes))
    pixels = train.images.reshape(-1, train.images.shape[-1])
    mean = pixels.mean(axis=0, dtype=np.float64) / 255
    # Var = E[x^2] - E[x]^2 is exact here: a table of 256 values, counted, in float64.
    counts = np.stack([np.bincount(channel, minlength=256) for channel in pixels.T])
    square = counts @ (np.arange(256) / 255) ** 2 / len(pixels)
    std = np.sqrt(np.maximum(square - mean**2, 1e-12))
    return Dataset(train, test, classes, mean.astype(np.float32), std.astype(np.float32))


def _check(name: str, split: Split, num_classes: int) -> None:
    images, labels = split
    if images.ndim != 4 or images.dtype != np.uint8:
        raise DataError(f"{name} images: expected (N, H, W, C) uint8, found {images.shape} {images.dtype}")
    if len(images) != len(labels) or len(labels) == 0:
        raise DataError(f"{name} data: {len(images)} images but {len(labels)} labels; expected as many, and one")
    if labels.min() < 0 or labels.max() >= num_classes:
        bad = labels[(labels < 0) | (labels >= num_classes)][0]
        raise DataError(f"{name} labels: found label {bad}, expected 0 to {num_classes - 1}")
