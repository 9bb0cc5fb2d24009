"""Transformer in transformer. PyTorch side: transformer_in_transformer, by Phil Wang.

Truth: **wrong**, by reading; no conversion exists. On the JAX side patches come from a convolution that PyTorch's side
does not have, the result of the attention within patches is never given to them, the class token's row is padded at
the wrong end, two norms are missing, and GELU is tanh for exact.
"""

import numpy as np
import torch
from transformer_in_transformer import TNT, tnt

# It adds in place to what `einops.repeat` returns, which newer versions of einops do not copy.
_repeat = tnt.repeat
tnt.repeat = lambda *args, **sizes: _repeat(*args, **sizes).clone()


def make() -> torch.nn.Module:
    """A small network with random weights."""
    torch.manual_seed(0)
    return TNT(
        image_size=16,
        patch_dim=24,
        pixel_dim=8,
        patch_size=8,
        pixel_size=4,
        depth=2,
        num_classes=5,
        heads=2,
        dim_head=4,
    ).eval()


def inputs():
    """What the PyTorch side is given."""
    return np.random.default_rng(0).normal(size=(2, 3, 16, 16)).astype(np.float32)
