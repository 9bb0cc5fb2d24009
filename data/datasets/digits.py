"""Embedded default: 1,797 handwritten digits, 8x8, that scikit-learn carries along.

Source: Alpaydin and Kaynak, "Optical Recognition of Handwritten Digits", UCI (CC BY 4.0), its test part.
"""

from pathlib import Path

import numpy as np

from data.base import Dataset, Source, Split, make_dataset

TEST_SIZE = 360


def load(data_dir: Path) -> Dataset:  # noqa: ARG001 (the signature of every dataset)
    """Return 1,437 training and 360 test images (N, 8, 8, 1); the split never changes."""
    from sklearn.datasets import load_digits  # here: 1.3 s to import, and --help should not wait

    images, labels = load_digits(return_X_y=True)
    images = np.round(images.reshape(-1, 8, 8, 1) * (255 / 16)).astype(np.uint8)  # 0..16 to 0..255
    order = np.random.default_rng(0).permutation(len(labels))
    test, train = order[:TEST_SIZE], order[TEST_SIZE:]
    labels = labels.astype(np.int32)
    return make_dataset(Split(images[train], labels[train]), Split(images[test], labels[test]), tuple("0123456789"))


DATASETS = {"digits": Source(load, None, "1,437 + 360 handwritten digits, 8x8x1, embedded (scikit-learn, UCI)")}
