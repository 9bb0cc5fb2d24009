"""The augmentations that only move pixels, quickly, for numpy alone: of any dtype, so before bytes become floats.

They do, bit for bit, what `data.augment` says in terms that hold for every array library. What makes numpy quick is a
long innermost loop; what makes it slow is one that ends after the C numbers of a pixel, and is begun a million times.
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


def crop(x: np.ndarray, draws: np.ndarray, part: int = 8) -> np.ndarray:
    """Return examples (B, H, W, C), moved by up to 1/`part` of their size as `draws` (B, 2) say, edges reflected."""
    count, height, width, channels = x.shape
    most = (height // part, width // part)
    top, left = (np.floor(draws[:, at] * (2 * most[at] + 1)).astype(np.intp) for at in (0, 1))
    lines = np.abs(top[:, None] - most[0] + np.arange(height))  # (B, H): from which line each new one is taken
    lines = height - 1 - np.abs(height - 1 - lines)
    wide = _reflect_sides(x, most[1])
    # (B H, 2 most C + 1, W C): what is seen of each line from each place in it, a view that copies nothing
    views = sliding_window_view(wide.reshape(count * height, wide.shape[2] * channels), width * channels, axis=1)
    at = (np.arange(count)[:, None] * height + lines, left[:, None] * channels)
    return views[at].reshape(x.shape)


def _reflect_sides(x: np.ndarray, by: int) -> np.ndarray:
    """Return (B, H, W + 2 by, C): `np.pad` in its mode "reflect" does the same, but a pixel at a time."""
    count, height, width, channels = x.shape
    out = np.empty((count, height, width + 2 * by, channels), x.dtype)
    out[:, :, by : by + width] = x
    for channel in range(channels):
        out[:, :, :by, channel] = x[:, :, by:0:-1, channel]
        out[:, :, by + width :, channel] = x[:, :, width - 2 : width - 2 - by : -1, channel]
    return out
