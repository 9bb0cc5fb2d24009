"""Augmentation of whole batches, equal for every framework and batch size.

The random numbers are drawn in numpy once per epoch, one row for each example, so the augmentation of an example
depends only on the seed, the epoch and the example's index. The arithmetic is written once for all array libraries
with numpy's names: `xp` is numpy, `jax.numpy` or `torch`, and the examples may be on any device. Examples are channels
last, pixels in 0..1 and waveforms in -1..1.
"""

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from data import numpy_augment
from data.base import KINDS, DataError
from data.errors import UserError
from data.registry import lookup

DRAWS, MIXUP = 5, 6  # keys of the generators beside (seed, epoch); `data.loader` uses none
AREA, RATIO, TRIES = (0.08, 1.0), (3 / 4, 4 / 3), 10  # of RandomResizedCrop, as in torchvision
NOISE = 2**16  # samples of noise; each waveform uses a random section of them


class Augmentation(NamedTuple):
    """An augmentation and the kind of inputs it applies to."""

    kind: str  # of inputs, one of `data.base.KINDS`
    draws: int  # number of uniform random numbers in 0..1 per example
    apply: Callable[[Any, Any, Any, Any], Any]  # (xp, examples, draws (B, draws), fill (C,)) -> examples
    about: str
    # The version in `data.numpy_augment`, if the augmentation only moves values.
    move: Callable[[np.ndarray, np.ndarray], np.ndarray] | None = None
    alternates: bool = False  # its random numbers alternate between below and above 0.5 from epoch to epoch


def augmentations(text: str) -> tuple[str, ...]:
    """Return the names in a comma-separated text such as "flip,crop"; "none" has no names.

    Raises:
        UserError: a name is unknown or occurs twice.
    """
    if text == "none":
        return ()
    names = tuple(name.strip() for name in text.split(","))
    for name in names:
        lookup("augmentation", name, AUGMENTATIONS)
        if names.count(name) > 1:
            raise UserError(f"augmentation '{name}' is named twice in '{text}'")
    return names


def check_augmentations(names: Sequence[str], inputs: np.ndarray, tta: str = "none") -> None:
    """Check that the augmentations apply to inputs of this kind.

    Raises:
        DataError: one does not; the message names those that do.
    """
    kind = KINDS[inputs.ndim, inputs.dtype.name]
    if tta != "none" and kind != "images":
        raise DataError(f"--tta {tta} is for images, found {kind}; leave it out")
    for name in names:
        if (wanted := AUGMENTATIONS[name].kind) != kind:
            fitting = ", ".join(other for other, entry in AUGMENTATIONS.items() if entry.kind == kind)
            raise DataError(f"augmentation '{name}' is for {wanted}, found {kind}; for those there are: {fitting}")


def draw(names: Sequence[str], count: int, seed: int, epoch: int) -> np.ndarray:
    """Draw the random numbers of an epoch, one row for each of `count` examples: float32 in [0, 1)."""
    shape = count, columns(names)
    drawn = np.random.default_rng([seed, epoch, DRAWS]).random(shape, np.float32)
    alternating = np.repeat(
        [AUGMENTATIONS[name].alternates for name in names], [AUGMENTATIONS[n].draws for n in names]
    )
    if epoch and alternating.any():  # these are multiples of 2^-24, so adding 0.5 is exact
        first = np.random.default_rng([seed, 0, DRAWS]).random(shape, np.float32)[:, alternating]
        drawn[:, alternating] = (first + np.float32(epoch % 2 / 2)) % 1
    return drawn


def draw_shares(alpha: float, count: int, seed: int, epoch: int) -> np.ndarray:
    """Draw the weight of each of `count` examples in its own mixture by mixup, (count,) float32 in 0.5..1."""
    shares = np.random.default_rng([seed, epoch, MIXUP]).beta(alpha, alpha, count)
    return np.maximum(shares, 1 - shares).astype(np.float32)


def augment(x: Any, draws: Any, names: Sequence[str], fill: Any, xp: Any = np) -> Any:
    """Apply the augmentations `names` in order to examples (B, ..., C).

    Args:
        x: the examples, float32; of any dtype if `leading_moves` counts all names.
        draws: their rows of `draw`, (B, numbers) float32.
        names: names in AUGMENTATIONS.
        fill: value for erased parts of an example, (C,): the mean of the training set.
        xp: the array library.
    """
    start = 0
    for name in names:
        entry = AUGMENTATIONS[name]
        own = draws[:, start : start + entry.draws]
        x = entry.move(x, own) if entry.move and xp is np else entry.apply(xp, x, own, fill)
        start += entry.draws
    return x


