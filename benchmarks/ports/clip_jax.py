"""CLIP, an image and words. JAX side: transformers' own Flax port."""

import jax.numpy as jnp
import transformers

CONFIG = transformers.CLIPConfig(
    text_config={
        "vocab_size": 50,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "max_position_embeddings": 16,
        "eos_token_id": 2,
        "bos_token_id": 1,
    },
    vision_config={
        "hidden_size": 24,
        "intermediate_size": 40,
        "num_hidden_layers": 2,
        "num_attention_heads": 3,
        "image_size": 16,
        "patch_size": 8,
    },
    projection_dim=20,
)


def make():
    """The inner Linen module; it computes in float64 where x64 is on."""
    return transformers.FlaxCLIPModel(CONFIG, dtype=jnp.float64, _do_init=False).module
