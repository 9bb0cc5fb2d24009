"""Digits, the embedded default: 1,797 handwritten digits of 8x8 pixels from scikit-learn.

Source: the test part of Alpaydin and Kaynak, "Optical Recognition of Handwritten Digits", UCI (CC BY 4.0).
"""

from pathlib import Path

import numpy as np

from data.base import Dataset, Source, Split, make_dataset

TEST_SIZE = 360


def load(data_dir: Path) -> Dataset:  # noqa: ARG001 (all datasets have this signature)
    """Return 1,437 training and 360 test images (N, 8, 8, 1); the split is fixed."""
    from sklearn.datasets import load_digits  # here: the import takes 1.3 s, and --help should be fast

    images, labels = load_digits(return_X_y=True)
    images = np.round(images.reshape(-1, 8, 8, 1) * (255 / 16)).astype(np.uint8)  # 0..16 to 0..255
    order = np.random.default_rng(0).permutation(len(labels))
    test, train = order[:TEST_SIZE], order[TEST_SIZE:]
    labels = labels.astype(np.int32)
    return make_dataset(Split(images[train], labels[train]), Split(images[test], labels[test]), tuple("0123456789"))


DATASETS = {"digits": Source(load, None, "1,437 + 360 handwritten digits, 8x8x1, embedded (scikit-learn, UCI)")}
