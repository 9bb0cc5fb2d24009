"""A convolutional network for Fashion-MNIST: two convolutions with BatchNorm, three linear layers with Dropout."""

import torch
from torch import nn
from torch.nn.functional import max_pool2d, relu

from experiment.registry import Entry
from torchnets.layers import linear


class FashionCNN(nn.Module):
    """Convolutions 32-64, linear 3136-128-64-num_classes; (N, 1, 28, 28) to (N, num_classes)."""

    def __init__(self, num_classes: int = 10, dropout: float = 0.25):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 32, 3, padding=1)
        self.bn1 = nn.BatchNorm2d(32)
        self.conv2 = nn.Conv2d(32, 64, 3, padding=1)
        self.bn2 = nn.BatchNorm2d(64)
        self.fc1 = nn.Linear(3136, 128)
        self.drop1 = nn.Dropout(dropout)
        self.fc2 = nn.Linear(128, 64)
        self.drop2 = nn.Dropout(dropout)
        self.fc3 = linear(64, num_classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return logits."""
        x = max_pool2d(relu(self.bn1(self.conv1(x))), 2)  # (N, 32, 14, 14)
        x = max_pool2d(relu(self.bn2(self.conv2(x))), 2)  # (N, 64, 7, 7)
        x = torch.flatten(x, 1)  # (N, 3136)
        x = self.drop1(relu(self.fc1(x)))
        x = self.drop2(relu(self.fc2(x)))
        return self.fc3(x)


MODELS = {"fashion_cnn": Entry(FashionCNN, (28, 28, 1), 429_450, "convolutions 32-64, linear 3136-128-64-10", "fc3")}
