"""Tables that depend on no input, such as positions: what differs is named where they are made."""

import jax.numpy as jnp
import numpy as np
import torch
from torch import nn

import parity


class Biased(nn.Module):
    def __init__(self):
        super().__init__()
        self.table = nn.Parameter(torch.randn(7, 5))

    def forward(self, x):
        where = torch.arange(x.shape[1])
        distance = where[None, :] - where[:, None]
        index = distance.clamp(-3, 3) + 3
        bias = self.table[index].sum(-1)
        return torch.tanh(x + bias)


def biased(offset):
    def run(params, x):
        where = jnp.arange(x.shape[1])
        distance = where[None, :] - where[:, None]
        index = jnp.clip(distance + offset, -3, 3) + 3
        bias = params["table"][index].sum(-1)
        return jnp.tanh(x + bias)

    return run, {"table": jnp.zeros((7, 5))}


def test_tables_part_where_they_are_made():
    x = np.random.default_rng(0).normal(size=(2, 6, 6)).astype(np.float32)
    failure = parity.check(Biased(), biased(1), x, purpose="inference").failures[0]
    assert "index = distance.clamp(-3, 3) + 3" in str(failure.torch_line)
    assert "index = jnp.clip(distance + offset, -3, 3) + 3" in str(failure.jax_line)
    assert "it meets data at" in failure.diagnosis
    assert parity.check(Biased(), biased(0), x, purpose="inference").ok
