"""BLOOM, ALiBi. JAX side: transformers' own Flax port."""

import jax.numpy as jnp
import transformers

CONFIG = transformers.BloomConfig(vocab_size=50, hidden_size=32, n_layer=2, n_head=4, use_cache=False)


def make():
    """The inner Linen module; it computes in float64 where x64 is on."""
    return transformers.FlaxBloomForCausalLM(CONFIG, dtype=jnp.float64, _do_init=False).module
