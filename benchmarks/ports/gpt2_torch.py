"""GPT-2 with its head tied. PyTorch side: transformers' own.

Truth: right, 3e-16; in training, **one attention mask for all heads and examples** on the JAX side.
"""

import numpy as np
import torch
import transformers

CONFIG = transformers.GPT2Config(
    vocab_size=50, n_positions=16, n_embd=32, n_layer=2, n_head=4, bos_token_id=0, eos_token_id=0, use_cache=False
)


def make() -> torch.nn.Module:
    """A small network with random weights."""
    torch.manual_seed(0)
    return transformers.GPT2LMHeadModel(CONFIG).eval()


def inputs():
    """What the PyTorch side is given."""
    return {
        "input_ids": np.random.default_rng(0).integers(3, 50, (2, 9)),
        "attention_mask": (np.arange(9) < np.array([[9], [6]])).astype(np.int64),
        "position_ids": np.tile(np.arange(9), (2, 1)),
    }
