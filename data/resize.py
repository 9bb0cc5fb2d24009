"""Making a dataset's images the size that a network takes."""

import numpy as np
from PIL import Image

from data.base import DataError, Dataset, Split


def fit_to(dataset: Dataset, input_shape: tuple[int, ...]) -> tuple[Dataset, str | None]:
    """Pad or resize all images of a dataset to a network's `input_shape` (H, W, C).

    Up to a quarter larger (28 to 32) they are padded evenly with black, as LeNet-5's authors did;
    otherwise resized (bilinear, antialiased). The statistics stay those of the original pixels.

    Returns:
        The dataset, and one line on what was done; None if nothing was.

    Raises:
        DataError: the channels or the rank differ, which no resizing mends.
    """
    found = dataset.train.inputs.shape[1:]
    if found == tuple(input_shape):
        return dataset, None
    if len(found) != len(input_shape) or found[-1] != input_shape[-1]:
        raise DataError(f"the network takes inputs of {_name(input_shape)}, the dataset has {_name(found)}")
    (height, width), (new_height, new_width) = found[:2], input_shape[:2]
    padding = (new_height - height, new_width - width)
    if all(0 <= pad <= size // 4 for pad, size in zip(padding, found[:2], strict=True)):
        change, how = _pad, f"padded to {_name(input_shape)}"
    else:
        change, how = _resize, f"resized to {_name(input_shape)}"
    train, test = (
        Split(change(split.inputs, new_height, new_width), split.labels) for split in (dataset.train, dataset.test)
    )
    return dataset._replace(train=train, test=test), f"images of {_name(found)} are {how}"


def _pad(images: np.ndarray, height: int, width: int) -> np.ndarray:
    (top, left) = (height - images.shape[1]) // 2, (width - images.shape[2]) // 2
    padded = np.zeros((len(images), height, width, images.shape[3]), np.uint8)
    padded[:, top : top + images.shape[1], left : left + images.shape[2]] = images
    return padded


def _resize(images: np.ndarray, height: int, width: int) -> np.ndarray:
    def one(channel: np.ndarray) -> np.ndarray:
        return np.asarray(Image.fromarray(channel).resize((width, height), Image.Resampling.BILINEAR))

    return np.stack([np.stack([one(c) for c in np.moveaxis(image, -1, 0)], axis=-1) for image in images])


def _name(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))
