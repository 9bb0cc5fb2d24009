"""Which numbers of an array are a mask's, put out of the way of a softmax or a maximum."""

import numpy as np

MASKED = 1e29  # what is larger stands for infinity
# A mask's numbers are at least this large, so many times larger than the others', and the same but for this share.
LEAST, FAR, ABOUT = 1e3, 30, 0.05


def unmasked(array: np.ndarray) -> np.ndarray:
    """Tell which numbers of an array are not a mask's: infinite ones, and large ones that are all about the same."""
    sizes = np.abs(array)
    if sizes.size and sizes.max() < LEAST:
        return np.ones(sizes.shape, bool)
    kept = sizes < MASKED
    if not kept.any() or sizes[kept].max() < LEAST:
        return kept
    middle = np.median(sizes[kept])
    far = kept & (sizes > max(FAR * middle, LEAST))
    if far.any() and np.ptp(array[far]) <= ABOUT * sizes[far].max():
        kept = kept & ~far
    return kept
