"""An encoder of sound: strided convolutions, GroupNorm, positions by a weight-normed grouped convolution."""

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import weight_norm


def inputs():
    return np.random.default_rng(12).normal(size=(2, 1, 200)).astype(np.float32)


class FeatureEncoder(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.conv0 = nn.Conv1d(1, channels, 10, stride=5, bias=False)
        self.norm = nn.GroupNorm(channels, channels)
        self.conv1 = nn.Conv1d(channels, channels, 4, stride=2, padding=1, bias=False)

    def forward(self, x):
        x = F.gelu(self.norm(self.conv0(x)))
        return F.gelu(self.conv1(x))


class PositionalConv(nn.Module):
    def __init__(self, channels, kernel, groups):
        super().__init__()
        conv = nn.Conv1d(channels, channels, kernel, padding=kernel // 2, groups=groups)
        self.conv = weight_norm(conv, dim=2)

    def forward(self, x):
        y = self.conv(x)[:, :, :-1]  # an even kernel gives one too many
        return x + F.gelu(y)


class SeparableBlock(nn.Module):
    def __init__(self, channels, dilation):
        super().__init__()
        self.depthwise = nn.Conv1d(channels, channels, 3, padding=dilation, dilation=dilation, groups=channels)
        self.pointwise = nn.Conv1d(channels, channels, 1)
        self.norm = nn.GroupNorm(2, channels)

    def forward(self, x):
        y = self.pointwise(self.depthwise(x))
        return x + F.leaky_relu(self.norm(y), 0.1)


class SpeechEncoder(nn.Module):
    emphasis: torch.Tensor

    def __init__(self, channels=8, dim=12, classes=5):
        super().__init__()
        self.register_buffer("emphasis", torch.tensor([[[-0.875, 1.0]]]))
        self.features = FeatureEncoder(channels)
        self.projection = nn.Conv1d(channels, dim, 1)
        self.positions = PositionalConv(dim, kernel=6, groups=3)
        self.blocks = nn.ModuleList([SeparableBlock(dim, 1), SeparableBlock(dim, 2)])
        self.head = nn.Linear(2 * dim, classes)

    def forward(self, wave):
        wave = F.conv1d(wave, self.emphasis)
        x = self.projection(self.features(wave))
        x = self.positions(x)
        for block in self.blocks:
            x = block(x)
        mean, std = x.mean(dim=2), x.std(dim=2)
        logits = self.head(torch.cat([mean, std], dim=1))
        return logits, x


def make():
    torch.manual_seed(0)
    return SpeechEncoder()
