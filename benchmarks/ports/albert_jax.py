"""ALBERT, one layer shared. JAX side: transformers' own Flax port."""

import jax.numpy as jnp
import transformers

CONFIG = transformers.AlbertConfig(
    vocab_size=50,
    embedding_size=16,
    hidden_size=32,
    num_hidden_layers=3,
    num_attention_heads=4,
    intermediate_size=48,
    max_position_embeddings=20,
)


def make():
    """The inner Linen module; it computes in float64 where x64 is on."""
    return transformers.FlaxAlbertModel(CONFIG, dtype=jnp.float64, _do_init=False).module
