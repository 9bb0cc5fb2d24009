"""The simplest convolutional network for CIFAR-10: two convolutions, two max-pools, one linear layer."""

import torch
from torch import nn
from torch.nn.functional import max_pool2d, relu

from experiment.registry import Entry
from torchnets.layers import linear


class SimpleCNN(nn.Module):
    """Convolutions 32-64, linear 4096-num_classes; (N, 3, 32, 32) to (N, num_classes)."""

    def __init__(self, num_classes: int = 10):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 32, 3, padding=1)
        self.conv2 = nn.Conv2d(32, 64, 3, padding=1)
        self.fc = linear(4096, num_classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return logits."""
        x = max_pool2d(relu(self.conv1(x)), 2)  # (N, 32, 16, 16)
        x = max_pool2d(relu(self.conv2(x)), 2)  # (N, 64, 8, 8)
        x = torch.flatten(x, 1)  # (N, 4096)
        return self.fc(x)


MODELS = {"simple_cnn": Entry(SimpleCNN, (32, 32, 3), 60_362, "convolutions 32-64, linear 4096-10", "fc")}
