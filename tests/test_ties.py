"""Where PyTorch itself chooses between equals by a rounding, the pair is judged nearby; a bug is found there, too."""

import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import linen as nn

import parity
from parity.report import Result


class TorchTwo(torch.nn.Module):
    """The larger of two products that are the same but for rounding, where both inputs are."""

    def __init__(self, *, exact: bool = False):
        super().__init__()
        self.exact = exact
        self.u, self.v = (torch.nn.Parameter(torch.rand(50) + 0.5) for _ in range(2))

    def forward(self, x):
        a, b = x[:, :50], x[:, 50:]
        other = b * self.u * self.v if self.exact else b * (self.u * self.v)
        return torch.where(other > a * self.u * self.v, other, a * self.u * self.v)


class FlaxTwo(nn.Module):
    exact: bool = False
    factor: float = 1.0
    halves: bool = False  # of two equals each has half of the gradient

    @nn.compact
    def __call__(self, x):
        u, v = (self.param(name, nn.initializers.ones, (50,), jnp.float32) for name in "uv")
        a, b = x[:, :50], x[:, 50:]
        one, other = (a * u * v, b * u * v) if self.exact else (a * (u * v), b * u * v)
        other = other * self.factor
        return jnp.maximum(one, other) if self.halves else jnp.where(other > one, other, one)


def equal_halves() -> np.ndarray:
    half = np.random.default_rng(0).normal(size=(6, 50))
    return np.concatenate([half, half], axis=1)


def gradients(report: parity.Report) -> Result:
    return next(result for result in report.results if result.check == "gradients")


@pytest.mark.parametrize("seed", range(5))
def test_a_choice_between_equals_is_not_held_against_a_right_twin(seed):
    torch.manual_seed(seed)
    report = parity.check(TorchTwo(), FlaxTwo(), equal_halves(), seed=seed)
    assert report.ok, report.failures
    assert "PyTorch's own gradient is" in gradients(report).note
    assert gradients(report).error <= 1e-13


def test_a_bug_beside_it_is_found():
    report = parity.check(TorchTwo(), FlaxTwo(factor=1.00001), equal_halves())
    assert {failure.stage for failure in report.failures} >= {"forward"}


def test_where_pytorch_decides_alike_its_choice_is_the_rule():
    assert parity.check(TorchTwo(exact=True), FlaxTwo(exact=True), equal_halves()).ok
    report = parity.check(TorchTwo(exact=True), FlaxTwo(exact=True, halves=True), equal_halves())
    assert not report.ok
    assert gradients(report).failure
    assert "PyTorch's own gradient" not in gradients(report).note
