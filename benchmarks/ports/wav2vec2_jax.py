"""wav2vec 2.0, raw sound. JAX side: transformers' own Flax port."""

import jax.numpy as jnp
import transformers

CONFIG = transformers.Wav2Vec2Config(
    vocab_size=20,
    hidden_size=24,
    num_hidden_layers=2,
    num_attention_heads=3,
    intermediate_size=40,
    conv_dim=(16, 16, 16),
    conv_kernel=(10, 3, 3),
    conv_stride=(5, 2, 2),
    num_feat_extract_layers=3,
    num_conv_pos_embeddings=6,
    num_conv_pos_embedding_groups=3,
    do_stable_layer_norm=True,
    feat_extract_norm="layer",
)


def make():
    """The inner Linen module; it computes in float64 where x64 is on."""
    return transformers.FlaxWav2Vec2ForCTC(CONFIG, dtype=jnp.float64, _do_init=False).module
