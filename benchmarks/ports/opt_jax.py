"""OPT, positions with an offset. JAX side: transformers' own Flax port."""

import jax.numpy as jnp
import transformers

CONFIG = transformers.OPTConfig(
    vocab_size=50,
    hidden_size=32,
    num_hidden_layers=2,
    ffn_dim=48,
    num_attention_heads=4,
    max_position_embeddings=16,
    word_embed_proj_dim=32,
    use_cache=False,
)


def make():
    """The inner Linen module; it computes in float64 where x64 is on."""
    return transformers.FlaxOPTForCausalLM(CONFIG, dtype=jnp.float64, _do_init=False).module
