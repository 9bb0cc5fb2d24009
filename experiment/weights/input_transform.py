"""Detecting whether GoogLeNet's weights expect torchvision's input transform, from the statistics that they hold.

torchvision's published weights were trained on pixels with mean and deviation 0.5, and its network transforms inputs
that are normalised by ImageNet's statistics. The first convolution has no bias, so the running mean behind it is the
mean of each input channel times the sum of that channel's kernel; with ImageNet's statistics that is about 0.
"""

from collections.abc import Mapping

import numpy as np

TRANSFORMED = (np.array((0.485, 0.456, 0.406)) - 0.5) / 0.5  # the mean of ImageNet's pixels, with mean 0.5 removed
STEPS = 50  # after which a running mean is that of the inputs, no longer the initial 0


def expects_transform(weights: Mapping[str, np.ndarray]) -> bool | None:
    """Tell whether weights were trained on inputs as torchvision transforms them; None if they do not tell.

    Args:
        weights: of GoogLeNet, by the names of either framework, in a wrapper or not.
    """
    with np.errstate(all="ignore"):  # a damaged file may hold any numbers
        return _expects_transform(weights)


def _expects_transform(weights: Mapping[str, np.ndarray]) -> bool | None:
    kernel = _ending(weights, "conv1.conv.weight", "conv1/conv/kernel")
    mean = _ending(weights, "conv1.bn.running_mean", "conv1/bn/mean")
    if kernel is None or mean is None or kernel.ndim != 4 or mean.ndim != 1:
        return None
    sums = kernel.sum(axis=(2, 3)) if kernel.shape[0] == len(mean) else kernel.sum(axis=(0, 1)).T
    if sums.shape != (len(mean), 3) or not np.isfinite(sums).all() or not np.isfinite(mean).all() or not mean.any():
        return None
    expected = sums @ TRANSFORMED
    near = np.linalg.norm(expected) / 3
    if np.linalg.norm(mean - expected) < near:
        return True
    steps = _ending(weights, "conv1.bn.num_batches_tracked", "conv1/bn/num_batches_tracked")
    return False if steps is not None and steps.max() >= STEPS and np.linalg.norm(mean) < near else None


def _ending(weights: Mapping[str, np.ndarray], *ends: str) -> np.ndarray | None:
    for name, array in weights.items():
        for end in ends:
            if name == end or name.endswith((f".{end}", f"/{end}")):
                return array.astype(np.float64)
    return None
