"""ConvNeXt: depthwise 7x7, LayerNorm on permuted axes, layer scale."""

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F


def inputs():
    return np.random.default_rng(7).normal(size=(2, 3, 16, 20)).astype(np.float32)


class LayerNorm2d(nn.LayerNorm):
    """Over the channels of (batch, channels, height, width)."""

    def forward(self, input):
        x = input.permute(0, 2, 3, 1)
        x = F.layer_norm(x, self.normalized_shape, self.weight, self.bias, self.eps)
        return x.permute(0, 3, 1, 2)


class Block(nn.Module):
    def __init__(self, dim, layer_scale=0.3):
        super().__init__()
        self.dwconv = nn.Conv2d(dim, dim, kernel_size=7, padding=3, groups=dim)
        self.norm = nn.LayerNorm(dim, eps=1e-6)
        self.pwconv1 = nn.Linear(dim, 4 * dim)
        self.act = nn.GELU()
        self.pwconv2 = nn.Linear(4 * dim, dim)
        self.gamma = nn.Parameter(layer_scale * torch.ones(dim))

    def forward(self, x):
        shortcut = x
        x = self.dwconv(x)
        x = x.permute(0, 2, 3, 1)
        x = self.norm(x)
        x = self.act(self.pwconv1(x))
        x = self.pwconv2(x)
        x = self.gamma * x
        x = x.permute(0, 3, 1, 2)
        return shortcut + x


class ConvNeXt(nn.Module):
    def __init__(self, dims=(8, 12), depths=(1, 2), classes=6):
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, dims[0], kernel_size=2, stride=2),
            LayerNorm2d(dims[0], eps=1e-6),
        )
        self.stage1 = nn.Sequential(*[Block(dims[0]) for _ in range(depths[0])])
        self.downsample = nn.Sequential(
            LayerNorm2d(dims[0], eps=1e-6),
            nn.Conv2d(dims[0], dims[1], kernel_size=2, stride=2),
        )
        self.stage2 = nn.Sequential(*[Block(dims[1]) for _ in range(depths[1])])
        self.norm = nn.LayerNorm(dims[1], eps=1e-6)
        self.head = nn.Linear(dims[1], classes)

    def forward(self, x):
        x = self.stage1(self.stem(x))
        x = self.stage2(self.downsample(x))
        x = self.norm(x.mean(dim=(-2, -1)))
        return self.head(x)


def make():
    torch.manual_seed(0)
    return ConvNeXt()
