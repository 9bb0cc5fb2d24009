"""Llama with grouped heads. JAX side: transformers' own Flax port."""

import jax.numpy as jnp
import transformers

CONFIG = transformers.LlamaConfig(
    vocab_size=50,
    hidden_size=32,
    intermediate_size=48,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    max_position_embeddings=16,
    use_cache=False,
)


def make():
    """The inner Linen module; it computes in float64 where x64 is on."""
    return transformers.FlaxLlamaForCausalLM(CONFIG, dtype=jnp.float64, _do_init=False).module
