"""BEiT, relative positions. PyTorch side: transformers' own.

Truth: right, 5e-16.
"""

import numpy as np
import torch
import transformers

CONFIG = transformers.BeitConfig(
    hidden_size=32,
    num_hidden_layers=2,
    num_attention_heads=4,
    intermediate_size=48,
    image_size=32,
    patch_size=8,
    use_relative_position_bias=True,
    layer_scale_init_value=0.3,
)


def make() -> torch.nn.Module:
    """A small network with random weights."""
    torch.manual_seed(0)
    return transformers.BeitModel(CONFIG).eval()


def inputs():
    """What the PyTorch side is given."""
    return {"pixel_values": np.random.default_rng(0).normal(size=(2, 3, 32, 32)).astype(np.float32)}


def jax_inputs():
    """What the JAX side is given."""
    return {"pixel_values": inputs()["pixel_values"].transpose(0, 2, 3, 1)}
