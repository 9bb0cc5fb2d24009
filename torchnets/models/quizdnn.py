"""QuizDNN: a densely added network for CIFAR-10, in which each layer is given the sum of those before it."""

import torch
from torch import nn
from torch.nn.functional import max_pool2d, relu

from experiment.registry import Entry, Small
from torchnets.layers import global_average_pool, linear


class Unit(nn.Module):
    """A 3x3 convolution, then ReLU, then BatchNorm (in this order); (N, C, H, W) to (N, width, H, W)."""

    def __init__(self, in_channels: int, width: int):
        super().__init__()
        self.conv = nn.Conv2d(in_channels, width, 3, padding=1)
        self.bn = nn.BatchNorm2d(width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the normalised activations."""
        return self.bn(relu(self.conv(x)))


class QuizDNN(nn.Module):
    """Nine units in three groups; (N, 3, 32, 32) to (N, num_classes). The numbers are those of the activations."""

    def __init__(self, num_classes: int = 10, width: int = 64):
        super().__init__()
        self.unit1 = Unit(3, width)
        self.unit2 = Unit(width, width)
        self.unit3 = Unit(width, width)
        self.unit5 = Unit(width, width)
        self.unit6 = Unit(width, width)
        self.unit7 = Unit(width, width)
        self.unit9 = Unit(width, width)
        self.unit10 = Unit(width, width)
        self.unit11 = Unit(width, width)
        self.fc = linear(width, num_classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return logits."""
        x1 = self.unit1(x)  # (N, 64, 32, 32)
        x2 = self.unit2(x1)
        x3 = self.unit3(x1 + x2)
        x4 = max_pool2d(x1 + x2 + x3, 2)  # (N, 64, 16, 16)
        x5 = self.unit5(x4)
        x6 = self.unit6(x4 + x5)
        x7 = self.unit7(x4 + x5 + x6)
        x8 = max_pool2d(x5 + x6 + x7, 2)  # (N, 64, 8, 8)
        x9 = self.unit9(x8)
        x10 = self.unit10(x8 + x9)
        x11 = self.unit11(x8 + x9 + x10)
        return self.fc(global_average_pool(x11))


MODELS = {
    "quizdnn": Entry(
        QuizDNN,
        (32, 32, 3),
        299_018,
        "nine 3x3 convolutions of 64, added up",
        "fc",
        any_size=True,
        small=Small((32, 32, 3), {"width": 8}),
    )
}
