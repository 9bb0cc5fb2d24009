"""ELECTRA, embeddings of another width. PyTorch side: transformers' own.

Truth: right, 3e-16; in training, **one attention mask for all heads and examples** on the JAX side.
"""

import numpy as np
import torch
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


def make() -> torch.nn.Module:
    """A small network with random weights."""
    torch.manual_seed(0)
    return transformers.ElectraModel(CONFIG).eval()


def inputs():
    """What the PyTorch side is given."""
    rng = np.random.default_rng(0)
    return {
        "input_ids": rng.integers(3, 50, (2, 9)),
        "attention_mask": (np.arange(9) < np.array([[9], [6]])).astype(np.int64),
        "token_type_ids": rng.integers(0, 2, (2, 9)),
        "position_ids": np.tile(np.arange(9), (2, 1)),
    }