def leading_moves(names: Sequence[str]) -> int:
    """Return how many of the first `names` only move values, and so can be applied to stored bytes."""
    return next((at for at, name in enumerate(names) if not AUGMENTATIONS[name].move), len(names))


def columns(names: Sequence[str]) -> int:
    """Return the number of random numbers per example for `names`."""
    return sum(AUGMENTATIONS[name].draws for name in names)


def mix(x: Any, targets: Any, shares: Any, xp: Any = np) -> tuple[Any, Any]:
    """Mix the examples (B, ..., C) and targets (B, classes) with those of the reversed batch (mixup).

    Zhang et al. 2018, arXiv 1710.09412; each example has its own weight, `shares` (B,).
    """
    mixed = []
    for values in (x, targets):
        share = _each(shares, values.ndim)
        mixed.append(share * values + (1 - share) * xp.flip(values, (0,)))
    return mixed[0], mixed[1]


def views(x: Any, tta: str, xp: Any = np) -> list[tuple[float, Any]]:
    """Return the views of images (B, H, W, C) for test-time augmentation with their weights, whose sum is 1.

    "flip" has the images and their mirror images, with equal weights. "shift" has six views: both of these unshifted
    (half of the weight), shifted by a pixel up and left (a quarter) and down and right (a quarter), edges reflected.
    """
    if tta == "none":
        return [(1.0, x)]
    moved = [x]
    if tta == "shift":
        for by in (1, -1):
            rows, columns = ([_reflected(at + by, size) for at in range(size)] for size in x.shape[1:3])
            moved.append(x[:, rows][:, :, columns])
    shares = (0.5,) if tta == "flip" else (0.25, 0.125, 0.125)
    both = [(view, xp.flip(view, (2,))) for view in moved]
    return [(share, view) for share, pair in zip(shares, both, strict=True) for view in pair]


def _reflected(at: int, size: int) -> int:
    return size - 1 - abs(size - 1 - abs(at))


def as_type(xp: Any, x: Any, dtype: str) -> Any:
    """Convert `x` to another dtype."""
    return x.to(getattr(xp, dtype)) if xp.__name__ == "torch" else x.astype(dtype, copy=False)


def like(xp: Any, values: np.ndarray, x: Any) -> Any:
    """Convert numpy's `values` to an array of the library and on the device of `x`."""
    return xp.asarray(values, **_place(xp, x))


def _between(draws: Any, low: float, high: float) -> Any:
    return low + (high - low) * draws


def _each(draws: Any, ndim: int) -> Any:
    """Reshape numbers (B,) to broadcast against examples with `ndim` axes."""
    return draws.reshape(-1, *(1,) * (ndim - 1))


def _positions(xp: Any, x: Any, axis: int) -> Any:
    """Return 0, 1, ... along an axis of `x`, (1, length) float32, on its device."""
    return xp.arange(x.shape[axis], dtype=xp.float32, **_place(xp, x))[None]


def _gather(xp: Any, x: Any, rows: Any, columns: Any) -> Any:
    """Return x[b, rows[b, i, j], columns[b, i, j]] for all; the indices are integral floats and may broadcast."""
    examples = xp.arange(x.shape[0], **_place(xp, x))[:, None, None]
    if xp is np:  # numpy is faster with one index for each pixel
        at = (examples * x.shape[1] + rows.astype(np.intp)) * x.shape[2] + columns.astype(np.intp)
        return x.reshape(-1, x.shape[3]).take(at, axis=0)
    rows, columns = (at.long() if xp.__name__ == "torch" else at.astype("int32") for at in (rows, columns))
    return x[examples, rows, columns]


def _place(xp: Any, x: Any) -> dict[str, Any]:
    return {"device": x.device} if xp.__name__ == "torch" else {}  # the other libraries need no device


def _flip(xp: Any, x: Any, draws: Any, _fill: Any) -> Any:
    return xp.where(_each(draws, x.ndim) < 0.5, xp.flip(x, (2,)), x)


def _crop(xp: Any, x: Any, draws: Any, _fill: Any, part: int = 8) -> Any:
    indices = []
    for axis in (1, 2):
        length = x.shape[axis]
        most = length // part
        moved = _positions(xp, x, axis) + (xp.floor(draws[:, axis - 1] * (2 * most + 1)) - most)[:, None]
        back = xp.abs(moved)  # reflected at both ends
        indices.append(length - 1 - xp.abs(length - 1 - back))
    return _gather(xp, x, indices[0][:, :, None], indices[1][:, None, :])


