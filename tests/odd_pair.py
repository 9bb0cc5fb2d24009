"""A second small pair, of the layers that the networks of this project do not have, and deliberate bugs for it."""

import warnings
from typing import Any

import jax
import jax.numpy as jnp
import torch
from flax import linen as nn
from torch import nn as torch_nn
from torch.nn import functional

from jaxnets.layers import flatten, linear, max_pool

SHAPE = (9, 9, 3)
GROUPS = 3


class TorchOdd(torch_nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = torch_nn.Conv2d(3, 6, 4, padding="same")
        self.conv2 = torch_nn.Conv2d(6, 6, 3, padding=1, groups=GROUPS)
        self.conv3 = torch_nn.Conv2d(6, 6, 3, padding=2, dilation=2)
        self.norm = torch_nn.LayerNorm(24)
        self.fc1 = torch_nn.Linear(24, 24)
        self.fc2 = torch_nn.Linear(24, 24)
        self.head = torch_nn.Linear(24, 4)

    def forward(self, x):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # PyTorch says that an even kernel needs a copy of its input
            x = functional.silu(self.conv1(x))
        x = functional.max_pool2d(self.conv2(x), 3, 2, 1)  # not behind a ReLU: padding with zeros shows
        x = functional.avg_pool2d(self.conv3(x), 3, 2, 1)
        x = functional.adaptive_avg_pool2d(x, 2)
        x = self.norm(torch.flatten(x, 1))
        x = torch.tanh(self.fc2(torch.tanh(self.fc1(x))))
        return self.head(x)


class Unlike(nn.Module):
    """A convolution whose kernel is used in another way."""

    how: str

    @nn.compact
    def __call__(self, x):
        kernel = self.param("kernel", nn.initializers.lecun_normal(), (3, 3, 6, 6), jnp.float32)
        bias = self.param("bias", nn.initializers.zeros, (6,), jnp.float32)
        kernel = {
            "flipped": kernel[::-1, ::-1],
            "height and width": kernel.transpose(1, 0, 2, 3),
            "inputs and outputs": kernel.transpose(0, 1, 3, 2),
        }[self.how]
        return (
            jax.lax.conv_general_dilated(
                x, kernel, (1, 1), ((2, 2), (2, 2)), rhs_dilation=(2, 2), dimension_numbers=("NHWC", "HWIO", "NHWC")
            )
            + bias
        )


class FlaxOdd(nn.Module):
    bug: str = ""

    def setup(self):
        bug = self.bug
        pads = ((2, 1),) * 2 if bug == "extra pixel in front" else ((1, 2),) * 2
        self.conv1 = nn.Conv(6, (4, 4), padding=pads)
        self.conv2 = nn.Conv(6, (3, 3), padding=((1, 1),) * 2, feature_group_count=GROUPS)
        kernels = ("flipped", "height and width", "inputs and outputs")
        right = nn.Conv(6, (3, 3), padding=((2, 2),) * 2, kernel_dilation=2)
        self.conv3 = Unlike(bug) if bug in kernels else right
        # Flax's default epsilon is 1e-6, PyTorch's 1e-5.
        self.norm = nn.LayerNorm(epsilon=1e-6 if bug == "default epsilon" else 1e-5)
        self.fc1, self.fc2, self.head = linear(24, 24), linear(24, 24), linear(24, 4)

    def __call__(self, x):
        bug = self.bug
        x = self.conv1(x)
        x = self.conv2(jax.nn.relu(x) if bug == "ReLU for SiLU" else jax.nn.silu(x))
        if bug == "max-pool with zeros":
            x = nn.max_pool(jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0))), (3, 3), (2, 2))
        else:
            x = max_pool(x, 3, 2, 1)
        counted = bug != "padding not counted"
        pads: Any = ((1, 1), (1, 1))
        x = nn.avg_pool(self.conv3(x), (3, 3), (2, 2), pads, count_include_pad=counted)
        x = x[:, :2, :2] if bug == "cropped for pooled" else nn.avg_pool(x, (2, 2), (1, 1))  # 3x3 to 2x2: they overlap
        x = self.norm(flatten(x))
        first, second = (self.fc2, self.fc1) if bug == "layers swapped" else (self.fc1, self.fc2)
        x = first(x) if bug == "no tanh" else jnp.tanh(first(x))
        x = jnp.tanh(second(jax.lax.stop_gradient(x) if bug == "stopped gradient" else x))
        x = self.head(x)
        return x * len(x) if bug == "sum for mean" else x
