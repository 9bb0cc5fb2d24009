"""A batch taken in pieces, one after another, to save memory."""

from collections.abc import Callable
from functools import reduce
from operator import add
from typing import Any

import jax
import jax.numpy as jnp

from data import Batch
from jaxnets.gradient_transforms import Grad


def split_batch(batch: Batch, pieces: int) -> list[Batch]:
    """Return a batch in at most `pieces` pieces of at least two examples: BatchNorm has no variance of one."""
    pieces = max(1, min(pieces, len(batch.inputs) // 2))
    if pieces == 1:
        return [batch]
    return [Batch(*piece) for piece in zip(*(jnp.array_split(part, pieces) for part in batch), strict=True)]


def in_pieces(grad: Grad, pieces: int, measure: Callable[[Any], Any] = len) -> Grad:
    """Return `grad` of the mean over a batch, computed as the sum over its pieces.

    A piece counts by the `measure` of its labels, by default its size: `optax.MultiSteps` takes the plain mean of its
    steps, and keeps a state for it.
    BatchNorm normalises each piece by its own statistics, and its running statistics pass through all pieces.
    """

    def of(objective: Callable[..., Any], *, has_aux: bool) -> Callable[..., Any]:
        def total(params: Any, statistics: Any, batch: Batch, key: jax.Array) -> Any:
            found = []
            for at, piece in enumerate(split_batch(batch, pieces)):
                share = measure(piece.labels) / measure(batch.labels)

                def scaled(*args: Any, share: Any = share) -> Any:
                    value, (statistics, metrics) = objective(*args)
                    return value * share, (statistics, {**metrics, "loss": metrics["loss"] * share})

                grads, (statistics, metrics) = grad(scaled, has_aux=has_aux)(params, statistics, piece, key, at)
                found.append((grads, metrics))
            grads, metrics = jax.tree.map(lambda *parts: reduce(add, parts), *found)
            return grads, (statistics, metrics)

        return total

    return of
