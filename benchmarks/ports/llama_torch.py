"""Llama with grouped heads. PyTorch side: transformers' own.

Truth: right, to float32's rounding (8e-8): its rotary tables are float32 on the JAX side, its norms on PyTorch's.
"""

import numpy as np
import torch
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


def make() -> torch.nn.Module:
    """A small network with random weights."""
    torch.manual_seed(0)
    return transformers.LlamaForCausalLM(CONFIG).eval()


def inputs():
    """What the PyTorch side is given."""
    return {
        "input_ids": np.random.default_rng(0).integers(3, 50, (2, 9)),
        "attention_mask": (np.arange(9) < np.array([[9], [6]])).astype(np.int64),
        "position_ids": np.tile(np.arange(9), (2, 1)),
    }
