"""MLP-Mixer."""

import numpy as np
import torch
from torch import nn


def inputs():
    return np.random.default_rng(10).normal(size=(2, 3, 8, 12)).astype(np.float32)


class FeedForward(nn.Sequential):
    def __init__(self, dim, hidden):
        super().__init__(nn.Linear(dim, hidden), nn.GELU(), nn.Linear(hidden, dim))


class MixerBlock(nn.Module):
    def __init__(self, patches, dim, token_hidden, channel_hidden):
        super().__init__()
        self.norm1 = nn.LayerNorm(dim)
        self.token_mix = FeedForward(patches, token_hidden)
        self.norm2 = nn.LayerNorm(dim)
        self.channel_mix = FeedForward(dim, channel_hidden)

    def forward(self, x):
        y = self.norm1(x).transpose(1, 2)
        y = self.token_mix(y).transpose(1, 2)
        x = x + y
        return x + self.channel_mix(self.norm2(x))


class Mixer(nn.Module):
    def __init__(self, patch=4, dim=10, depth=2, patches=6, classes=4):
        super().__init__()
        self.patch = patch
        self.to_patches = nn.Linear(3 * patch * patch, dim)
        self.blocks = nn.Sequential(*[MixerBlock(patches, dim, 14, 18) for _ in range(depth)])
        self.norm = nn.LayerNorm(dim)
        self.head = nn.Linear(dim, classes)

    def forward(self, x):
        batch, channels, height, width = x.shape
        p = self.patch
        x = x.reshape(batch, channels, height // p, p, width // p, p)
        x = x.permute(0, 2, 4, 3, 5, 1)
        x = x.reshape(batch, (height // p) * (width // p), p * p * channels)
        x = self.blocks(self.to_patches(x))
        return self.head(self.norm(x).mean(dim=1))


def make():
    torch.manual_seed(0)
    return Mixer()
