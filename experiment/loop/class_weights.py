"""--class-weights: the weight of each class in the loss; and what is said about it and about --sampler."""

from collections.abc import Sequence

import numpy as np

from data import Loader
from data.workers import Workers
from experiment.config import Config


def class_weights(config: Config, loader: Loader | Workers) -> np.ndarray | None:
    """Return the weights of the classes, (classes,) float64; None if the loss has none."""
    if config.class_weights == "none":
        return None
    return balanced(loader.split.labels[: loader.examples], loader.classes)


def balanced(labels: np.ndarray, classes: int = 0) -> np.ndarray:
    """Return n / (K n_k) for each class: n examples, n_k of them of class k, K classes that have any.

    These are scikit-learn's `compute_class_weight("balanced", ...)`. A class without examples has weight 0.
    """
    counts = np.bincount(labels, minlength=classes)
    return np.where(counts > 0, len(labels) / np.maximum(counts, 1) / np.count_nonzero(counts), 0.0)


def about_classes(config: Config, labels: np.ndarray, classes: Sequence[str]) -> str | None:
    """Return a line about what makes up for classes of different sizes, if anything does."""
    counts = np.bincount(labels, minlength=len(classes))
    least, most = int(counts.argmin()), int(counts.argmax())
    if config.sampler == "balanced":
        return f"each class is drawn equally often; {classes[least]} has the fewest examples, {counts[least]:,}"
    if config.class_weights == "balanced":
        weights = balanced(labels, len(classes))
        low, high = (f"{weights[at]:.3g} ({classes[at]}, {counts[at]:,} examples)" for at in (most, least))
        return f"classes are weighted in the loss, from {low} to {high}"
    return None
