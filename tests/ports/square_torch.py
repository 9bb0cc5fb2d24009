"""Square matrices alone, which no shape tells apart: a gated residual network of one width."""

import numpy as np
import torch
from torch import nn


def inputs():
    return np.random.default_rng(13).normal(size=(4, 8)).astype(np.float32)


class Highway(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.transform = nn.Linear(width, width)
        self.gate = nn.Linear(width, width)
        self.mix = nn.Parameter(torch.eye(width) + 0.2 * torch.randn(width, width))

    def forward(self, x):
        gate = torch.sigmoid(self.gate(x))
        y = torch.tanh(self.transform(x))
        y = y * gate + x * (1 - gate)
        return y @ self.mix


class Network(nn.Module):
    def __init__(self, width=8, depth=3):
        super().__init__()
        self.first = nn.Linear(width, width, bias=False)
        self.layers = nn.ModuleList([Highway(width) for _ in range(depth)])
        self.last = nn.Linear(width, width)

    def forward(self, x):
        x = self.first(x)
        for layer in self.layers:
            x = layer(x)
        x = torch.tanh(self.last(x))
        return x @ self.first.weight  # tied, the other way round


def make():
    torch.manual_seed(0)
    return Network()
