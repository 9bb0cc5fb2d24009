"""In float32 one rounding may decide whether a ReLU opens: no fault of a right twin, and no excuse for a wrong one."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import linen as nn

import parity
from parity.report import Result

BELOW = 6e-7  # zero, where the input of one ReLU is: a few roundings of the products that are summed there
OTHER_ROUNDING = 10  # roundings of 1 by which the twin's sum differs


class TorchTwo(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1, self.fc2 = torch.nn.Linear(4, 8), torch.nn.Linear(8, 3)

    def forward(self, x):
        return self.fc2(self.fc1(x).relu())


@jax.custom_vjp
def worse(x):
    """Return x; in float32, but not in float64, its gradient is a thousandth too large."""
    return x


worse.defvjp(lambda x: (x, None), lambda _, g: (g * (1.001 if g.dtype == jnp.float32 else 1),))


class FlaxTwo(nn.Module):
    """The same network; its sums are rounded differently, by as much as another order of them may."""

    wrong: bool = False

    @nn.compact
    def __call__(self, x):
        x = nn.Dense(8, name="fc1")(x)
        x = nn.relu(x + OTHER_ROUNDING * jnp.finfo(x.dtype).eps)
        return nn.Dense(3, name="fc2")(worse(x) if self.wrong else x)


def undecided(module: TorchTwo, seed: int, *, below: float = BELOW) -> np.ndarray:
    """Inputs of which the first gives the first unit a sum as near to zero as wanted, and the others do not."""
    inputs = 3 * np.random.default_rng(seed).normal(size=(6, 4))
    weight, bias = (p.detach().double().numpy() for p in (module.fc1.weight, module.fc1.bias))
    inputs[0] -= (weight[0] @ inputs[0] + bias[0] + below) * weight[0] / (weight[0] @ weight[0])
    return inputs


def checked(seed: int, below: float = BELOW, *, wrong: bool = False) -> tuple[parity.Report, Result]:
    torch.manual_seed(seed)
    module = TorchTwo()
    report = parity.check(module, FlaxTwo(wrong=wrong), undecided(module, seed, below=below), seed=seed)
    return report, next(result for result in report.results if result.check == "float32 gradients")


@pytest.mark.parametrize("seed", range(5))
def test_a_relu_that_opens_on_one_side_alone_is_shown_to_be_undecided(seed):
    report, result = checked(seed)
    assert report.ok, report.failures
    assert "at weights moved by" in result.note
    assert result.error < 1e-5 < result.bound  # what is left is far less than the jump
    apart = float(result.note.rpartition(" ")[2])
    assert apart > 1e-3


def test_far_from_zero_nothing_is_moved():
    report, result = checked(0, below=0.1)
    assert report.ok
    assert not result.note


@pytest.mark.parametrize("below", [0.1, BELOW])
def test_a_gradient_that_is_wrong_in_float32_alone_is_a_fault_beside_an_undecided_relu_too(below):
    report, result = checked(0, below=below, wrong=True)
    assert not report.ok
    assert result.failure
    assert result.error > 5e-4
