"""Whisper, sound to words. JAX side: transformers' own Flax port."""

import jax.numpy as jnp
import transformers

CONFIG = transformers.WhisperConfig(
    vocab_size=50,
    num_mel_bins=8,
    d_model=32,
    encoder_layers=2,
    decoder_layers=2,
    encoder_attention_heads=4,
    decoder_attention_heads=4,
    encoder_ffn_dim=40,
    decoder_ffn_dim=40,
    max_source_positions=12,
    max_target_positions=16,
    pad_token_id=0,
    bos_token_id=1,
    eos_token_id=2,
    decoder_start_token_id=1,
    use_cache=False,
)


def make():
    """The inner Linen module; it computes in float64 where x64 is on."""
    return transformers.FlaxWhisperForConditionalGeneration(CONFIG, dtype=jnp.float64, _do_init=False).module
