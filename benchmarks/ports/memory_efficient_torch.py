"""Attention in chunks, with a mask and a bias. PyTorch side: memory_efficient_attention's.

Truth: right, 2e-16. Without a bias, the JAX side stops at `bias.shape` of None.
"""

import numpy as np
import torch
from memory_efficient_attention import efficient_dot_product_attention_pt


class Attention(torch.nn.Module):
    """A function of its inputs; nothing is learned."""

    def forward(self, query, key, value, mask, bias):
        """Attend."""
        return efficient_dot_product_attention_pt(query, key, value, mask, bias, query_chunk_size=4, key_chunk_size=5)


def make() -> torch.nn.Module:
    """A small network with random weights."""
    return Attention()


def inputs():
    """What the PyTorch side is given."""
    rng = np.random.default_rng(0)
    mask = rng.random((2, 3, 8, 10)) < 0.7
    mask[..., ::3] = True  # no chunk is masked as a whole: in float64 the PyTorch side then gives NaN
    shapes = ((2, 8, 3, 6), (2, 10, 3, 6), (2, 10, 3, 4))
    query, key, value = (rng.normal(size=shape).astype(np.float32) for shape in shapes)
    return query, key, value, mask, rng.normal(size=(2, 3, 8, 10)).astype(np.float32)
