"""What a difference looks like, in words: small functions of the input, one part of each changed on the JAX side."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from torch.nn import functional as F

from parity.align.explain import explained
from parity.align.frontier import Difference
from parity.align.pair import align

X = np.random.default_rng(0).normal(size=(2, 6, 5))
CAUSAL = np.tril(np.ones((6, 6), bool))


class Function(torch.nn.Module):
    """A linear layer and a function of its result."""

    def __init__(self, function: Callable[[torch.Tensor], torch.Tensor]):
        super().__init__()
        self.linear = torch.nn.Linear(5, 8)
        self.function = function

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the function's value."""
        return self.function(self.linear(x))


def words(ours: Callable[[torch.Tensor], torch.Tensor], theirs: Callable[[jax.Array], jax.Array]) -> str:
    """Return what is said of the first difference."""
    params = {"w": np.zeros((5, 8)), "b": np.zeros(8)}
    pair = align(Function(ours), (lambda p, x: theirs(x @ p["w"] + p["b"]), params), X)
    if pair.aligned.differences:
        return explained(*pair.aligned.differences[0]).words
    trace, cells = pair.aligned.walk.trace, pair.aligned.walk.cells
    if cells[-1].alike:
        return "no difference"
    return explained(pair.aligned.walk, Difference(len(trace.ops) - 1, 0)).words


def attention(x: torch.Tensor) -> torch.Tensor:
    """Causal attention of PyTorch's."""
    scores = x @ x.sin().mT / 8**0.5
    scores = scores.masked_fill(~torch.from_numpy(CAUSAL), -float("inf"))
    return torch.softmax(scores, -1) @ x


def jax_attention(x: jax.Array, scale: float = 8**-0.5, mask: np.ndarray = CAUSAL, axis: int = -1) -> jax.Array:
    """The same of JAX's, with parts to change."""
    scores = jnp.where(mask, x @ jnp.sin(x).swapaxes(1, 2) * scale, -1e30)
    return jax.nn.softmax(scores, axis=axis) @ x


def rotate(x: Any, module: Any, base: float = 10000.0, halves: bool = True, way: int = 1) -> Any:
    """Rotary positions, in either framework."""
    angles = way * np.arange(6)[:, None] * base ** (-np.arange(0, 8, 2) / 8)
    sin, cos = module.asarray(np.sin(angles)), module.asarray(np.cos(angles))
    a, b = (x[..., :4], x[..., 4:]) if halves else (x[..., ::2], x[..., 1::2])
    turned = [a * cos - b * sin, b * cos + a * sin]
    return module.concatenate(turned, -1) if halves else module.stack(turned, -1).reshape(2, 6, 8)


def normed(x: jax.Array, eps: float = 1e-5, ddof: int = 0, axis: int = -1) -> jax.Array:
    """LayerNorm, with parts to change."""
    return (x - x.mean(axis, keepdims=True)) / jnp.sqrt(x.var(axis, keepdims=True, ddof=ddof) + eps)


def test_right_pairs_differ_nowhere() -> None:
    assert words(attention, jax_attention) == "no difference"
    assert words(lambda x: F.layer_norm(x, (8,)), normed) == "no difference"


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"scale": 1.0}, "scale"),
        ({"scale": 1 / 8}, "scale"),
        ({"mask": np.ones((6, 6), bool)}, "the mask is not applied: not causal"),
        ({"mask": ~CAUSAL}, "inverted"),
        ({"mask": np.tril(CAUSAL, -1)}, "off by one"),
        ({"axis": -2}, "softmax over axis 1 instead of 2"),
    ],
)
def test_attention(change: dict, expected: str) -> None:
    assert expected in words(attention, lambda x: jax_attention(x, **change))


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"eps": 1e-3}, "epsilon 0.001 instead of 1e-05 (trap 2)"),
        ({"eps": 3e-3}, "epsilon 0.003 instead of 1e-05 (trap 2)"),
        ({"ddof": 1}, "the unbiased variance instead of the biased one"),
        ({"axis": 1}, "normalised over axes [1] instead of axis [2]"),
    ],
)
def test_norm(change: dict, expected: str) -> None:
    assert words(lambda x: F.layer_norm(x, (8,)), lambda x: normed(x, **change)) == expected


