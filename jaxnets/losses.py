"""Losses with PyTorch's definitions."""

from collections.abc import Callable
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax

Array = jax.Array | np.ndarray
Loss = Callable[[Array, Array], jax.Array]  # logits, labels -> the mean over the batch


def as_targets(labels: Array, logits: Array, smoothing: float) -> jax.Array:
    """Return each example's distribution over the classes, (N, classes).

    `labels` are class numbers (N,) or distributions already (mixup). `smoothing` is the share of each label that is
    spread evenly over all classes, the right one included: Szegedy et al. 2016, arXiv 1512.00567.
    """
    targets = labels if labels.ndim == 2 else jax.nn.one_hot(labels, logits.shape[1])
    return optax.smooth_labels(jnp.asarray(targets, logits.dtype), smoothing)


def cross_entropy(
    logits: Array, labels: Array, smoothing: float = 0.0, weights: np.ndarray | None = None
) -> jax.Array:
    """Return the softmax cross-entropy, averaged over the batch; logits (N, classes), labels as in `as_targets`.

    `weights` (classes,) are those of PyTorch's `CrossEntropyLoss`: each class's term is multiplied by its weight, and
    the sum is divided by `measure`.
    """
    check_labels(logits, labels)
    if weights is not None:
        targets = as_targets(labels, logits, smoothing) * jnp.asarray(weights, logits.dtype)
        return optax.softmax_cross_entropy(logits, targets).sum() / measure(labels, weights)
    if smoothing or labels.ndim == 2:
        return optax.softmax_cross_entropy(logits, as_targets(labels, logits, smoothing)).mean()
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()


def binary_cross_entropy(logits: Array, labels: Array, smoothing: float = 0.0) -> jax.Array:
    """Return the cross-entropy of each class against the rest, averaged over batch and classes (trap 18)."""
    check_labels(logits, labels)
    return optax.sigmoid_binary_cross_entropy(logits, as_targets(labels, logits, smoothing)).mean()


def measure(labels: Array, weights: np.ndarray | None = None) -> Any:
    """Return the divisor of a batch's mean: the sum of its labels' weights; N for distributions, as in PyTorch."""
    if weights is None or labels.ndim == 2:
        return len(labels)
    return jnp.asarray(weights)[labels].sum()


def check_labels(logits: Array, labels: Array) -> None:
    """Refuse labels that are neither (N,) nor (N, classes): labels (N, 1) would broadcast without an error."""
    chex.assert_shape(labels, logits.shape if labels.ndim == 2 else logits.shape[:1])


def count_correct(logits: Array, labels: Array) -> jax.Array:
    """Return the number of correct predictions; a mixed example counts as the class with the larger share."""
    return (logits.argmax(axis=1) == (labels.argmax(axis=1) if labels.ndim == 2 else labels)).sum()


LOSSES: dict[str, Callable[..., jax.Array]] = {"cross-entropy": cross_entropy, "bce": binary_cross_entropy}
