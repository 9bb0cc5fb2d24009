"""GoogLeNet: Szegedy et al. 2015, "Going deeper with convolutions", arXiv 1409.4842, with BatchNorm.

In torchvision's names and shapes, without auxiliary heads. Two oddities are torchvision's: the path that the paper
calls 5x5 is 3x3, and BatchNorm's epsilon is 1e-3 (traps 2 and 6).
"""

import torch
from torch import nn
from torch.nn.functional import relu

from experiment.registry import Entry, Small
from torchnets.layers import MaxPool, conv2d, global_average_pool, linear, max_pool, normal_001

# Channels of the branches: 1x1; 1x1 then 3x3; 1x1 then "5x5"; max-pool then 1x1.
Channels = tuple[int, int, int, int, int, int]
ROWS: tuple[tuple[str, Channels], ...] = (
    ("inception3a", (64, 96, 128, 16, 32, 32)),
    ("inception3b", (128, 128, 192, 32, 96, 64)),
    ("inception4a", (192, 96, 208, 16, 48, 64)),
    ("inception4b", (160, 112, 224, 24, 64, 64)),
    ("inception4c", (128, 128, 256, 24, 64, 64)),
    ("inception4d", (112, 144, 288, 32, 64, 64)),
    ("inception4e", (256, 160, 320, 32, 128, 128)),
    ("inception5a", (256, 160, 320, 32, 128, 128)),
    ("inception5b", (384, 192, 384, 48, 128, 128)),
)
QUICK: tuple[tuple[str, Channels], ...] = (
    ("inception3a", (16, 16, 32, 8, 8, 8)),
    ("inception4a", (16, 16, 32, 8, 8, 8)),
    ("inception5a", (32, 16, 32, 8, 16, 16)),
)
POOL_BEFORE = {"inception4a": 3, "inception5a": 2}  # sizes; the stride is 2


class BasicConv2d(nn.Module):
    """Convolution, BatchNorm, ReLU."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, stride: int = 1, padding: int = 0):
        super().__init__()
        self.conv = conv2d(in_channels, out_channels, kernel_size, stride, padding, bias=False, init=normal_001)
        self.bn = nn.BatchNorm2d(out_channels, eps=1e-3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the activations."""
        return relu(self.bn(self.conv(x)))


class Inception(nn.Module):
    """Four branches side by side, (N, in_channels, H, W) to (N, the sum of their channels, H, W)."""

    def __init__(self, in_channels: int, channels: Channels):
        super().__init__()
        n, (c1, c3_in, c3, c5_in, c5, c_pool) = in_channels, channels
        self.branch1 = BasicConv2d(n, c1, 1)
        self.branch2 = nn.Sequential(BasicConv2d(n, c3_in, 1), BasicConv2d(c3_in, c3, 3, padding=1))
        self.branch3 = nn.Sequential(BasicConv2d(n, c5_in, 1), BasicConv2d(c5_in, c5, 3, padding=1))
        self.branch4 = nn.Sequential(MaxPool(3, stride=1, padding=1, ceil=True), BasicConv2d(n, c_pool, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the branches' channels, one branch after the other."""
        branches = (self.branch1, self.branch2, self.branch3, self.branch4)
        return torch.cat([branch(x) for branch in branches], dim=1)


class GoogLeNet(nn.Module):
    """Three convolutions, nine Inception blocks, one linear layer; (N, 3, H, W) to (N, num_classes)."""

    def __init__(
        self,
        num_classes: int = 1000,
        rows: tuple[tuple[str, Channels], ...] = ROWS,
        dropout_rate: float = 0.2,
        # From ImageNet's statistics to mean and deviation 0.5, as the published weights want.
        transform_input: bool = False,
    ):
        super().__init__()
        self.rows, self.transform_input = rows, transform_input
        self.conv1 = BasicConv2d(3, 64, 7, stride=2, padding=3)
        self.conv2 = BasicConv2d(64, 64, 1)
        self.conv3 = BasicConv2d(64, 192, 3, padding=1)
        width = 192
        for name, channels in rows:
            setattr(self, name, Inception(width, channels))
            width = channels[0] + channels[2] + channels[4] + channels[5]
        self.dropout = nn.Dropout(dropout_rate)
        self.fc = linear(width, num_classes, init=normal_001)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return logits."""
        if self.transform_input:
            mean, std = x.new_tensor((0.485, 0.456, 0.406)), x.new_tensor((0.229, 0.224, 0.225))
            x = x * (std / 0.5)[:, None, None] + ((mean - 0.5) / 0.5)[:, None, None]
        x = max_pool(self.conv1(x), 3, 2, ceil=True)  # (N, 64, 56, 56) of 224x224
        x = self.conv3(self.conv2(x))
        x = max_pool(x, 3, 2, ceil=True)  # (N, 192, 28, 28)
        for name, _ in self.rows:
            if name in POOL_BEFORE:
                x = max_pool(x, POOL_BEFORE[name], 2, ceil=True)  # (N, 480, 14, 14), (N, 832, 7, 7)
            x = getattr(self, name)(x)
        x = self.dropout(global_average_pool(x))  # (N, 1024)
        return self.fc(x)


MODELS = {
    "googlenet": Entry(
        GoogLeNet,
        (224, 224, 3),
        6_624_904,
        "Szegedy et al. 2015, arXiv 1409.4842",
        "fc",
        any_size=True,
        small=Small((48, 48, 3), {"num_classes": 10}, {"rows": QUICK}),
        torchvision="googlenet",
        pretrained={"transform_input": True},
    )
}
