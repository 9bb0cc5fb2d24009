"""The network of the quickest trainings on CIFAR-10: Jordan 2024, "94% on CIFAR-10 in 3.29 Seconds", arXiv 2404.00498.

Its first layer is never trained: it whitens patches of 2x2 pixels, and starts as the training examples have them.
"""

import torch
from torch import nn
from torch.nn.functional import gelu, max_pool2d

from experiment.registry import Entry, Small
from torchnets.layers import conv2d, identity_first, linear


class Group(nn.Module):
    """Two 3x3 convolutions, the first one pooled; (N, in_channels, H, W) to (N, width, H // 2, W // 2)."""

    def __init__(self, in_channels: int, width: int):
        super().__init__()
        self.conv1 = conv2d(in_channels, width, 3, padding=1, bias=False, init=identity_first)
        self.norm1 = nn.BatchNorm2d(width, momentum=0.4)
        self.conv2 = conv2d(width, width, 3, padding=1, bias=False, init=identity_first)
        self.norm2 = nn.BatchNorm2d(width, momentum=0.4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the activations of the second one."""
        x = gelu(self.norm1(max_pool2d(self.conv1(x), 2)))
        return gelu(self.norm2(self.conv2(x)))


class Airbench(nn.Module):
    """Whitening, three groups, a linear layer; (N, 3, 32, 32) to (N, num_classes)."""

    def __init__(self, num_classes: int = 10, width: int = 64):
        super().__init__()
        self.whiten = conv2d(3, 24, 2, bias=False)  # 12 directions, and their opposites for the GELU behind them
        self.group1 = Group(24, width)
        self.group2 = Group(width, 4 * width)
        self.group3 = Group(4 * width, 4 * width)
        self.fc = linear(4 * width, num_classes)
        self.whiten.requires_grad_(False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return logits."""
        x = gelu(self.whiten(x))  # (N, 24, 31, 31)
        x = self.group1(x)  # (N, 64, 15, 15)
        x = self.group2(x)  # (N, 256, 7, 7)
        x = self.group3(x)  # (N, 256, 3, 3)
        return self.fc(torch.flatten(max_pool2d(x, 3), 1))


MODELS = {
    "airbench": Entry(
        Airbench,
        (32, 32, 3),
        1_972_490,
        "Jordan 2024, arXiv 2404.00498",
        "fc",
        num_frozen=288,
        small=Small((32, 32, 3), {"width": 8}),
        whitens="whiten",
    )
}
