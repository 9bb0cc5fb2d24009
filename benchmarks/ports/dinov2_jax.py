"""DINOv2, layer scale. JAX side: transformers' own Flax port."""

import jax.numpy as jnp
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


def make():
    """The inner Linen module; it computes in float64 where x64 is on."""
    return transformers.FlaxDinov2Model(CONFIG, dtype=jnp.float64, _do_init=False).module
