"""ControlNet of Stable Diffusion, small. JAX side: diffusers' own Flax port."""

import jax.numpy as jnp
from diffusers import FlaxControlNetModel

CONFIG = {
    "sample_size": 8,
    "in_channels": 4,
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
    "block_out_channels": (32, 64),
    "layers_per_block": 1,
    "attention_head_dim": 4,
    "cross_attention_dim": 24,
    "conditioning_embedding_out_channels": (8, 16),
}


def make():
    """A Linen module; it computes in float64 where x64 is on."""
    return FlaxControlNetModel(**CONFIG, dtype=jnp.float64)
