"""Fast numpy versions of the augmentations that only move pixels; they work on any dtype, such as stored bytes.

Their results equal those of the general versions in `data.augment` bit for bit. Numpy is fast if its innermost loop is
long, and slow if that loop covers only the C numbers of a pixel.
"""

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view


def flip(x: np.ndarray, draws: np.ndarray) -> np.ndarray:
    """Mirror the examples (B, H, W, C) whose `draws` (B, 1) are below 0.5."""
    chosen = np.flatnonzero(draws[:, 0] < 0.5)
    old, out = x[chosen], x.copy()
    new = np.empty_like(old)
    for channel in range(
        x.shape[-1]
    ):  # the innermost loop then runs over the W numbers of a row, not the C of a pixel
        new[..., channel] = old[:, :, ::-1, channel]
    out[chosen] = new
    return out


def crop(x: np.ndarray, draws: np.ndarray, part: int = 8) -> np.ndarray:
    """Shift examples (B, H, W, C) by up to 1/`part` of their size, set by `draws` (B, 2); edges are reflected."""
    count, height, width, channels = x.shape
    most = (height // part, width // part)
    top, left = (np.floor(draws[:, at] * (2 * most[at] + 1)).astype(np.intp) for at in (0, 1))
    lines = np.abs(top[:, None] - most[0] + np.arange(height))  # (B, H): the source line of each new line
    lines = height - 1 - np.abs(height - 1 - lines)
    wide = _reflect_sides(x, most[1])
    # (B H, 2 most C + 1, W C): a view of each line from every offset; nothing is copied
    views = sliding_window_view(wide.reshape(count * height, wide.shape[2] * channels), width * channels, axis=1)
    at = (np.arange(count)[:, None] * height + lines, left[:, None] * channels)
    return views[at].reshape(x.shape)


def _reflect_sides(x: np.ndarray, by: int) -> np.ndarray:
    """Return (B, H, W + 2 by, C), as `np.pad` with mode "reflect" does, which is slower: it works pixel by pixel."""
    count, height, width, channels = x.shape
    out = np.empty((count, height, width + 2 * by, channels), x.dtype)
    out[:, :, by : by + width] = x
    for channel in range(channels):
        out[:, :, :by, channel] = x[:, :, by:0:-1, channel]
        out[:, :, by + width :, channel] = x[:, :, width - 2 : width - 2 - by : -1, channel]
    return out
