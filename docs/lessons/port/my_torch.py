"""A small classifier of images in PyTorch, to be ported."""

import torch
from torch import nn
from torch.nn.functional import gelu


class Net(nn.Module):
    """Classify images (N, 1, 8, 8); returns logits (N, 10)."""

    def __init__(self, dim: int = 32):
        super().__init__()
        self.patches = nn.Conv2d(1, dim, 3, stride=2, padding=1)
        self.mix = nn.Conv2d(dim, dim, 3, padding=1)
        self.norm = nn.LayerNorm(dim)
        self.hidden = nn.Linear(dim, 4 * dim)
        self.head = nn.Linear(4 * dim, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return logits."""
        x = gelu(self.patches(x))  # (N, dim, 4, 4)
        x = x + gelu(self.mix(x))
        x = self.norm(x.mean((2, 3)))  # (N, dim)
        return self.head(gelu(self.hidden(x)))
