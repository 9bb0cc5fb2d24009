"""PyTorch at weights that are moved by roundings: where a rounding decides whether a ReLU opens, its gradient jumps.

A gradient in float32 that is no rounding away from PyTorch's exact one is right if PyTorch's is that, too, once its
weights are moved a little. Its forward pass may be 80 roundings off.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from parity.report.compare import whole_error

# By how many roundings weights are moved, and how often each. Of 13 exact gradients of a ResNet-50 none jumped where
# Flax's had (1.8e-2) with one rounding, one in three with four.
ROUNDINGS, NUDGES = (1, 4, 16), 8
GRADIENT_FLOAT32 = 1e-4


def moves(seed: int = 0) -> Iterator[tuple[int, int, str]]:
    """Yield a seed, by how many roundings weights are moved, and how that is said."""
    for nudge in range(NUDGES):
        for units in ROUNDINGS:
            yield seed + nudge, units, f"at weights moved by {units} rounding{'s' if units > 1 else ''}"


def nearest(
    module: Any,
    reference: Mapping[str, np.ndarray],
    found: Mapping[str, np.ndarray],
    gradients: Callable[[Any], Mapping[str, np.ndarray]],
) -> tuple[float, str] | None:
    """Return how far a float32 gradient as a whole is from PyTorch's exact one, at its weights or near them.

    Args:
        module: PyTorch's side; of a record or a JAX model nothing can be moved.
        reference: its gradient.
        found: the gradient in float32; what it has not is not compared.
        gradients: the gradient of a side with other weights.

    Returns:
        The error, which is within the bound, and at which weights; None if there are none.
    """
    words = "at the same weights"
    if (error := _apart(reference, found)) <= GRADIENT_FLOAT32:
        return error, words
    for seed, units, words in moves() if hasattr(module, "moved") else ():
        if (error := _apart(gradients(module.moved(seed, units)), found)) <= GRADIENT_FLOAT32:
            return error, words
    return None


def _apart(reference: Mapping[str, np.ndarray], found: Mapping[str, np.ndarray]) -> float:
    common = [name for name in reference if name in found]
    return whole_error({n: np.asarray(reference[n]) for n in common}, {n: np.asarray(found[n]) for n in common})
