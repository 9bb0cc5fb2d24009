"""The regularised perceptron for Fashion-MNIST: two hidden layers with BatchNorm, ReLU and Dropout."""

import torch
from torch import nn
from torch.nn.functional import relu

from experiment.registry import Entry
from torchnets.layers import linear


class ANN(nn.Module):
    """784-128-64-num_classes; (N, 1, 28, 28) to (N, num_classes)."""

    def __init__(self, num_classes: int = 10, dropout: float = 0.2):
        super().__init__()
        self.fc1 = nn.Linear(784, 128)
        self.bn1 = nn.BatchNorm1d(128)
        self.drop1 = nn.Dropout(dropout)
        self.fc2 = nn.Linear(128, 64)
        self.bn2 = nn.BatchNorm1d(64)
        self.drop2 = nn.Dropout(dropout)
        self.fc3 = linear(64, num_classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return logits."""
        x = torch.flatten(x, 1)  # (N, 784)
        x = relu(self.bn1(self.fc1(x)))
        x = self.drop1(x)
        x = relu(self.bn2(self.fc2(x)))
        x = self.drop2(x)
        return self.fc3(x)


MODELS = {"ann": Entry(ANN, (28, 28, 1), 109_770, "784-128-64-10, BatchNorm, ReLU, Dropout", "fc3")}
