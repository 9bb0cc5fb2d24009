"""What a pass of either side leaves behind, by layer, in Flax's layout."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

Masks = Mapping[str, np.ndarray]  # "drop1#0", the first call of drop1: what is kept, in Flax's layout


class Site(NamedTuple):
    """A call of a dropout layer in training mode."""

    shape: tuple[int, ...]  # of the mask, in Flax's layout
    rate: float  # share that is dropped


class Call(NamedTuple):
    """What a layer was given and what it returned."""

    input: Any
    output: Any


class Run(NamedTuple):
    """A forward pass: the output, every layer's call by name in forward order, and what it has left behind."""

    output: np.ndarray
    calls: dict[str, Call]
    statistics: dict[str, np.ndarray]  # by Flax's path


def channels_last(array: np.ndarray) -> np.ndarray:
    """Move (N, C, ...) to (N, ..., C)."""
    return np.moveaxis(array, 1, -1) if array.ndim > 2 else array


def channels_first(array: np.ndarray) -> np.ndarray:
    """Move (N, ..., C) to (N, C, ...)."""
    return np.moveaxis(array, -1, 1) if array.ndim > 2 else array
