"""GPT-J, rotary in pairs, parallel blocks. PyTorch side: transformers' own.

Truth: right, to float32's rounding (3e-8): its rotary table is float32 on the JAX side.
"""

import numpy as np
import torch
import transformers

CONFIG = transformers.GPTJConfig(
    vocab_size=50,
    n_positions=16,
    n_embd=32,
    n_layer=2,
    n_head=4,
    rotary_dim=4,
    bos_token_id=0,
    eos_token_id=0,
    use_cache=False,
)


def make() -> torch.nn.Module:
    """A small network with random weights."""
    torch.manual_seed(0)
    return transformers.GPTJForCausalLM(CONFIG).eval()


def inputs():
    """What the PyTorch side is given."""
    return {
        "input_ids": np.random.default_rng(0).integers(3, 50, (2, 9)),
        "attention_mask": (np.arange(9) < np.array([[9], [6]])).astype(np.int64),
        "position_ids": np.tile(np.arange(9), (2, 1)),
    }
