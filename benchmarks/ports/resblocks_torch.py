"""The residual and sampling blocks of Stable Diffusion's UNet, without attention. PyTorch side: diffusers' own.

Truth: right, 1e-15.
"""

import numpy as np
import torch
from diffusers.models.unets.unet_2d_blocks import DownBlock2D


def make() -> torch.nn.Module:
    """A small network with random weights."""
    torch.manual_seed(0)
    return DownBlock2D(32, 64, temb_channels=24, num_layers=2, resnet_eps=1e-5, downsample_padding=1).eval()


def inputs():
    """What the PyTorch side is given."""
    rng = np.random.default_rng(0)
    return {
        "hidden_states": rng.normal(size=(2, 32, 9, 12)).astype(np.float32),
        "temb": rng.normal(size=(2, 24)).astype(np.float32),
    }


def jax_inputs():
    """What the JAX side is given."""
    given = inputs()
    return {"hidden_states": given["hidden_states"].transpose(0, 2, 3, 1), "temb": given["temb"]}
