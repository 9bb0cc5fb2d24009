"""Losses and accuracies from logits, in float64 numpy, the same for both frameworks."""

from typing import Any, NamedTuple

import numpy as np


class Score(NamedTuple):
    """The loss, accuracy and confusion matrix of a split."""

    loss: float  # mean over the examples
    accuracy: float  # in 0..1
    confusion: np.ndarray  # (classes, classes) counts; row: true class, column: predicted class

    def per_class(self) -> np.ndarray:
        """Return the accuracy of each class in 0..1, (classes,); NaN for a class without examples."""
        counts = self.confusion.sum(axis=1)
        return np.where(counts > 0, np.diag(self.confusion) / np.maximum(counts, 1), np.nan)

    def as_dict(self) -> dict[str, Any]:
        """Return `loss`, `accuracy` and `macro_f1` for a JSON file."""
        found = {"loss": self.loss, "accuracy": self.accuracy, "macro_f1": self.macro_f1()}
        return {name: finite(value) for name, value in found.items()}

    def macro_f1(self) -> float:
        """Return the mean of the classes' F1 scores in 0..1; a class without examples and predictions does not count.

        It is scikit-learn's `f1_score(..., average="macro")`.
        """
        counts = self.confusion.sum(axis=0) + self.confusion.sum(axis=1)  # predicted plus true
        found = counts > 0
        return float((2 * np.diag(self.confusion)[found] / counts[found]).mean())


def finite(value: float | None) -> float | None:
    """Return `value` for JSON: None for NaN and infinity, and for a mean over no examples, which is None already."""
    return float(value) if value is not None and np.isfinite(value) else None


def shown(value: float | None, form: str) -> str:
    """Return `value` in a format such as "7.2%", and "-" of the same width where there is none."""
    if value is None:
        return format("-", f">{form.partition('.')[0].strip(',')}")
    return format(value, form)


def score(logits: np.ndarray, labels: np.ndarray, loss: str) -> Score:
    """Score logits (N, classes) against labels (N,) with the loss called "cross-entropy" or "bce"."""
    logits = logits.astype(np.float64)
    predictions, classes = logits.argmax(axis=1), logits.shape[1]
    # Counting pairs (label, prediction) as one number each: a confusion matrix in one pass.
    confusion = np.bincount(labels * classes + predictions, minlength=classes**2).reshape(classes, classes)
    value = float(LOSSES[loss](logits, labels).mean())
    return Score(value, float((predictions == labels).mean()), confusion)


def _cross_entropy(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    shifted = logits - logits.max(axis=1, keepdims=True)  # exp of large logits would overflow
    return np.log(np.exp(shifted).sum(axis=1)) - shifted[np.arange(len(labels)), labels]


def _binary_cross_entropy(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    targets = np.eye(logits.shape[1])[labels]
    # log(1 + exp(x)) - x * t, averaged over the classes too, as PyTorch does (trap 18).
    return (np.logaddexp(0, logits) - logits * targets).mean(axis=1)


LOSSES = {"cross-entropy": _cross_entropy, "bce": _binary_cross_entropy}
