"""Attention of an encoder on a decoder's states. PyTorch side: `nn.MultiheadAttention`.

Truth: right, 3e-16.
"""

import numpy as np
import torch


class Cross(torch.nn.Module):
    """The output alone: the weights are averaged over the heads."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = torch.nn.MultiheadAttention(24, 4, kdim=16, vdim=20, batch_first=True)

    def forward(self, query, key, value):
        """Attend."""
        return self.attention(query, key, value, need_weights=False)[0]


def make() -> torch.nn.Module:
    """A small network with random weights."""
    torch.manual_seed(0)
    return Cross().eval()


def inputs():
    """What the PyTorch side is given."""
    rng = np.random.default_rng(0)
    return tuple(rng.normal(size=shape).astype(np.float32) for shape in ((3, 5, 24), (3, 7, 16), (3, 7, 20)))
