"""A tagger: words, a bidirectional `nn.GRU`, scores for each word."""

import numpy as np
import torch
from torch import nn


def inputs():
    return np.random.default_rng(6).integers(0, 20, (3, 8))


class Tagger(nn.Module):
    def __init__(self, words=20, width=6, hidden=10, tags=5):
        super().__init__()
        self.embedding = nn.Embedding(words, width)
        self.gru = nn.GRU(width, hidden, batch_first=True, bidirectional=True)
        self.scores = nn.Linear(2 * hidden, tags)

    def forward(self, words):
        states, _ = self.gru(self.embedding(words))
        return self.scores(states)


def make():
    torch.manual_seed(0)
    return Tagger()
