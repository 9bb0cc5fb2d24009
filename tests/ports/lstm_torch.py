"""A classifier of sequences: two layers of `nn.LSTM`, the last output, a linear head."""

import numpy as np
import torch
from torch import nn


def inputs():
    return np.random.default_rng(2).normal(size=(3, 7, 5)).astype(np.float32)


class SequenceClassifier(nn.Module):
    def __init__(self, features=5, hidden=12, classes=4):
        super().__init__()
        self.lstm = nn.LSTM(features, hidden, num_layers=2, batch_first=True)
        self.fc = nn.Linear(hidden, classes)

    def forward(self, x):
        out, (_, c) = self.lstm(x)
        last = out[:, -1]
        return self.fc(last), c[-1]


def make():
    torch.manual_seed(0)
    return SequenceClassifier()
