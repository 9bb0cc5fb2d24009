"""Two functions that part only where the usual weights do not lead: they are told apart at larger ones."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import linen
from torch import nn as tn

import parity
from tests.quick import slow_unless

IMAGES = 2 * np.random.default_rng(0).normal(size=(8, 6, 6, 4))
POINTS = 0.15 * IMAGES[:, 0, 0]
FIRST = IMAGES.transpose(0, 3, 1, 2)


class Torch(tn.Module):
    def __init__(self, activation):
        super().__init__()
        self.conv, self.head, self.activation = tn.Conv2d(4, 6, 1), tn.Linear(6, 3), activation

    def forward(self, x):
        return self.head(self.activation(self.conv(x)).mean((2, 3)))


class Flax(linen.Module):
    activation: Callable[[jax.Array], jax.Array]

    @linen.compact
    def __call__(self, x):
        x = linen.Conv(6, (1, 1))(x)
        x = self.activation(x)
        return linen.Dense(3)(x.mean((1, 2)))


def port(activation):
    def apply(p, x):
        x = jnp.einsum("nchw,oc->nohw", x, p["kernel"]) + p["bias"][:, None, None]
        x = activation(x)
        return x.mean((2, 3)) @ p["w"] + p["b"]

    shapes = {"kernel": (6, 4), "bias": (6,), "w": (6, 3), "b": (3,)}
    return apply, {name: np.zeros(shape) for name, shape in shapes.items()}


PAIRS = {
    "ReLU6": (tn.ReLU6(), jax.nn.relu6, jax.nn.relu),
    "clip": (tn.Hardtanh(-6.0, 6.0), lambda x: jnp.clip(x, -6, 6), lambda x: jnp.clip(x, -6, 7)),
}


@pytest.mark.parametrize("name", slow_unless(lambda name: name == "ReLU6", PAIRS))
@pytest.mark.parametrize("layers", [True, False], ids=["layers", "operations"])
def test_what_no_value_reaches_at_the_usual_weights_is_compared_too(name, layers):
    ours, right, wrong = PAIRS[name]
    torch.manual_seed(0)
    module = Torch(ours)
    make, inputs = (Flax, IMAGES) if layers else (port, FIRST)
    assert parity.check(module, make(right), inputs).ok
    failure = parity.check(module, make(wrong), inputs).failures[0]
    assert failure.check == "forward, eval"
    assert failure.diagnosis.startswith("at weights 4 times as large")
    assert "self.activation(self.conv(x))" in str(failure.torch_line)
    assert failure.jax_line is not None


def test_what_overflows_there_is_left_out():
    class Exponential(tn.Module):
        def __init__(self):
            super().__init__()
            self.fc = tn.Linear(4, 3)

        def forward(self, x):
            return torch.exp(torch.exp(self.fc(x) + 1.5))

    def model(p, x):
        return jnp.exp(jnp.exp(x @ p["w"] + p["b"] + 1.5))

    params = {"w": np.zeros((4, 3)), "b": np.zeros(3)}
    report = parity.check(Exponential(), (model, params), POINTS)
    assert report.ok, report.failures


class Exp(tn.Module):
    def forward(self, x):
        return torch.exp(x)


class TorchInside(tn.Module):
    """A layer's output overflows at larger weights; the network's does not."""

    def __init__(self):
        super().__init__()
        self.fc, self.inner, self.outer = tn.Linear(4, 3), Exp(), Exp()

    def forward(self, x):
        return 1 / (1 + self.outer(self.inner(self.fc(x) + 1.5)))


class FlaxExp(linen.Module):
    @linen.compact
    def __call__(self, x):
        return jnp.exp(x)


class FlaxInside(linen.Module):
    def setup(self):
        self.fc, self.inner, self.outer = linen.Dense(3), FlaxExp(), FlaxExp()

    def __call__(self, x):
        return 1 / (1 + self.outer(self.inner(self.fc(x) + 1.5)))


def test_a_layer_that_overflows_there_is_no_fault():
    torch.manual_seed(0)
    module = TorchInside()
    with torch.no_grad():
        module.fc.bias.fill_(1.3)
    assert parity.check(module, FlaxInside(), POINTS).failures == ()


class Attention(tn.Module):
    """Hides what is behind by an additive mask, as BERT did."""

    def __init__(self):
        super().__init__()
        self.norm, self.query, self.key = tn.LayerNorm(6), tn.Linear(6, 6), tn.Linear(6, 6)

    def forward(self, x, visible):
        x = self.norm(x)
        scores = self.query(x) @ self.key(x).mT / 6**0.5 + (1 - visible)[:, None] * -10000.0
        return torch.softmax(scores, -1) @ x


def infinite(p, x, visible):
    x = (x - x.mean(-1, keepdims=True)) / jnp.sqrt(x.var(-1, keepdims=True) + 1e-5) * p["scale"] + p["shift"]
    query, key = (x @ p[name] + p[name + "_bias"] for name in ("query", "key"))
    scores = jnp.where(visible[:, None] > 0, query @ key.mT / 6**0.5, -jnp.inf)
    return jax.nn.softmax(scores, -1) @ x


def test_masks_of_another_size_are_no_fault():
    shapes = {"scale": (6,), "shift": (6,), "query": (6, 6), "key": (6, 6), "query_bias": (6,), "key_bias": (6,)}
    visible = np.ones((4, 5))
    visible[:, 3:] = 0
    x = np.random.default_rng(1).normal(size=(4, 5, 6))
    report = parity.check(
        Attention(), (infinite, {name: np.zeros(shape) for name, shape in shapes.items()}), (x, visible)
    )
    assert report.ok, report.failures
