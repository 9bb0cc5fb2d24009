"""VGG: Simonyan and Zisserman 2015, "Very deep convolutional networks for large-scale image recognition".

arXiv 1409.1556, in torchvision's names and shapes; the `_bn` variants have a BatchNorm after each convolution.
"""

from functools import partial

import torch
from torch import nn
from torch.nn.functional import adaptive_avg_pool2d

from experiment.registry import Entry, Small
from torchnets.layers import conv2d, he_normal, linear, normal_001


class VGG(nn.Module):
    """Five blocks of 3x3 convolutions and three linear layers, (N, 3, H, W) to (N, num_classes)."""

    def __init__(
        self,
        depths: tuple[int, ...],  # convolutions in each block
        batch_norm: bool = False,
        width: int = 64,  # channels of the first block; they double up to eight times that
        hidden: int = 4096,
        num_classes: int = 1000,
        dropout: float = 0.5,
    ):
        super().__init__()
        features, channels = [], 3
        for block, depth in enumerate(depths):
            out = width * min(2**block, 8)
            for _ in range(depth):
                features += [conv2d(channels, out, 3, padding=1, init=he_normal, zero_bias=True)]
                features += [nn.BatchNorm2d(out), nn.ReLU()] if batch_norm else [nn.ReLU()]
                channels = out
            features += [nn.MaxPool2d(2)]
        self.features = nn.Sequential(*features)
        self.classifier = nn.Sequential(
            linear(channels * 49, hidden, init=normal_001, zero_bias=True),
            nn.ReLU(),
            nn.Dropout(dropout),
            linear(hidden, hidden, init=normal_001, zero_bias=True),
            nn.ReLU(),
            nn.Dropout(dropout),
            linear(hidden, num_classes, init=normal_001, zero_bias=True),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return logits."""
        x = self.features(x)
        x = adaptive_avg_pool2d(x, 7)  # (N, 8 * width, 7, 7)
        x = torch.flatten(x, 1)
        return self.classifier(x)


DEPTHS = {"vgg11": (1, 1, 2, 2, 2), "vgg13": (2, 2, 2, 2, 2), "vgg16": (2, 2, 3, 3, 3), "vgg19": (2, 2, 4, 4, 4)}
QUICK = {"vgg11": (1, 1, 2, 2, 2), "vgg13": (2, 2, 1, 1, 1), "vgg16": (1, 1, 3, 1, 1), "vgg19": (1, 1, 1, 1, 4)}
NUM_PARAMS = {
    "vgg11": 132_863_336,
    "vgg11_bn": 132_868_840,
    "vgg13": 133_047_848,
    "vgg13_bn": 133_053_736,
    "vgg16": 138_357_544,
    "vgg16_bn": 138_365_992,
    "vgg19": 143_667_240,
    "vgg19_bn": 143_678_248,
}
MODELS = {
    name: Entry(
        partial(VGG, depths=DEPTHS[name.removesuffix("_bn")], batch_norm=name.endswith("_bn")),
        (224, 224, 3),
        count,
        "Simonyan and Zisserman 2015, arXiv 1409.1556",
        "classifier.6",
        small=Small(
            (64, 64, 3), {"width": 8, "hidden": 64, "num_classes": 10}, {"depths": QUICK[name.removesuffix("_bn")]}
        ),
        torchvision=name,
    )
    for name, count in NUM_PARAMS.items()
}
