"""Grain's side: a MapDataset over the arrays, shuffled, then batched, read as it reads by default."""

import importlib
from collections.abc import Iterator
from typing import Any

import numpy as np

from data.base import Dataset, Split
from data.benchmark.contenders import SEED, Contender

grain = importlib.import_module("grain")  # which no requirement of this project names


class Examples:
    """Arrays as a random access source: one example at a time."""

    def __init__(self, split: Split):
        self.inputs, self.labels = split

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        return self.inputs[index], self.labels[index]


def contenders(task: str, dataset: Dataset, batch_size: int) -> list[Contender]:
    """Return grain's reading of stored bytes, the only task that it has a way of its own to do."""
    if task != "raw":
        return []
    source = Examples(dataset.train)

    def epoch(number: int) -> Iterator[tuple[Any, Any]]:
        return iter(grain.MapDataset.source(source).shuffle(seed=SEED + number).batch(batch_size).to_iter_dataset())

    return [Contender("grain", epoch)]
