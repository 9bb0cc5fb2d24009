"""What a pass of either side leaves behind, by layer, in Flax's layout."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

Masks = Mapping[str, np.ndarray]  # "drop1#0", the first call of drop1: what is kept, in Flax's layout


class CallName(str):
    """The name of one call of a layer: "conv1#0" is the first call of conv1."""

    __slots__ = ()

    @classmethod
    def of(cls, layer: str, number: int = 0) -> "CallName":
        """Return the name of a layer's call."""
        return cls(f"{layer}#{number}")

    @property
    def layer(self) -> str:
        """Return the layer that is called."""
        return self.rpartition("#")[0]

    def renamed(self, layer: str) -> "CallName":
        """Return the same call of another layer."""
        return CallName(f"{layer}#{self.rpartition('#')[2]}")


class Numbering:
    """Numbers the calls of a pass by layer, whatever they are given and return: the same rule on both sides."""

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}

    def next(self, layer: str) -> CallName:
        """Return the name of a layer's next call."""
        number = self._counts[layer] = self._counts.get(layer, -1) + 1
        return CallName.of(layer, number)


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
