"""BEiT, relative positions. JAX side: transformers' own Flax port."""

import jax.numpy as jnp
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


def make():
    """The inner Linen module; it computes in float64 where x64 is on."""
    return transformers.FlaxBeitModel(CONFIG, dtype=jnp.float64, _do_init=False).module
