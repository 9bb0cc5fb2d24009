"""Losses with PyTorch's definitions."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch.nn import functional

Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]  # logits, labels -> the mean over the batch


def as_targets(labels: torch.Tensor, logits: torch.Tensor, smoothing: float) -> torch.Tensor:
    """Return each example's distribution over the classes, (N, classes).

    `labels` are class numbers (N,) or distributions already (mixup). `smoothing` is the share of each label that is
    spread evenly over all classes, the right one included: Szegedy et al. 2016, arXiv 1512.00567.
    """
    classes = logits.shape[1]
    targets = labels if labels.ndim == 2 else functional.one_hot(labels, classes)
    return targets.to(logits.dtype) * (1 - smoothing) + smoothing / classes


def cross_entropy(
    logits: torch.Tensor, labels: torch.Tensor, smoothing: float = 0.0, weights: np.ndarray | None = None
) -> torch.Tensor:
    """Return the softmax cross-entropy, averaged over the batch; logits (N, classes), labels as in `as_targets`.

    `weights` (classes,) are those of PyTorch's `CrossEntropyLoss`: each class's term is multiplied by its weight, and
    the sum is divided by `measure`.
    """
    labels = labels.to(logits.dtype) if labels.ndim == 2 else labels
    weight = None if weights is None else torch.as_tensor(weights, dtype=logits.dtype, device=logits.device)
    return functional.cross_entropy(logits, labels, weight, label_smoothing=smoothing)


def binary_cross_entropy(logits: torch.Tensor, labels: torch.Tensor, smoothing: float = 0.0) -> torch.Tensor:
    """Return the cross-entropy of each class against the rest, averaged over batch and classes (trap 18)."""
    return functional.binary_cross_entropy_with_logits(logits, as_targets(labels, logits, smoothing))


def measure(labels: torch.Tensor, weights: np.ndarray | None = None) -> Any:
    """Return the divisor of a batch's mean: the sum of its labels' weights; N for distributions, as in PyTorch."""
    if weights is None or labels.ndim == 2:
        return len(labels)
    return torch.as_tensor(weights, device=labels.device)[labels].sum()


def count_correct(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Return the number of correct predictions; a mixed example counts as the class with the larger share."""
    return (logits.argmax(dim=1) == (labels.argmax(dim=1) if labels.ndim == 2 else labels)).sum()


LOSSES: dict[str, Callable[..., torch.Tensor]] = {"cross-entropy": cross_entropy, "bce": binary_cross_entropy}
