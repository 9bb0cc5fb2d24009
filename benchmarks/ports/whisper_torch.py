"""Whisper, sound to words. PyTorch side: transformers' own.

Truth: right, 4e-16.
"""

import numpy as np
import torch
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


def make() -> torch.nn.Module:
    """A small network with random weights."""
    torch.manual_seed(0)
    return transformers.WhisperForConditionalGeneration(CONFIG).eval()


def inputs():
    """What the PyTorch side is given."""
    rng = np.random.default_rng(0)
    return {
        "input_features": rng.normal(size=(2, 8, 24)).astype(np.float32),
        "decoder_input_ids": rng.integers(3, 50, (2, 6)),
    }


def jax_inputs():
    """What the JAX side is given."""
    ones, places = np.ones((2, 6), np.int64), np.tile(np.arange(6), (2, 1))
    return inputs() | {"decoder_attention_mask": ones, "decoder_position_ids": places}
