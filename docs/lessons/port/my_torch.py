"""A small classifier of images in PyTorch: a convolution makes patches, attention and an MLP mix them."""

import torch
from torch import nn
from torch.nn import functional


class Net(nn.Module):
    """Classify images (N, 1, 8, 8); returns logits (N, 10)."""

    def __init__(self, dim=32, heads=4):
        super().__init__()
        self.patches = nn.Conv2d(1, dim, 3, stride=2, padding=1)
        self.norm = nn.BatchNorm2d(dim)
        self.attention = nn.MultiheadAttention(dim, heads, batch_first=True)
        self.mlp_norm = nn.LayerNorm(dim)
        self.mlp_in = nn.Linear(dim, 4 * dim)
        self.mlp_out = nn.Linear(4 * dim, dim)
        self.head = nn.Linear(dim, 10)

    def forward(self, x):
        """Return logits."""
        x = torch.relu(self.norm(self.patches(x)))  # (N, dim, 4, 4)
        x = x.flatten(2).transpose(1, 2)  # (N, 16, dim)
        x = x + self.attention(x, x, x, need_weights=False)[0]
        y = self.mlp_in(self.mlp_norm(x))
        x = x + self.mlp_out(functional.gelu(y))
        return self.head(x.mean(1))
