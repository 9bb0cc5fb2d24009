"""Whitening filters: their outputs on patches of the training examples are uncorrelated.

Page 2019, "How to train your ResNet 8"; with opposites and epsilon as in Jordan 2024, arXiv 2404.00498.
"""

from collections.abc import Mapping

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from data import Dataset, Split
from data.base import full_scale
from data.loader import normalise
from experiment.weights.conversion import belongs, is_flax

EXAMPLES = 5000  # that the filters are computed from
EPSILON = 5e-4  # added to each variance, because directions with almost none are noise


def filters(images: np.ndarray, size: int) -> np.ndarray:
    """Return filters (2 C size^2, C, size, size), PyTorch's layout, of normalised images (N, H, W, C).

    The principal directions of all patches, the least first, each divided by its standard deviation; then their
    opposites.
    """
    channels = images.shape[-1]
    patches = sliding_window_view(images, (size, size), axis=(1, 2))  # (N, H', W', C, size, size), a view
    products, count = 0.0, 0
    for at in range(0, len(images), 500):  # in pieces, to save memory
        rows = patches[at : at + 500].reshape(-1, channels * size * size).astype(np.float64)
        products, count = products + rows.T @ rows, count + len(rows)
    variances, directions = np.linalg.eigh(products / count)
    # The largest component is made positive; otherwise the sign would depend on the machine.
    largest = np.abs(directions).argmax(axis=0)
    directions *= np.sign(directions[largest, np.arange(len(variances))])
    found = (directions / np.sqrt(variances + EPSILON)).T.reshape(-1, channels, size, size)
    return np.concatenate([found, -found])


def whitened(weights: Mapping[str, np.ndarray], layer: str, dataset: Dataset, train: Split) -> dict[str, np.ndarray]:
    """Return a network's weights, of either framework, with the whitening filters as the kernel of `layer`."""
    images = normalise(train.inputs[:EXAMPLES], dataset.mean, dataset.std, full_scale(train.inputs.dtype))
    found = dict(weights)
    for name, kernel in weights.items():
        if belongs(name, layer):
            flax = is_flax(weights)
            own = filters(images, kernel.shape[0 if flax else -1])
            found[name] = (own.transpose(2, 3, 1, 0) if flax else own).astype(kernel.dtype)
    return found
