"""Skipping steps whose loss, gradients or result are not finite."""

from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

import jax
import jax.numpy as jnp

from data import Batch
from jaxnets.averaging import AveragedState, Metrics
from jaxnets.step import TrainState

S = TypeVar("S", TrainState, AveragedState)


def is_finite(metrics: Metrics) -> jax.Array:
    """Return whether a step's loss and gradients are finite; the norm is if all gradients are."""
    return jnp.isfinite(metrics["loss"]) & jnp.isfinite(metrics["grad_norm"])


def all_finite(tree: Any) -> jax.Array:
    """Return whether all numbers of a tree are finite."""
    leaves = [leaf for leaf in jax.tree.leaves(tree) if jnp.issubdtype(leaf.dtype, jnp.floating)]
    return jnp.stack([jnp.isfinite(leaf).all() for leaf in leaves]).all()


def skip_not_finite(step: Callable[[S, Batch], tuple[S, Metrics]]) -> Callable[[S, Batch], tuple[S, Metrics]]:
    """Return `step` that changes nothing but the count of steps where it is not finite, and says so as `skipped`.

    Of finite gradients, too, the result may overflow: weights, BatchNorm's statistics, the optimizer's state or the
    average. `optax.apply_if_finite` spares only the optimizer: BatchNorm's statistics and the average would take the
    NaN, and after some such steps in a row it follows them (trap 35).
    """

    def careful(state: S, batch: Batch) -> tuple[S, Metrics]:
        after, metrics = step(state, batch)
        finite = is_finite(metrics) & all_finite(after._replace(key=None))
        kept = jax.tree.map(partial(jnp.where, finite), after._replace(key=None), state._replace(key=None))
        return kept._replace(step=after.step, key=after.key), {**metrics, "skipped": ~finite}

    return careful
