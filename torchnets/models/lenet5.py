"""LeNet-5: LeCun, Bottou, Bengio and Haffner 1998, "Gradient-based learning applied to document recognition".

As it is taught today: max-pool and ReLU in place of trained subsampling and tanh, all maps connected; with BatchNorm
(Ioffe and Szegedy 2015, arXiv 1502.03167) and dropout (Srivastava et al. 2014) if wanted.
"""

from functools import partial

import torch
from torch import nn
from torch.nn.functional import max_pool2d, relu

from experiment.registry import Entry
from torchnets.layers import linear


class LeNet5(nn.Module):
    """Three convolutions and two linear layers, (N, 1, 32, 32) to (N, num_classes)."""

    def __init__(self, num_classes: int = 10, batch_norm: bool = False, dropout: float = 0.0):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 6, 5)
        self.bn1 = nn.BatchNorm2d(6) if batch_norm else nn.Identity()
        self.conv2 = nn.Conv2d(6, 16, 5)
        self.bn2 = nn.BatchNorm2d(16) if batch_norm else nn.Identity()
        self.conv3 = nn.Conv2d(16, 120, 5)
        self.bn3 = nn.BatchNorm2d(120) if batch_norm else nn.Identity()
        self.drop1 = nn.Dropout(dropout)
        self.fc1 = nn.Linear(120, 84)
        self.bn4 = nn.BatchNorm1d(84) if batch_norm else nn.Identity()
        self.drop2 = nn.Dropout(dropout)
        self.fc2 = linear(84, num_classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return logits."""
        x = max_pool2d(relu(self.bn1(self.conv1(x))), 2)  # (N, 6, 14, 14)
        x = max_pool2d(relu(self.bn2(self.conv2(x))), 2)  # (N, 16, 5, 5)
        x = relu(self.bn3(self.conv3(x)))  # (N, 120, 1, 1)
        x = self.drop1(torch.flatten(x, 1))  # (N, 120)
        x = relu(self.bn4(self.fc1(x)))
        x = self.drop2(x)
        return self.fc2(x)


MODELS = {
    "lenet5": Entry(LeNet5, (32, 32, 1), 61_706, "LeCun et al. 1998", "fc2"),
    "lenet5_bn": Entry(
        partial(LeNet5, batch_norm=True), (32, 32, 1), 62_158, "LeCun et al. 1998, with BatchNorm", "fc2"
    ),
}
