"""Names of weights: how much alike two are, and which belong together."""

import difflib
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

WORDS = {"kernel": "weight", "scale": "weight", "embedding": "weight", "gamma": "weight", "beta": "bias"}
WORDS |= {"query": "q", "key": "k", "value": "v"}


def alike(path: str, key: str) -> float:
    """Return how much alike two names are, from 0 to 1."""
    ours, theirs = _words(path), _words(key)
    return difflib.SequenceMatcher(None, ours, theirs).ratio() + 0.5 * (ours[-1:] == theirs[-1:])


def _words(name: str) -> list[str]:
    parts = re.findall(r"[a-z]+|\d+", re.sub(r"([a-z])([A-Z])", r"\1_\2", name).lower())
    return [WORDS.get(str(part), str(part)) for part in parts if part != "params"]


def groups(keys: Sequence[str], state: Mapping[str, np.ndarray]) -> Iterator[tuple[str, ...]]:
    """Yield sets of parameters that may be put together: neighbours of one shape, or of one rank."""
    shapes: dict[Any, list[str]] = {}
    for key in keys:
        shapes.setdefault(state[key].shape, []).append(key)
    for group in shapes.values():
        for count in (3, 2, 4):
            for start in range(len(group) - count + 1):
                yield tuple(group[start : start + count])
    ranks: dict[int, list[str]] = {}
    for key in keys:
        ranks.setdefault(state[key].ndim, []).append(key)
    for group in ranks.values():
        if len({state[key].shape for key in group}) > 1 and 1 < len(group) <= 4:
            yield tuple(group)
