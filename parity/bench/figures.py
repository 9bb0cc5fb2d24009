"""Medians, ranges and ratios: pure arithmetic on what the rounds came to."""

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Self


class Series(NamedTuple):
    """A figure's rounds."""

    rounds: tuple[float, ...]
    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Self:
        """Return the series of a few figures, in the order they were measured.

        Raises:
            ValueError: there are none, or one is no finite number above 0.
        """
        if not values or not all(0 < value < math.inf for value in values):
            raise ValueError(f"expected finite figures above 0, found {list(values)}")
        return cls(tuple(values), statistics.median(values), min(values), max(values))


class Ratio(NamedTuple):
    """One framework's throughput over the other's."""

    median: float  # of the medians, not of the rounds' ratios
    low: float  # of any round over the same round of the other
    high: float


def ratio(ours: Series, theirs: Series) -> Ratio:
    """Return ours over theirs; round i of both is measured in the same turn."""
    pairs = [a / b for a, b in zip(ours.rounds, theirs.rounds, strict=True)]
    middle = ours.median / theirs.median
    return Ratio(middle, min(*pairs, middle), max(*pairs, middle))


def geometric_mean(values: Sequence[float]) -> float | None:
    """Return the geometric mean, that of ratios: it does not matter which side is divided by; None of nothing."""
    return math.exp(math.fsum(map(math.log, values)) / len(values)) if values else None


def means(networks: Sequence[Mapping[str, Any]]) -> dict[str, float | None]:
    """Return the geometric mean over the networks of each ratio that they have, by the table's name."""
    tables = dict.fromkeys(name for network in networks for name in network.get("tables", {}))
    return {
        name: geometric_mean(
            [network["tables"][name]["ratio"]["median"] for network in networks if name in network.get("tables", {})]
        )
        for name in tables
    }
