"""Who yields what, and how long it takes."""

import gc
import math
import time
import zlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from data.base import DataError, Dataset, Split, make_dataset
from data.benchmark.contenders import Contender

NUMBERED = 250  # examples that say which one they are, in one byte


class Row(NamedTuple):
    """What one contender took."""

    dataset: str
    task: str
    batch_size: int
    contender: str
    examples: int  # in an epoch
    seconds: list[float]  # of an epoch, in each round


def measure(found: Sequence[Contender], rounds: int) -> dict[str, list[float]]:
    """Return the seconds of an epoch for each round and contender, who take turns: A B C, C B A, A B C ...

    An epoch is from asking for its first batch to having its last one; drawing what is random in it is included.
    """
    seconds: dict[str, list[float]] = {contender.name: [] for contender in found}
    for number in range(rounds):
        for contender in found if number % 2 == 0 else found[::-1]:
            gc.collect()
            begin = time.perf_counter()
            for _ in contender.epoch(number + 1):
                pass
            seconds[contender.name].append(time.perf_counter() - begin)
    return seconds


def check_raw(contender: Contender, split: Split) -> None:
    """Read an epoch and hold every byte of it against the dataset.

    Raises:
        DataError: it is not each example once, with its label, in the stored dtypes.
    """
    shape = split.inputs.shape[1:]
    found = [_marks(contender, *batch, shape, split.inputs.dtype) for batch in contender.epoch(0)]
    expected = _marks(contender, *split, shape, split.inputs.dtype)
    if not np.array_equal(np.sort(np.concatenate(found)), np.sort(expected)):
        raise DataError(f"{contender.name} does not yield each example of the dataset once")


def _marks(contender: Contender, inputs: Any, labels: Any, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """Return a number for each example, made of all of its bytes and its label."""
    inputs, labels = _arrays(contender, inputs, labels, shape, dtype)
    rows = np.ascontiguousarray(inputs).reshape(len(labels), math.prod(shape))
    return np.array([zlib.crc32(row.tobytes()) for row in rows], np.int64) * 2**31 + labels


def numbered(shape: tuple[int, ...]) -> Dataset:
    """Return even grey images (H, W, C), each as bright as its label says: no augmentation changes their middle."""
    labels = np.arange(NUMBERED, dtype=np.int32)
    images = np.broadcast_to(labels.astype(np.uint8)[:, None, None, None], (NUMBERED, *shape)).copy()
    split = Split(images, labels)
    return make_dataset(split, split, tuple(map(str, labels)))


def check_ready(contender: Contender, dataset: Dataset) -> None:
    """Read an epoch of `numbered` and tell the examples by their middles.

    Raises:
        DataError: it is not each example once, with its label, normalised, in float32.
    """
    shape, seen = dataset.train.inputs.shape[1:], []
    for batch in contender.epoch(0):
        inputs, labels = _arrays(contender, *batch, shape, np.dtype(np.float32))
        middle = inputs[:, shape[0] // 2, shape[1] // 2]  # (B, C)
        if not (np.round((middle * dataset.std + dataset.mean) * 255) == labels[:, None]).all():
            raise DataError(f"{contender.name} yields pixels that are not those of the labels beside them")
        seen += labels.tolist()
    if sorted(seen) != list(range(NUMBERED)):
        raise DataError(f"{contender.name} does not yield each example once")


def check_labels(contender: Contender, split: Split) -> None:
    """Read an epoch, and raise DataError unless its labels, shapes and dtypes are those of normalised examples."""
    shape = split.inputs.shape[1:]
    labels = [_arrays(contender, *batch, shape, np.dtype(np.float32))[1] for batch in contender.epoch(0)]
    if not np.array_equal(np.sort(np.concatenate(labels)), np.sort(split.labels)):
        raise DataError(f"{contender.name} does not yield each label once")


def _arrays(
    contender: Contender, inputs: Any, labels: Any, shape: tuple[int, ...], dtype: np.dtype
) -> tuple[np.ndarray, np.ndarray]:
    inputs, labels = np.asarray(inputs), np.asarray(labels)
    for what, array, wanted in (("inputs", inputs, dtype), ("labels", labels, np.dtype(np.int32))):
        if array.shape != (len(labels), *(shape if what == "inputs" else ())) or array.dtype != wanted:
            expected = f"{('B', *(shape if what == 'inputs' else ()))} {wanted}"
            raise DataError(f"{contender.name}: {what} are {array.shape} {array.dtype}, expected {expected}")
    return inputs, labels
