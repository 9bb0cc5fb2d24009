"""An encoder of three layers with PyTorch's own `nn.TransformerEncoderLayer`."""

import numpy as np
import torch
from torch import nn


def inputs():
    return np.random.default_rng(9).normal(size=(2, 6, 7)).astype(np.float32)


class Encoder(nn.Module):
    def __init__(self, features=7, dim=24, heads=3, hidden=40, layers=3, classes=4):
        super().__init__()
        self.project = nn.Linear(features, dim)
        layer = nn.TransformerEncoderLayer(
            dim, heads, hidden, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
        )
        self.encoder = nn.TransformerEncoder(layer, layers, norm=nn.LayerNorm(dim), enable_nested_tensor=False)
        for layer in self.encoder.layers:  # copies of one layer would be equal
            for parameter in layer.parameters():
                nn.init.normal_(parameter, mean=0.1, std=0.2)
        self.head = nn.Linear(dim, classes)

    def forward(self, x):
        x = self.encoder(self.project(x))
        return self.head(x.mean(dim=1))


def make():
    torch.manual_seed(0)
    return Encoder()
