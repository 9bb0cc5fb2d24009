"""DINOv2, layer scale. PyTorch side: transformers' own.

Truth: **wrong**, 0.17: `FlaxDinov2LayerScale` multiplies by `layerscale_value` twice beside its parameter, which
PyTorch uses alone. Nothing shows at the default of 1 (4e-16).
"""

import numpy as np
import torch
import transformers

CONFIG = transformers.Dinov2Config(
    hidden_size=32,
    num_hidden_layers=2,
    num_attention_heads=4,
    mlp_ratio=2,
    image_size=32,
    patch_size=8,
    layerscale_value=0.5,
)


def make() -> torch.nn.Module:
    """A small network with random weights."""
    torch.manual_seed(0)
    return transformers.Dinov2Model(CONFIG).eval()


def inputs():
    """What the PyTorch side is given."""
    return {"pixel_values": np.random.default_rng(0).normal(size=(2, 3, 32, 32)).astype(np.float32)}


def jax_inputs():
    """What the JAX side is given."""
    return {"pixel_values": inputs()["pixel_values"].transpose(0, 2, 3, 1)}
