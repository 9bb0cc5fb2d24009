"""A port that loses digits in float32 alone is told so, with the line; what a rounding decides is no fault."""

import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import linen
from torch import nn as tn

import parity
from parity.ports import check_port
from tests.test_float32 import TorchTwo, undecided, worse

RNG = np.random.default_rng(0)
POINTS = RNG.normal(size=(6, 16)).astype(np.float32)  # so that their differences are exact in float32
NEAR = (POINTS + 0.02 * RNG.normal(size=(6, 16))).astype(np.float32)
PARAMS = {"w": np.zeros((16, 8)), "b": np.zeros(8)}


class Distances(tn.Module):
    def forward(self, x, y):
        return (x - y).square().sum(-1).sqrt()


def distances(x, y):
    return jnp.sqrt(((x - y) ** 2).sum(-1))


def expanded(x, y):
    squares = (x * x).sum(-1) + (y * y).sum(-1) - 2 * (x * y).sum(-1)
    return jnp.sqrt(squares)


class Norm(tn.Module):
    def __init__(self):
        super().__init__()
        self.norm = tn.LayerNorm(16)

    def forward(self, x):
        return self.norm(x)


def norm(params, x):
    centred = x - x.mean(-1, keepdims=True)
    return centred / jnp.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5) * params["w"] + params["b"]


def fast_norm(params, x):
    mean = x.mean(-1, keepdims=True)
    variance = (x * x).mean(-1, keepdims=True) - mean**2
    return (x - mean) / jnp.sqrt(variance + 1e-5) * params["w"] + params["b"]


MAPPING = {
    "fc1.weight": "params/Dense_0/kernel",
    "fc1.bias": "params/Dense_0/bias",
    "fc2.weight": "params/Dense_1/kernel",
    "fc2.bias": "params/Dense_1/bias",
}
NORM = {"w": np.zeros(16), "b": np.zeros(16)}
FAR = POINTS + 30  # deviations: the square of their mean is 900 variances


def checked(module, model, *inputs):
    torch.manual_seed(0)
    report = parity.check(module, model, inputs)
    return report, next(result for result in report.results if result.check == "float32 forward")


@pytest.mark.parametrize(
    ("module", "model", "inputs"),
    [
        (Distances(), distances, (POINTS, NEAR)),
        (Norm(), (norm, NORM), (FAR,)),
        (Norm(), (fast_norm, NORM), (POINTS,)),
    ],
    ids=["differences", "two passes", "one pass, near zero"],
)
def test_what_keeps_its_digits_holds(module, model, inputs):
    report, result = checked(module, model, *inputs)
    assert report.ok, report.failures
    assert result.error <= result.bound == 1e-5


@pytest.mark.parametrize(
    ("module", "model", "inputs", "mine", "theirs"),
    [
        (Distances(), expanded, (POINTS, NEAR), ".square().sum(-1).sqrt()", "squares ="),
        (Norm(), (fast_norm, NORM), (FAR,), "self.norm(x)", "variance ="),
    ],
    ids=["expanded squares", "one-pass variance"],
)
def test_what_loses_its_digits_is_told_with_the_line(module, model, inputs, mine, theirs):
    report, result = checked(module, model, *inputs)
    assert [failure.check for failure in report.failures] == ["float32 forward"]
    (failure,) = report.failures
    assert "float32 loses digits here" in failure.diagnosis
    assert mine in str(failure.torch_line)
    assert theirs in str(failure.jax_line)
    assert result.error > result.bound


def test_weights_are_found_and_carried_all_the_same():
    assert parity.match(Norm(), (fast_norm, NORM), (FAR,)).ok


class Rounded(tn.Module):
    """What is rounded is far from a half, but for one number, which is as near to it as float32 allows."""

    def forward(self, x):
        return torch.round(x * 3) / 3 + torch.where(x > 0.5, 1.0, 0.0) + x[torch.arange(4), x.argmax(1)][:, None]


def rounded(x):
    chosen = jnp.take_along_axis(x, jnp.argmax(x, 1)[:, None], 1)
    return jnp.round(x * 3) / 3 + jnp.where(x > 0.5, 1.0, 0.0) + chosen


