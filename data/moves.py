"""The augmentations that only move pixels, quickly, for numpy alone: of any dtype, so before bytes become floats.

They do what `data.augment` says in terms that hold for every array library, bit for bit. What makes numpy quick is a
long innermost loop over bytes that lie side by side; what makes it slow is one that ends after the C numbers of a pixel.
"""

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view


def flip(x: np.ndarray, draws: np.ndarray) -> np.ndarray:
    """Return examples (B, H, W, C), left and right swapped where `draws` (B, 1) are below a half."""
    chosen = np.flatnonzero(draws[:, 0] < 0.5)
    old, out = x[chosen], x.copy()
    new = np.empty_like(old)
    for channel in range(x.shape[-1]):  # so that the innermost loop is a row's W numbers, not a pixel's C
        new[..., channel] = old[:, :, ::-1, channel]
    out[chosen] = new
    return out


def crop(x: np.ndarray, draws: np.ndarray) -> np.ndarray:
    """Return examples (B, H, W, C), moved by up to 1/8 of their size as `draws` (B, 2) say, edges reflected."""
    count, height, width, channels = x.shape
    down, right = height // 8, width // 8  # at most
    wide = np.pad(x, ((0, 0), (down, down), (right, right), (0, 0)), "reflect")
    # (B, 2 down + 1, 2 right C + 1, H, W C): each window of each example, a view that copies nothing
    windows = sliding_window_view(wide.reshape(count, height + 2 * down, -1), (height, width * channels), axis=(1, 2))
    top, left = (np.floor(draws[:, at] * (2 * most + 1)).astype(np.intp) for at, most in ((0, down), (1, right)))
    return windows[np.arange(count), top, left * channels].reshape(x.shape)
