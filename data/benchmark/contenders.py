"""Who is measured, and this side of them: the loader, and plain copies of the bytes that it yields.

A side is a function `(task, dataset, batch_size) -> contenders`. Those that need a framework are in files of their
own, imported when that side is measured: `data` itself imports none.
"""

import importlib
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from data.base import Dataset
from data.loader import Loader

TASKS = ("raw", "flip,crop", "affine")  # bytes as they are stored, or normalised float32 and augmented by these names
SEED = 0


class Contender(NamedTuple):
    """One way to load."""

    name: str
    epoch: Callable[[int], Iterator[tuple[Any, Any]]]  # number -> inputs (B, H, W, C), labels (B,); every example once


class Missing(NamedTuple):
    """A side that cannot be measured here."""

    name: str
    reason: str
    remedy: str  # a command


class Side(NamedTuple):
    """Where a framework's contenders are."""

    name: str
    module: str
    tasks: tuple[str, ...]
    remedy: str


SIDES = (
    Side("DataLoader of torch, transforms of torchvision", "torch_side", TASKS, "pip install torch torchvision"),
    Side("grain", "grain_side", TASKS[:1], "pip install grain"),
)


def installed() -> tuple[list[Side], list[Missing]]:
    """Return the sides that can be measured, and those that cannot, each with the reason."""
    there, missing = [], []
    for side in SIDES:
        try:
            importlib.import_module(f"data.benchmark.{side.module}")
        except ImportError as error:
            missing.append(Missing(side.name, str(error), side.remedy))
        else:
            there.append(side)
    return there, missing


def contenders(task: str, dataset: Dataset, batch_size: int, sides: list[Side]) -> list[Contender]:
    """Return everyone who does a task of TASKS, this loader first."""
    found = [*_ours(task, dataset, batch_size)]
    for side in sides:
        if task in side.tasks:
            found += importlib.import_module(f"data.benchmark.{side.module}").contenders(task, dataset, batch_size)
    return found


def _ours(task: str, dataset: Dataset, batch_size: int) -> Iterator[Contender]:
    augment = () if task == "raw" else tuple(task.split(","))
    loader = Loader(dataset.train, dataset.mean, dataset.std, batch_size, SEED, augment=augment)
    yield Contender("data.Loader", lambda epoch: (batch[:2] for batch in _batches(loader, task, epoch)))
    if task == "raw":
        yield Contender("memcpy, fresh buffer", lambda _: _copies(dataset, batch_size, reuse=False))
        yield Contender("memcpy, reused buffer", lambda _: _copies(dataset, batch_size, reuse=True))
        yield Contender("gather, reused buffer", lambda epoch: _gathered(loader, epoch))


def _batches(loader: Loader, task: str, epoch: int) -> Iterator[Any]:
    return loader.raw(epoch) if task == "raw" else loader.epoch(epoch)


def _copies(dataset: Dataset, batch_size: int, *, reuse: bool) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Copy the examples in the order in which they lie: what the machine's memory can do at best."""
    inputs, labels = dataset.train
    buffer = np.empty((batch_size, *inputs.shape[1:]), inputs.dtype)
    for first in range(0, len(labels), batch_size):
        part = inputs[first : first + batch_size]
        if reuse:
            copied = buffer[: len(part)]
            np.copyto(copied, part)
        else:
            copied = part.copy()
        yield copied, labels[first : first + batch_size].copy()


def _gathered(loader: Loader, epoch: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Copy the loader's own random rows into one buffer: what a shuffled batch costs at least."""
    inputs, labels = loader.split
    order, size = loader.order(epoch), loader.batch_size
    buffer = np.empty((size, *inputs.shape[1:]), inputs.dtype)
    for first in range(0, len(order), size):
        index = order[first : first + size]
        # "clip": with `out`, the default mode would gather into a buffer of its own first.
        yield inputs.take(index, axis=0, out=buffer[: len(index)], mode="clip"), labels.take(index)
