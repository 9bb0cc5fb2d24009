"""A user's PyTorch modules, in the ways that people write them."""

from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional as F


class Net(nn.Module):
    """Branches of equal shape that are given the same, equal layers in a row, a function for dropout."""

    def __init__(self, norm: Callable[[int], nn.Module] = nn.BatchNorm2d):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1, bias=False), norm(8), nn.ReLU())
        self.left = nn.Conv2d(8, 8, 3, padding=1)
        self.right = nn.Conv2d(8, 8, 3, padding=1)
        self.up = nn.ConvTranspose2d(16, 8, 3, stride=2, padding=1)
        self.point = nn.Conv2d(8, 8, 1)
        self.fc1, self.fc2, self.head = nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 4)

    def forward(self, x):
        x = self.stem(x)
        x = torch.cat([torch.tanh(self.left(x)), F.silu(self.right(x))], 1)
        x = self.point(self.up(x)).mean((2, 3))
        x = F.dropout(F.relu(self.fc1(x)), 0.3, training=self.training)
        return self.head(torch.tanh(self.fc2(x)))


class Scaled(nn.Module):
    """Tensors of the module's own, of equal shape and never called: nothing tells which is which."""

    def __init__(self):
        super().__init__()
        self.first, self.second = (nn.Parameter(torch.randn(5)) for _ in range(2))
        self.register_buffer("steps", torch.arange(3))

    def forward(self, x):
        return (x * self.first).tanh() * self.second


def plain():
    return Net(nn.Identity)


def pair_of_outputs():
    class Two(Net):
        def forward(self, x):
            return super().forward(x), x

    return Two()


def broken():
    raise RuntimeError("no such weights")


NUMBER = 3