def test_a_rounding_that_decides_is_not_held_against_a_port():
    x = RNG.normal(size=(4, 5))
    x[0, 0], x[1, 1] = 0.5 + 1e-12, 0.5 - 1e-12  # float32 has one half for both: not above, and three halves are even
    x[2, 2], x[2, 3] = 3.0, 3.0 + 1e-12  # the larger is the second, or none
    report, result = checked(Rounded(), rounded, x)
    assert report.ok, report.failures
    assert result.error <= 1e-6


def test_the_words_of_a_linen_module_say_that_the_variance_cancels():
    class Flax(linen.Module):
        fast: bool

        @linen.compact
        def __call__(self, x):
            return linen.LayerNorm(epsilon=1e-5, use_fast_variance=self.fast)(x)

    (failure,) = parity.check(Norm(), Flax(fast=True), POINTS + 22).failures
    assert failure.check == "float32 forward"
    assert "E[x^2] - E[x]^2" in failure.diagnosis
    assert parity.check(Norm(), Flax(fast=False), FAR).ok
    (failure, *_) = parity.check(Norm(), Flax(fast=True), FAR * 100).failures
    assert "E[x^2] - E[x]^2" in failure.diagnosis  # nor another epsilon, nor another order


def test_a_side_that_has_float64_of_its_own_is_compared_in_float64_alone():
    class Torch(tn.Module):
        def __init__(self):
            super().__init__()
            self.fc = tn.Linear(16, 8)

        def forward(self, x):
            return self.fc(x) + x @ torch.ones(16, 8, dtype=torch.float64)

    def model(params, x):
        return x @ params["w"] + params["b"] + x.sum(-1, keepdims=True)

    report, result = checked(Torch(), (model, PARAMS), POINTS)
    assert report.ok, report.failures
    assert result.note.startswith("not made: a side cannot be computed so: RuntimeError")


class Narrow(linen.Module):
    """`TorchTwo`, float32 inside; a sum near to zero is rounded to it, which closes a ReLU that is open in float64."""

    wrong: bool = False

    @linen.compact
    def __call__(self, x):
        x = linen.Dense(8, dtype=jnp.float32)(x)
        x = linen.relu(x.at[:, 0].set((x[:, 0] + 16) - 16))
        return linen.Dense(3, dtype=jnp.float32)(worse(x) if self.wrong else x)


@pytest.mark.parametrize("seed", range(3))
def test_a_port_that_is_float32_inside_is_judged_by_its_program_in_float64_where_a_relu_flips(seed):
    torch.manual_seed(seed)
    module, twin = TorchTwo(), TorchTwo()
    port = check_port(module, Narrow(), RNG.normal(size=(6, 4)), mapping=MAPPING, seed=seed)
    weights = {name: torch.from_numpy(array) for name, array in port.pair.torch.parameters.items()}
    twin.load_state_dict(weights)  # the weights that are drawn for this seed
    report = check_port(module, Narrow(), undecided(twin, seed, below=-4e-7), mapping=MAPPING, seed=seed).report
    assert report.ok, report.failures
    (result,) = [result for result in report.results if result.check == "gradients"]
    assert "float32 inside; in float64" in result.note


def test_a_gradient_that_is_wrong_in_such_a_port_is_a_fault():
    torch.manual_seed(0)
    report = check_port(TorchTwo(), Narrow(wrong=True), RNG.normal(size=(6, 4)), mapping=MAPPING).report
    assert [failure.check for failure in report.failures] == ["gradients"]


class WithStatistics(tn.Module):
    def __init__(self):
        super().__init__()
        self.fc, self.bn = tn.Linear(4, 6), tn.BatchNorm1d(6)

    def forward(self, x):
        return self.bn(self.fc(x))


def test_the_biased_variance_is_told_and_accepted_in_float32_too():
    class Flax(linen.Module):
        @linen.compact
        def __call__(self, x, train: bool = False):
            x = linen.Dense(6, dtype=jnp.float32)(x)
            return linen.BatchNorm(not train, momentum=0.9, epsilon=1e-5, dtype=jnp.float32)(x)

    inputs = RNG.normal(size=(400, 4))
    (failure,) = check_port(WithStatistics(), Flax(), inputs).report.failures
    assert "(trap 1)" in failure.diagnosis
    assert check_port(WithStatistics(), Flax(), inputs, accept=["trap-1"]).ok
