"""BLOOM, ALiBi. PyTorch side: transformers' own.

Truth: right, to 4e-10: PyTorch's GELU writes sqrt(2 / pi) as 0.79788456.
"""

import numpy as np
import torch
import transformers

CONFIG = transformers.BloomConfig(vocab_size=50, hidden_size=32, n_layer=2, n_head=4, use_cache=False)


def make() -> torch.nn.Module:
    """A small network with random weights."""
    torch.manual_seed(0)
    return transformers.BloomForCausalLM(CONFIG).eval()


def inputs():
    """What the PyTorch side is given."""
    return {
        "input_ids": np.random.default_rng(0).integers(3, 50, (2, 9)),
        "attention_mask": (np.arange(9) < np.array([[9], [6]])).astype(np.int64),
    }
