"""AlexNet: Krizhevsky 2014, "One weird trick for parallelizing convolutional neural networks", arXiv 1404.5997.

`alexnet` has torchvision's names and shapes; `alexnet_cifar` has the strides for which 32x32 pixels are enough.
"""

from functools import partial
from typing import Literal

import jax
from flax import linen as nn

from experiment.registry import Entry, Small
from jaxnets.layers import adaptive_average_pool, conv2d, flatten, linear, max_pool, relu, sequential

Rows = tuple[tuple[int, int, int, int] | Literal["pool"], ...]  # (channels, kernel, stride, padding)
TAIL: Rows = ((384, 3, 1, 1), (256, 3, 1, 1), (256, 3, 1, 1), "pool")
IMAGENET: Rows = ((64, 11, 4, 2), "pool", (192, 5, 1, 2), "pool", *TAIL)
CIFAR: Rows = ((64, 5, 1, 2), "pool", (192, 5, 1, 2), "pool", *TAIL)


class AlexNet(nn.Module):
    """Five convolutions and three linear layers, (N, H, W, 3) to (N, num_classes)."""

    rows: Rows = IMAGENET
    width: int = 64  # channels of the first convolution; those of the others in proportion
    pooled: int = 6
    hidden: int = 4096
    num_classes: int = 1000
    dropout: float = 0.5

    def setup(self):
        features, channels = [], 3
        for row in self.rows:
            if row == "pool":
                features += [partial(max_pool, size=3, stride=2)]
            else:
                out = row[0] * self.width // 64
                features += [conv2d(channels, out, *row[1:]), relu]
                channels = out
        self.features = features
        self.classifier = [
            nn.Dropout(self.dropout),
            linear(channels * self.pooled**2, self.hidden),
            relu,
            nn.Dropout(self.dropout),
            linear(self.hidden, self.hidden),
            relu,
            linear(self.hidden, self.num_classes),
        ]

    def __call__(self, x: jax.Array, *, train: bool = False) -> jax.Array:
        """Return logits."""
        x = sequential(self.features, x, train=train)
        x = adaptive_average_pool(x, self.pooled)  # (N, pooled, pooled, 256)
        x = flatten(x)
        return sequential(self.classifier, x, train=train)


MODELS = {
    "alexnet": Entry(
        AlexNet,
        (224, 224, 3),
        61_100_840,
        "Krizhevsky 2014, arXiv 1404.5997",
        "classifier.6",
        small=Small((64, 64, 3), {"width": 8, "hidden": 64, "num_classes": 10}),
        torchvision="alexnet",
    ),
    "alexnet_cifar": Entry(
        partial(AlexNet, rows=CIFAR, pooled=3, hidden=1024, num_classes=10),
        (32, 32, 3),
        5_871_434,
        "Krizhevsky 2014, arXiv 1404.5997, for 32x32",
        "classifier.6",
        small=Small((32, 32, 3), {"width": 8, "hidden": 64}),
    ),
}
