"""The residual and sampling blocks of Stable Diffusion's UNet. JAX side: diffusers' own Flax port."""

import jax.numpy as jnp
from diffusers.models.unets.unet_2d_blocks_flax import FlaxDownBlock2D


def make():
    """A Linen module; it computes in float64 where x64 is on."""
    return FlaxDownBlock2D(32, 64, num_layers=2, dtype=jnp.float64)
