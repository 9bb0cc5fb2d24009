"""Mistral with a sliding window. PyTorch side: transformers' own.

Truth: **wrong**, 0.14: the window is one wider on the JAX side (`triu(k=-window)` keeps `window + 1` keys).
With `sliding_window=5` on PyTorch's side alone, both agree to float32's rounding (9e-8, rotary tables).
"""

import numpy as np
import torch
import transformers

CONFIG = transformers.MistralConfig(
    vocab_size=50,
    hidden_size=32,
    intermediate_size=48,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    max_position_embeddings=16,
    sliding_window=4,
    use_cache=False,
    attn_implementation="eager",
)


def make() -> torch.nn.Module:
    """A small network with random weights."""
    torch.manual_seed(0)
    return transformers.MistralForCausalLM(CONFIG).eval()


def inputs():
    """What the PyTorch side is given."""
    return {
        "input_ids": np.random.default_rng(0).integers(3, 50, (2, 9)),
        "attention_mask": np.ones((2, 9), np.int64),
        "position_ids": np.tile(np.arange(9), (2, 1)),
    }
