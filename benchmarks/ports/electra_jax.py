"""ELECTRA, embeddings of another width. JAX side: transformers' own Flax port."""

import jax.numpy as jnp
import transformers

CONFIG = transformers.ElectraConfig(
    vocab_size=50,
    embedding_size=24,
    hidden_size=32,
    num_hidden_layers=2,
    num_attention_heads=4,
    intermediate_size=64,
    max_position_embeddings=20,
)


def make():
    """The inner Linen module; it computes in float64 where x64 is on."""
    return transformers.FlaxElectraModel(CONFIG, dtype=jnp.float64, _do_init=False).module
