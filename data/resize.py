"""Fitting the size and the number of channels of a dataset's examples to a network."""

from collections.abc import Callable

import numpy as np
from PIL import Image

from data.base import KINDS, DataError, Dataset, Split, make_dataset
from data.derived import change_all

LUMA = np.array([299, 587, 114], np.uint32)  # weights of red, green and blue in grey, in thousandths: ITU-R BT.601


def fit_to(dataset: Dataset, input_shape: tuple[int, ...]) -> tuple[Dataset, str | None]:
    """Pad or resize all images or features of a dataset to a network's `input_shape` (H, W, C).

    Images up to a quarter larger (28 to 32) are padded evenly with black, as LeNet-5's authors did; otherwise they are
    resized (bilinear, antialiased). One channel is repeated to give several, and three colours are converted to grey.
    Waveforms are unchanged, since a network for (length, C) accepts any length. The statistics remain those of the
    original pixels.

    Returns:
        The dataset, and a one-line description of the change; None if there is none.

    Raises:
        DataError: the kind of example or the channels cannot be converted to those of the network.
    """
    inputs, target = dataset.train.inputs, tuple(input_shape)
    kind, found = KINDS[inputs.ndim, inputs.dtype.name], inputs.shape[1:]
    fits = found[-1] == target[-1] or found[-1] == 1 or (kind == "images" and (found[-1], target[-1]) == (3, 1))
    if len(found) != len(target) or not fits or (kind == "waveforms" and found[-1] != target[-1]):
        raise DataError(f"the network takes inputs of {_name(target)}, the dataset has {kind} of {_name(found)}")
    if kind == "waveforms" or found == target:
        return dataset, None
    steps = []
    if found[-1] > target[-1]:  # before resizing, which then has a third of the work
        dataset = _to_grey(dataset)
        steps.append("turned grey")
    if found[:2] != target[:2]:
        dataset, how = _to_size(dataset, target[0], target[1], kind)
        steps.append(f"{how} to {_name((*target[:2], min(found[-1], target[-1])))}")
    if found[-1] < target[-1]:  # after resizing, for the same reason
        dataset = _to_channels(dataset, target[-1])
        steps.append(f"repeated to {_name(target)}")
    return dataset, f"{kind} of {_name(found)} are {' and '.join(steps)}"


def _map(dataset: Dataset, change: Callable[[np.ndarray], np.ndarray], name: str) -> Dataset:
    """Apply `change`, of that name in a cache, to the inputs of every split."""

    def one(split: Split) -> Split:
        return Split(change_all(split.inputs, name, change), split.labels)

    validation = one(dataset.validation) if dataset.validation else None
    windows = {name: found._replace(inputs=change(found.inputs)) for name, found in dataset.windows.items()}
    return dataset._replace(train=one(dataset.train), test=one(dataset.test), validation=validation, windows=windows)


def _to_grey(dataset: Dataset) -> Dataset:
    """Convert colours to one grey channel and compute its statistics: those of the colours do not give them."""

    def grey(images: np.ndarray) -> np.ndarray:
        made = np.empty((*images.shape[:3], 1), np.uint8)
        for start in range(0, len(images), 1000):  # in pieces: uint32 takes four times the memory of the pixels
            made[start : start + 1000, ..., 0] = (images[start : start + 1000] @ LUMA + 500) // 1000
        return made

    changed = _map(dataset, grey, "grey")
    grey_ones = make_dataset(changed.train, changed.test, dataset.classes)
    return changed._replace(mean=grey_ones.mean, std=grey_ones.std)


def _to_channels(dataset: Dataset, channels: int) -> Dataset:
    changed = _map(dataset, lambda inputs: np.repeat(inputs, channels, axis=-1), f"repeat{channels}")
    return changed._replace(mean=np.repeat(dataset.mean, channels), std=np.repeat(dataset.std, channels))


def _to_size(dataset: Dataset, height: int, width: int, kind: str) -> tuple[Dataset, str]:
    old_height, old_width = dataset.train.inputs.shape[1:3]
    padding = ((height - old_height, old_height), (width - old_width, old_width))
    # Features are not padded: no value in decibels stands for silence.
    if kind == "images" and all(0 <= pad <= size // 4 for pad, size in padding):
        return _map(dataset, lambda inputs: _pad(inputs, height, width), f"pad{height}x{width}"), "padded"
    return _map(dataset, lambda inputs: _resize(inputs, height, width), f"resize{height}x{width}"), "resized"


def _pad(images: np.ndarray, height: int, width: int) -> np.ndarray:
    (top, left) = (height - images.shape[1]) // 2, (width - images.shape[2]) // 2
    padded = np.zeros((len(images), height, width, images.shape[3]), np.uint8)
    padded[:, top : top + images.shape[1], left : left + images.shape[2]] = images
    return padded


def _resize(inputs: np.ndarray, height: int, width: int) -> np.ndarray:
    """Resize channel by channel: uint8 in Pillow's mode "L", float32 in "F"."""
    resized = np.empty((len(inputs), height, width, inputs.shape[3]), inputs.dtype)
    for new, old in zip(resized, inputs, strict=True):
        for channel in range(inputs.shape[3]):
            picture = Image.fromarray(np.ascontiguousarray(old[..., channel]))
            new[..., channel] = np.asarray(picture.resize((width, height), Image.Resampling.BILINEAR))
    return resized


def _name(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))
