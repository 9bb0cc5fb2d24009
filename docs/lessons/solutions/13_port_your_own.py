"""Solutions of lesson 13."""

from functools import partial
from typing import Any

import numpy as np
import torch
from exercises import Exercise
from flax import linen as nn
from torch.nn import functional

import parity
from parity.mapping import Rule


class TorchBlock(torch.nn.Module):
    """The model of exercise 1: (N, 4, 8, 8) to (N, 3)."""

    def __init__(self):
        super().__init__()
        self.conv = torch.nn.Conv2d(4, 8, 3, stride=2, padding=1, groups=2)
        self.norm = torch.nn.GroupNorm(4, 8)
        self.fc = torch.nn.Linear(8, 3)

    def forward(self, x):
        """Return logits."""
        x = functional.leaky_relu(self.norm(self.conv(x)), 0.2)
        return self.fc(x.mean((2, 3)))


class FlaxBlock(nn.Module):
    """The port of `TorchBlock`: (N, 8, 8, 4) to (N, 3)."""

    epsilon: float = 1e-5  # Flax's default is 1e-6

    @nn.compact
    def __call__(self, x):
        """Return logits."""
        x = nn.Conv(8, (3, 3), strides=2, padding=1, feature_group_count=2)(x)
        x = nn.leaky_relu(nn.GroupNorm(num_groups=4, epsilon=self.epsilon)(x), 0.2)
        return nn.Dense(3)(x.mean((1, 2)))


def check_block(answer):
    """Prove the port."""
    torch.manual_seed(0)
    inputs = np.random.default_rng(0).normal(size=(4, 8, 8, 4))
    parity.assert_port(TorchBlock(), answer(), inputs)


def key_rule():
    """Return the rule of the key's kernel: the second third, transposed, split into heads."""
    return Rule(("in_proj_weight",), ("take 1 of 3 along 0", "(h d) i -> i h d | d=8"))


def heads_last():
    """Split into heads in the wrong order, which gives the same shape only for as many heads as numbers: a mistake."""
    return Rule(("in_proj_weight",), ("take 1 of 3 along 0", "(d h) i -> i h d | d=8"))


def check_key_rule(answer):
    """Compare with numpy."""
    weight = np.arange(96 * 32, dtype=np.float32).reshape(96, 32)
    found = answer()({"in_proj_weight": weight})
    expected = weight[32:64].T.reshape(32, 4, 8)
    assert found.shape == expected.shape, f"the kernel should be {expected.shape}, found {found.shape}"
    assert (found == expected).all(), "the shape is right and the numbers are others: which block, and which order?"


def convert(state):
    """Return the Flax parameters of a convolution, a flattened image (H, W, C) and a linear layer."""
    fc = state["fc.weight"].reshape(-1, 4, 5, 5)  # (out, C, H, W)
    return {
        "conv": {"kernel": state["conv.weight"].transpose(2, 3, 1, 0), "bias": state["conv.bias"]},
        "fc": {"kernel": fc.transpose(2, 3, 1, 0).reshape(100, -1), "bias": state["fc.bias"]},
    }


def transposed(state):
    """Transpose the linear layer alone, whose inputs are then in another order: a mistake."""
    return {**convert(state), "fc": {"kernel": state["fc.weight"].T, "bias": state["fc.bias"]}}


def check_convert(answer):
    """Compare both models."""
    torch.manual_seed(0)
    conv, fc = torch.nn.Conv2d(2, 4, 3), torch.nn.Linear(100, 3)
    layers = {"conv": conv, "fc": fc}
    state = {f"{name}.{key}": t.numpy() for name, layer in layers.items() for key, t in layer.state_dict().items()}
    x = np.random.default_rng(0).normal(size=(2, 7, 7, 2)).astype(np.float32)
    expected = fc(conv(torch.from_numpy(x).permute(0, 3, 1, 2)).flatten(1)).detach().numpy()
    params = answer(state)
    image = nn.Conv(4, (3, 3), padding="VALID").apply({"params": params["conv"]}, x)
    found: Any = nn.Dense(3).apply({"params": params["fc"]}, np.asarray(image).reshape(2, -1))
    assert np.allclose(found, expected, atol=1e-4), "the outputs differ: in which order does fc see its 100 inputs?"


EXERCISES = [
    Exercise(FlaxBlock, check_block, partial(FlaxBlock, epsilon=1e-6), slow=True),
    Exercise(key_rule, check_key_rule, heads_last),
    Exercise(convert, check_convert, transposed),
]
