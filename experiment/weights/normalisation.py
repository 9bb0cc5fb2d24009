"""--normalize: the mean and deviation by which inputs are normalised, the dataset's own or ImageNet's."""

from collections.abc import Mapping

import numpy as np

from data import Dataset
from data.base import KINDS
from data.errors import UserError
from experiment.config import Config
from experiment.registry import Entry

# Of ImageNet, as in torchvision.
MEAN = np.array((0.485, 0.456, 0.406), np.float32)
STD = np.array((0.229, 0.224, 0.225), np.float32)
CLASSES = 1000  # of ImageNet
SAID = "inputs are normalised by ImageNet's mean and deviation, as the pretrained weights need (--normalize imagenet)"


def normalised(dataset: Dataset, config: Config) -> Dataset:
    """Return a dataset that is fitted to the network, with the statistics of --normalize.

    Raises:
        UserError: ImageNet's are asked for, but the network does not take pictures in colour.
    """
    if config.normalize != "imagenet":
        return dataset
    inputs = dataset.train.inputs
    kind, shape = KINDS[inputs.ndim, inputs.dtype.name], "x".join(map(str, inputs.shape[1:]))
    if kind != "images" or inputs.shape[-1] != len(MEAN):
        raise UserError(f"--normalize imagenet is for pictures in colour; {config.model_name} takes {kind} of {shape}")
    return dataset._replace(mean=MEAN, std=STD)


def takes_colour(entry: Entry | None, config: Config) -> bool:
    """Return whether a network takes pictures in colour, and so may have been trained on ImageNet."""
    return (
        entry is not None and len(entry.input_shape) == 3 and entry.input_shape[2] == 3 and config.frontend == "none"
    )


def of_imagenet(weights: Mapping[str, np.ndarray]) -> bool:
    """Return whether weights are of a network for ImageNet's classes: its last layer has as many biases."""
    return any(name.endswith("bias") and array.shape == (CLASSES,) for name, array in weights.items())
