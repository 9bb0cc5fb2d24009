"""How outputs are laid out: channels first or last, time first; what a square's shape does not tell is a fault."""

import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import linen
from torch import nn as tn

import parity

RNG = np.random.default_rng(0)
STEPS, IMAGES, SQUARE = RNG.normal(size=(3, 5, 6)), RNG.normal(size=(2, 7, 7, 3)), RNG.normal(size=(2, 4, 5, 6))
PARAMS = {"w": np.zeros((6, 4)), "b": np.zeros(4)}
ORDERS = {
    "time first": (lambda p, x: (x @ p["w"] + p["b"]).swapaxes(0, 1), "JAX's axes in PyTorch's order are 1, 0, 2"),
    "rows": (lambda p, x: (x @ p["w"] + p["b"]).reshape(-1, 4), "(15, 4) is reshaped to (3, 5, 4)"),
    "channels first": (lambda p, x: (x @ p["w"] + p["b"]).swapaxes(1, 2), "channels last in JAX, first in PyTorch"),
    "the same": (lambda p, x: x @ p["w"] + p["b"], ""),
}


@pytest.mark.parametrize("order", ORDERS)
def test_a_layout_that_shapes_tell_holds_and_is_said(order):
    model, words = ORDERS[order]
    report = parity.check(tn.Linear(6, 4), (model, PARAMS), STEPS)
    assert report.ok, report.failures
    (result,) = [result for result in report.results if result.check == "forward, eval"]
    assert words in result.note
    assert bool(result.note) == bool(words)


class Scores(tn.Module):
    """Attention's scores of each head, from each position to each other one."""

    def __init__(self):
        super().__init__()
        self.query, self.key = tn.Linear(6, 3), tn.Linear(6, 3)

    def forward(self, x):
        return torch.softmax(self.query(x) @ self.key(x).mT, -1)


def scores(turned):
    def apply(p, x):
        query, key = (x @ p[name] + p[name + "_bias"] for name in ("query", "key"))
        found = jnp.exp(query @ key.mT)
        found = found / found.sum(-1, keepdims=True)
        return found.mT if turned else found

    shapes = {"query": (6, 3), "key": (6, 3), "query_bias": (3,), "key_bias": (3,)}
    return apply, {name: np.zeros(shape) for name, shape in shapes.items()}


def test_a_square_output_that_is_transposed_is_a_fault():
    assert parity.check(Scores(), scores(turned=False), SQUARE).ok
    (failure,) = parity.check(Scores(), scores(turned=True), SQUARE).failures
    assert "with the axes in the order 0, 1, 3, 2" in failure.cause
    assert "found.mT if turned" in str(failure.jax_line)


class Flax(linen.Module):
    turned: bool

    @linen.compact
    def __call__(self, x):
        x = linen.Conv(4, (3, 3))(x)
        return x.swapaxes(1, 2) if self.turned else x


@pytest.mark.parametrize("turned", [False, True])
def test_height_and_width_are_not_exchanged(turned):
    assert parity.check(tn.Conv2d(3, 4, 3, padding=1), Flax(turned), IMAGES).ok is not turned
