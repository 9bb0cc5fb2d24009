"""ControlNet of Stable Diffusion, small. PyTorch side: diffusers' own.

Truth: **wrong twice** in each attention, 4e-5 together: on the JAX side GroupNorm's epsilon is 1e-5 for 1e-6, and
GELU is tanh for exact.
"""

import numpy as np
import torch
from diffusers import ControlNetModel

CONFIG = {
    "in_channels": 4,
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
    "block_out_channels": (32, 64),
    "layers_per_block": 1,
    "attention_head_dim": 4,
    "cross_attention_dim": 24,
    "conditioning_embedding_out_channels": (8, 16),
}


def make() -> torch.nn.Module:
    """A small network with random weights."""
    torch.manual_seed(0)
    model = ControlNetModel(**CONFIG).eval()
    for parameter in model.parameters():
        if not parameter.any():  # its last convolutions start at zero, which shows nothing
            torch.nn.init.normal_(parameter, std=0.1)
    return model


def inputs():
    """What the PyTorch side is given."""
    rng = np.random.default_rng(0)
    return {
        "sample": rng.normal(size=(2, 4, 8, 8)).astype(np.float32),
        "timestep": np.array([3, 800]),
        "encoder_hidden_states": rng.normal(size=(2, 7, 24)).astype(np.float32),
        "controlnet_cond": rng.random((2, 3, 16, 16)).astype(np.float32),
    }


def jax_inputs():
    """What the JAX side is given."""
    given = inputs()
    given["timesteps"] = given.pop("timestep")
    return given
