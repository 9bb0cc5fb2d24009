"""CLIP, an image and words. PyTorch side: transformers' own.

Truth: right, 6e-16 (all outputs that both have).
"""

import numpy as np
import torch
import transformers

CONFIG = transformers.CLIPConfig(
    text_config={
        "vocab_size": 50,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "max_position_embeddings": 16,
        "eos_token_id": 2,
        "bos_token_id": 1,
    },
    vision_config={
        "hidden_size": 24,
        "intermediate_size": 40,
        "num_hidden_layers": 2,
        "num_attention_heads": 3,
        "image_size": 16,
        "patch_size": 8,
    },
    projection_dim=20,
)


def make() -> torch.nn.Module:
    """A small network with random weights."""
    torch.manual_seed(0)
    return transformers.CLIPModel(CONFIG).eval()


def inputs():
    """What the PyTorch side is given."""
    rng = np.random.default_rng(0)
    words = rng.integers(3, 50, (2, 7))
    words[:, -1] = 2  # the end, whose state is taken
    return {
        "input_ids": words,
        "pixel_values": rng.normal(size=(2, 3, 16, 16)).astype(np.float32),
        "attention_mask": np.ones((2, 7), np.int64),
        "position_ids": np.tile(np.arange(7), (2, 1)),
    }


def jax_inputs():
    """What the JAX side is given."""
    given = inputs()
    return given | {"pixel_values": given["pixel_values"].transpose(0, 2, 3, 1)}
