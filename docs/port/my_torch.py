"""A small Inception block in PyTorch: two parallel paths, joined along the channels."""

import torch
from torch import nn


class Net(nn.Module):
    """Classify (N, 3, H, W) images into ten classes; returns logits (N, 10)."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.conv = nn.Conv2d(8, 8, 3, padding=1)
        self.pool = nn.Sequential(nn.MaxPool2d(3, stride=1, padding=1), nn.Conv2d(8, 8, 1))
        self.norm = nn.BatchNorm2d(16)
        self.head = nn.Linear(16, 10)

    def forward(self, x):
        """Return logits."""
        x = torch.relu(self.stem(x))
        x = torch.cat([self.conv(x), self.pool(x)], dim=1)
        return self.head(torch.relu(self.norm(x)).mean((2, 3)))
