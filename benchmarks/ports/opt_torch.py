"""OPT, positions with an offset. PyTorch side: transformers' own.

Truth: right, 3e-16.
"""

import numpy as np
import torch
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


def make() -> torch.nn.Module:
    """A small network with random weights."""
    torch.manual_seed(0)
    return transformers.OPTForCausalLM(CONFIG).eval()


def inputs():
    """What the PyTorch side is given."""
    return {
        "input_ids": np.random.default_rng(0).integers(3, 50, (2, 9)),
        "attention_mask": (np.arange(9) < np.array([[9], [6]])).astype(np.int64),
        "position_ids": np.tile(np.arange(9), (2, 1)),
    }
