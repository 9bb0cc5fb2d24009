"""A network that plays: convolutions, average and max pooling, two heads that are put together (dueling)."""

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F


def inputs():
    return np.random.default_rng(14).random((2, 4, 18, 18)).astype(np.float32)


class DuelingDQN(nn.Module):
    def __init__(self, frames=4, actions=6):
        super().__init__()
        self.conv1 = nn.Conv2d(frames, 8, 5, stride=2, padding=2)
        self.pool1 = nn.AvgPool2d(3, stride=2, padding=1)
        self.conv2 = nn.Conv2d(8, 12, 3, padding=1)
        self.pool2 = nn.MaxPool2d(2)
        self.body = nn.Linear(12 * 2 * 2, 20)
        self.dropout = nn.Dropout(0.2)
        self.value = nn.Linear(20, 1)
        self.advantage = nn.Linear(20, actions)

    def forward(self, x):
        x = F.leaky_relu(self.conv1(x), 0.01)
        x = self.pool1(x)
        x = F.leaky_relu(self.conv2(x), 0.01)
        x = self.pool2(x)
        x = x.flatten(1)
        x = F.softplus(self.body(x))
        x = self.dropout(x)
        advantage = self.advantage(x)
        centred = advantage - advantage.mean(dim=1, keepdim=True)
        return {"q": self.value(x) + centred, "policy": F.log_softmax(advantage, dim=1)}


def make():
    torch.manual_seed(0)
    return DuelingDQN()
