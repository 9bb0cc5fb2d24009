"""AlexNet: Krizhevsky 2014, "One weird trick for parallelizing convolutional neural networks", arXiv 1404.5997.

`alexnet` has torchvision's names and shapes; `alexnet_cifar` has the strides for which 32x32 pixels are enough.
"""

from functools import partial
from typing import Literal

import torch
from torch import nn
from torch.nn.functional import adaptive_avg_pool2d

from experiment.registry import Entry, Small
from torchnets.layers import linear

Rows = tuple[tuple[int, int, int, int] | Literal["pool"], ...]  # (channels, kernel, stride, padding)
TAIL: Rows = ((384, 3, 1, 1), (256, 3, 1, 1), (256, 3, 1, 1), "pool")
IMAGENET: Rows = ((64, 11, 4, 2), "pool", (192, 5, 1, 2), "pool", *TAIL)
CIFAR: Rows = ((64, 5, 1, 2), "pool", (192, 5, 1, 2), "pool", *TAIL)


class AlexNet(nn.Module):
    """Five convolutions and three linear layers, (N, 3, H, W) to (N, num_classes)."""

    def __init__(
        self,
        rows: Rows = IMAGENET,
        width: int = 64,  # channels of the first convolution; those of the others in proportion
        pooled: int = 6,
        hidden: int = 4096,
        num_classes: int = 1000,
        dropout: float = 0.5,
    ):
        super().__init__()
        self.pooled = pooled
        features, channels = [], 3
        for row in rows:
            if row == "pool":
                features += [nn.MaxPool2d(3, 2)]
            else:
                out = row[0] * width // 64
                features += [nn.Conv2d(channels, out, *row[1:]), nn.ReLU()]
                channels = out
        self.features = nn.Sequential(*features)
        self.classifier = nn.Sequential(
            nn.Dropout(dropout),
            nn.Linear(channels * pooled**2, hidden),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(hidden, hidden),
            nn.ReLU(),
            linear(hidden, num_classes),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return logits."""
        x = self.features(x)
        x = adaptive_avg_pool2d(x, self.pooled)  # (N, 256, pooled, pooled)
        x = torch.flatten(x, 1)
        return self.classifier(x)


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