def _cutout(xp: Any, x: Any, draws: Any, fill: Any) -> Any:
    inside: Any = True
    for axis, place in ((1, (slice(None), slice(None), None)), (2, (slice(None), None, slice(None)))):
        side = max(1, x.shape[axis] // 4)
        # The centre is anywhere in the image, so up to half of the square is outside, as in the paper.
        start = xp.floor(draws[:, axis - 1] * x.shape[axis])[:, None] - side // 2
        along = _positions(xp, x, axis)
        inside = inside & ((along >= start) & (along < start + side))[place]
    return xp.where(inside[..., None], fill, x)


def _affine(xp: Any, x: Any, draws: Any, _fill: Any) -> Any:
    height, width = x.shape[1:3]
    angle = _each(_between(draws[:, 0], -1, 1) * math.radians(10), 3)
    scale = _each(_between(draws[:, 1], 0.9, 1.1), 3)
    down, right = (_each(_between(draws[:, at], -1, 1), 3) * size / 16 for at, size in ((2, height), (3, width)))
    # The source position of each new pixel, relative to the centre of the image.
    rows = _positions(xp, x, 1)[:, :, None] - (height - 1) / 2 - down
    columns = _positions(xp, x, 2)[:, None, :] - (width - 1) / 2 - right
    cos, sin = xp.cos(angle) / scale, xp.sin(angle) / scale
    old_rows, old_columns = cos * rows - sin * columns, sin * rows + cos * columns
    middle = (height - 1) / 2, (width - 1) / 2
    return _sample(xp, x, old_rows + middle[0], old_columns + middle[1], ((0, height - 1), (0, width - 1)))


def _sample(xp: Any, x: Any, rows: Any, columns: Any, box: tuple[tuple[Any, Any], tuple[Any, Any]]) -> Any:
    """Return x[b, rows, columns] of positions between pixels (bilinear), none outside of first and last in a box."""
    rows, columns = (xp.clip(at, *ends) for at, ends in zip((rows, columns), box, strict=True))
    top, left = xp.floor(rows), xp.floor(columns)
    below, beside = (xp.clip(at + 1, *ends) for at, ends in zip((top, left), box, strict=True))
    low, aside = (rows - top)[..., None], (columns - left)[..., None]
    upper = _gather(xp, x, top, left) * (1 - aside) + _gather(xp, x, top, beside) * aside
    lower = _gather(xp, x, below, left) * (1 - aside) + _gather(xp, x, below, beside) * aside
    return upper * (1 - low) + lower * low


def random_box(xp: Any, draws: Any, height: int, width: int) -> tuple[Any, Any, Any, Any]:
    """Return top, left, height and width of a random box in each image, each (B,): torchvision's `get_params`.

    Its area is 0.08 to 1 of the image's and its aspect ratio 3/4 to 4/3. Ten boxes are tried; if none fits into the
    image, it is the largest one in the middle.
    """
    area = _between(draws[:, :TRIES], *AREA) * (height * width)
    ratio = xp.exp(_between(draws[:, TRIES:-2], *map(math.log, RATIO)))
    heights, widths = xp.round(xp.sqrt(area / ratio)), xp.round(xp.sqrt(area * ratio))
    fits = (heights > 0) & (heights <= height) & (widths > 0) & (widths <= width)
    none = xp.zeros_like(draws[:, 0])
    tall, wide = none + min(height, round(width / RATIO[0])), none + min(width, round(height * RATIO[1]))
    central = xp.ones_like(none) > 0
    for at in reversed(range(TRIES)):  # the first that fits
        tall, wide = xp.where(fits[:, at], heights[:, at], tall), xp.where(fits[:, at], widths[:, at], wide)
        central = central & ~fits[:, at]
    top = xp.where(central, xp.floor((height - tall) / 2), xp.floor(draws[:, -2] * (height - tall + 1)))
    left = xp.where(central, xp.floor((width - wide) / 2), xp.floor(draws[:, -1] * (width - wide + 1)))
    return top, left, tall, wide


def _resized_crop(xp: Any, x: Any, draws: Any, _fill: Any) -> Any:
    """Crop a random box and resize it to the image: Szegedy et al. 2015, arXiv 1409.4842."""
    height, width = x.shape[1:3]
    top, left, tall, wide = (_each(values, 3) for values in random_box(xp, draws, height, width))
    # The centre of each new pixel in the box; no box is larger than the image, so there is nothing to smooth.
    rows = (_positions(xp, x, 1)[:, :, None] + 0.5) * (tall / height) - 0.5 + top
    columns = (_positions(xp, x, 2)[:, None, :] + 0.5) * (wide / width) - 0.5 + left
    return _sample(xp, x, rows, columns, ((top, top + tall - 1), (left, left + wide - 1)))


def _color(xp: Any, x: Any, draws: Any, _fill: Any) -> Any:
    brightness, contrast, saturation = (_each(_between(draws[:, at], 0.7, 1.3), x.ndim) for at in range(3))
    x = xp.clip(x * brightness, 0, 1)
    x = xp.clip(contrast * x + (1 - contrast) * _each(x.mean((1, 2, 3)), x.ndim), 0, 1)
    return xp.clip(saturation * x + (1 - saturation) * x.mean(-1)[..., None], 0, 1)


def _shift(xp: Any, x: Any, draws: Any, _fill: Any) -> Any:
    length = x.shape[1]
    most = length // 10
    old = _positions(xp, x, 1) - (xp.floor(draws[:, :1] * (2 * most + 1)) - most)
    there = (old >= 0) & (old < length)
    moved = _gather(xp, x[:, None], xp.zeros_like(old)[:, None], xp.clip(old, 0, length - 1)[:, None])[:, 0]
    return xp.where(there[..., None], moved, xp.zeros_like(moved))


def _noise(xp: Any, x: Any, draws: Any, _fill: Any) -> Any:
    # All examples share one long noise signal; each reads it from a random position.
    signal = like(xp, _white(), x)[None, None, :, None]
    start = xp.floor(draws[:, :1] * NOISE)
    at = (start + _positions(xp, x, 1)) % NOISE
    level = _each((x * x).mean((1, 2)) ** 0.5 * 10 ** (-_between(draws[:, 1], 20, 40) / 20), x.ndim)
    return x + level * _gather(xp, signal, xp.zeros_like(at)[:, None], at[:, None])[:, 0]


@functools.cache
def _white() -> np.ndarray:
    return np.random.default_rng(0).normal(size=NOISE).astype(np.float32)


def _gain(_xp: Any, x: Any, draws: Any, _fill: Any) -> Any:
    return x * _each(10 ** (_between(draws[:, 0], -6, 6) / 20), x.ndim)


def _specaugment(xp: Any, x: Any, draws: Any, fill: Any) -> Any:
    """Mask two frequency bands and two time intervals: Park et al. 2019, arXiv 1904.08779."""
    for at, axis in enumerate((1, 1, 2, 2)):
        length = x.shape[axis]
        size = xp.floor(draws[:, 2 * at] * (length // 8 + 1))
        start = xp.floor(draws[:, 2 * at + 1] * (length - size + 1))
        along = _positions(xp, x, axis)
        inside = (along >= start[:, None]) & (along < (start + size)[:, None])
        x = xp.where((inside[:, :, None] if axis == 1 else inside[:, None, :])[..., None], fill, x)
    return x


AUGMENTATIONS: dict[str, Augmentation] = {
    "affine": Augmentation("images", 4, _affine, "turned by up to 10 degrees, moved by 1/16, scaled by 0.9 to 1.1"),
    "altflip": Augmentation("images", 1, _flip, "left and right swapped, every other epoch", numpy_augment.flip, True),
    "color": Augmentation("images", 3, _color, "brightness, contrast and saturation times 0.7 to 1.3"),
    "crop": Augmentation("images", 2, _crop, "moved by up to 1/8 of the size, edges reflected", numpy_augment.crop),
    "cutout": Augmentation("images", 2, _cutout, "a square of a quarter of the size becomes the mean, 1708.04552"),
    "flip": Augmentation("images", 1, _flip, "left and right swapped, half of the time", numpy_augment.flip),
    "gain": Augmentation("waveforms", 1, _gain, "louder or softer by up to 6 dB"),
    "noise": Augmentation("waveforms", 2, _noise, "white noise, 20 to 40 dB softer, is added"),
    "nudge": Augmentation(
        "images",
        2,
        functools.partial(_crop, part=16),
        "moved by up to 1/16 of the size, edges reflected",
        functools.partial(numpy_augment.crop, part=16),
    ),
    "resizedcrop": Augmentation(
        "images", 2 * TRIES + 2, _resized_crop, "RandomResizedCrop: a box of 0.08 to 1 of the area becomes the image"
    ),
    "shift": Augmentation("waveforms", 1, _shift, "earlier or later by up to a tenth of the length"),
    "specaugment": Augmentation(
        "features", 8, _specaugment, "two bands and two stretches become the mean, 1904.08779"
    ),
}