MEAN, VARIANCE, SCALE, SHIFT = np.random.default_rng(2).uniform(0.5, 1.5, size=(4, 6))


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"eps": 1e-3}, "epsilon 0.001 instead of 1e-05 (trap 2)"),
        ({"root": np.sqrt(VARIANCE) + 1e-5}, "the epsilon is outside of the square root"),
        ({"batch": True}, "the batch's statistics instead of the running ones"),
        ({"scale": 1.0}, "the norm's weight is left out"),
        ({"shift": 0.0}, "the norm's bias is left out"),
        ({"scale": 1.0, "shift": 0.0}, "the norm's weight and bias are left out"),
    ],
)
def test_batch_norm(change: dict, expected: str) -> None:
    def theirs(x: jax.Array) -> jax.Array:
        mean, variance = (x.mean((0, 2)), x.var((0, 2))) if change.get("batch") else (MEAN, VARIANCE)
        root = change.get("root", jnp.sqrt(variance + change.get("eps", 1e-5)))
        y = (x - mean[:, None]) / jnp.reshape(root, (6, 1)) * jnp.reshape(change.get("scale", SCALE), (-1, 1))
        return jnp.tanh(y + jnp.reshape(change.get("shift", SHIFT), (-1, 1)))

    mean, variance, scale, shift = (torch.from_numpy(array) for array in (MEAN, VARIANCE, SCALE, SHIFT))
    assert words(lambda x: F.batch_norm(x, mean, variance, scale, shift).tanh(), theirs) == expected


@pytest.mark.parametrize(
    ("ours", "theirs", "expected"),
    [
        (F.gelu, jax.nn.gelu, "GELU by tanh instead of exact GELU (trap 12)"),
        (F.relu, jax.nn.leaky_relu, "leaky ReLU with slope 0.01 instead of ReLU"),
        (lambda x: F.leaky_relu(x, 0.2), jax.nn.leaky_relu, "slope 0.01 instead of 0.2"),
        (lambda x: x[:, 0].tanh(), lambda x: jnp.tanh(x[:, -1]), "the last instead of the first"),
        (lambda x: x.mean(1).tanh(), lambda x: jnp.tanh(x.max(1)), "the maximum instead of the mean"),
        (lambda x: x + F.silu(x).cumsum(1), lambda x: jnp.cumsum(jax.nn.silu(x), 1), "residual"),
        (
            lambda x: F.layer_norm(x + x.tanh(), (8,)),
            lambda x: x + normed(jnp.tanh(x)),
            "the norm comes before the sum instead of after it",
        ),
        (
            lambda x: torch.cat([x.sin(), x.cos()], -1) @ torch.arange(32.0).reshape(16, 2).to(x),
            lambda x: jnp.concatenate([jnp.cos(x), jnp.sin(x)], -1) @ jnp.arange(32.0).reshape(16, 2),
            "concatenated in another order",
        ),
        (
            lambda x: x.sigmoid() * x.sin() + (1 - x.sigmoid()) * x.cos(),
            lambda x: (1 - jax.nn.sigmoid(x)) * jnp.sin(x) + jax.nn.sigmoid(x) * jnp.cos(x),
            "the gate is inverted",
        ),
    ],
)
def test_others(ours: Callable, theirs: Callable, expected: str) -> None:
    assert expected in words(ours, theirs)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"base": 500.0}, "rotary positions: base 500 instead of 10000"),
        ({"halves": False}, "rotary positions: of neighbouring pairs instead of halves"),
        ({"way": -1}, "rotary positions: in the opposite direction"),
    ],
)
def test_rotary(change: dict, expected: str) -> None:
    ours = lambda x: rotate(x.cumsum(-1), torch) @ x.sin().mT  # noqa: E731
    assert words(ours, lambda x: rotate(jnp.cumsum(x, -1), jnp, **change) @ jnp.sin(x).swapaxes(1, 2)) == expected


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"padding": [(0, 2)]}, "padding (0, 2) instead of (1, 1) (trap 4)"),
        ({"kernel": -1}, "the kernel is flipped"),
        ({"dilation": 2, "padding": [(2, 2)]}, "dilation 2 instead of 1"),
    ],
)
def test_convolution(change: dict, expected: str) -> None:
    kernel = np.random.default_rng(1).normal(size=(4, 6, 3))

    def theirs(x: jax.Array) -> jax.Array:
        pads, step = change.get("padding", [(1, 1)]), change.get("dilation", 1)
        turned = jnp.asarray(kernel[:, :, :: change.get("kernel", 1)])
        y = jax.lax.conv_general_dilated(x, turned, (2,), pads, rhs_dilation=(step,))
        return jnp.tanh(y)

    ours = lambda x: F.conv1d(x, torch.from_numpy(kernel), stride=2, padding=1).tanh()  # noqa: E731
    assert words(ours, theirs) == expected
