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
from data.rows import Indexed, bounds, remembered
from data.threads import FEW, cores, in_order

BLOCK = 2**14  # pixels at a time for the variance


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
    warnings: tuple[str, ...] = ()  # what is wrong with the files, a line each
    name: str = ""  # as given to `data.load`; "" if it was made of arrays


class Reading(NamedTuple):
    """How a folder of the user's files is read."""

    first_rules: bool = False  # as version 0.1.0 did: see the option --data-rules
    depth: int | None = None  # significant bits of 16-bit pictures; None: found in the pictures
    on_bad_file: str = "stop"  # "skip" leaves files out that cannot be read
    cache_dir: Path | None = None  # folder of the decoded files, see `data.cache.cache_folder`
    sounds: bool = False  # sounds are looked for first although the network takes images
    rate: int = 0  # of the sounds in Hz; 0: the most common of the files
    seconds: float | None = None  # of a clip; None: the input shape decides; 0: the files do


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
    statistics = remembered(train.inputs, "statistics 1", lambda: _statistics(train.inputs))
    mean, std = (np.array(each).astype(np.float32) for each in statistics)
    return Dataset(train, test, names, mean, std, validation, rate, windows or {})


def _kind(split: Split) -> str:
    return f"{split.inputs.shape[1:]} {split.inputs.dtype}"


def _statistics(inputs: np.ndarray) -> list[list[float]]:
    """Return mean and standard deviation per channel, in float64, of scaled inputs."""
    scale, axes, count = full_scale(inputs.dtype), tuple(range(inputs.ndim - 1)), inputs.size // inputs.shape[-1]

    # Two passes over pieces: a float64 copy of everything could take eight times the memory of the data.
    def total(part: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
        found = in_order(lambda ends: part(inputs[slice(*ends)]), bounds(inputs), min(FEW, cores()))
        return sum(found, np.zeros(inputs.shape[-1]))

    if inputs.dtype.kind == "f" and not isinstance(inputs, Indexed):
        mean = inputs.mean(axis=axes, dtype=np.float64)
    else:
        mean = total(_sum) / count
    variance = total(lambda piece: _squares(piece, mean)) / count
    return [(mean / scale).tolist(), np.maximum(np.sqrt(variance) / scale, 1e-6).tolist()]


def _sum(piece: np.ndarray) -> np.ndarray:
    """Return the sum per channel; of whole numbers it is exact, so the order does not matter."""
    rows = piece.reshape(len(piece), -1).sum(axis=0, dtype=np.float64 if piece.dtype.kind == "f" else np.int64)
    return rows.reshape(-1, piece.shape[-1]).sum(axis=0).astype(np.float64)


def _squares(piece: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """Return the sum of the squared differences from the mean per channel, in float64.

    The pixels are added one after the other, as numpy adds them without blocks, which stay in the processor's cache.
    """
    channels = len(mean)
    if channels == 1:  # numpy adds pairwise
        apart = piece - mean
        return np.square(apart, out=apart).sum(axis=tuple(range(piece.ndim - 1)))
    pixels, means = piece.reshape(-1), np.tile(mean, BLOCK)
    block = np.zeros((1 + BLOCK) * channels)  # in front the sum of the blocks before
    for start in range(0, len(pixels), BLOCK * channels):
        part = pixels[start : start + BLOCK * channels]
        rows = block[channels : channels + len(part)]
        np.square(np.subtract(part, means[: len(part)], out=rows), out=rows)
        block[:channels] = block[: channels + len(part)].reshape(-1, channels).sum(axis=0)
    return block[:channels]
