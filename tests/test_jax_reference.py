"""A JAX model as the reference: other names, other layouts, other APIs; and what differs, located on both sides."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from flax import nnx

import parity
from parity.ports import check_port

IMAGES = np.random.default_rng(0).normal(size=(3, 6, 6, 3))


class Linen(nn.Module):
    momentum: float = 0.9

    @nn.compact
    def __call__(self, x, *, train: bool = False):
        x = nn.Conv(4, (3, 3), padding=1)(x)
        x = nn.relu(nn.BatchNorm(not train, momentum=self.momentum)(x))
        x = nn.relu(nn.Conv(4, (3, 3), padding=1)(x))
        return nn.Dense(5)(x.mean((1, 2)))


class Nnx(nnx.Module):
    def __init__(self, momentum: float = 0.9, slope: float = 0.0, epsilon: float = 1e-5, *, rngs: nnx.Rngs):
        self.slope = slope
        self.second = nnx.Conv(4, 4, (3, 3), padding=1, rngs=rngs)
        self.first = nnx.Conv(3, 4, (3, 3), padding=1, rngs=rngs)
        self.norm = nnx.BatchNorm(4, momentum=momentum, epsilon=epsilon, rngs=rngs)
        self.head = nnx.Linear(4, 5, rngs=rngs)

    def __call__(self, x):
        x = nnx.relu(self.norm(self.first(x)))
        x = nnx.leaky_relu(self.second(x), self.slope)
        return self.head(x.mean((1, 2)))


def as_function(params, x):  # channels first, kernels as PyTorch has them
    x = jax.lax.conv(x, params["w"], (1, 1), "SAME") + params["b"][:, None, None]
    return jnp.tanh(x).reshape(len(x), -1) @ params["head"].T


class Simple(nn.Module):
    @nn.compact
    def __call__(self, x):
        x = jnp.tanh(nn.Conv(4, (3, 3), padding=1)(x))
        return nn.Dense(2, use_bias=False)(jnp.moveaxis(x, -1, 1).reshape(len(x), -1))


def nnx_model(**options) -> Nnx:
    return Nnx(**options, rngs=nnx.Rngs(0))


@pytest.mark.slow
def test_linen_is_the_reference_of_nnx_with_other_names():
    port = check_port(Linen(), nnx_model(), IMAGES)
    assert port.ok, port.report.failures
    assert [r.check for r in port.report.results] == [
        "weights",
        "forward, eval",
        "float32 forward",
        "round trip",
        "gradients, eval",
        "forward, train",
        "gradients, train",
        "statistics",
    ]
    sources = {path: rule.sources for path, rule in port.mapping.rules.items()}
    assert sources["params/first/kernel"] == ("params/Conv_0/kernel",)
    assert sources["params/second/kernel"] == ("params/Conv_1/kernel",)
    assert sources["batch_stats/norm/var"] == ("batch_stats/BatchNorm_0/var",)
    assert parity.check(Linen(), nnx_model(), IMAGES).ok


@pytest.mark.slow
def test_nnx_is_the_reference_of_a_function_in_another_layout():
    params = {"w": np.zeros((4, 3, 3, 3)), "b": np.zeros(4), "head": np.zeros((2, 144))}
    port = check_port(Simple(), (as_function, params), IMAGES)
    assert port.ok, port.report.failures
    assert any("moved first" in note for note in port.report.notes)


@pytest.mark.parametrize(
    ("options", "stage", "words"),
    [
        ({"slope": 0.3}, "forward", "leaky_relu"),
        pytest.param({"epsilon": 1e-3}, "forward", "norm", marks=pytest.mark.slow),
        ({"momentum": 0.5}, "statistics", "norm"),
    ],
)
def test_what_differs_is_located_and_called_by_its_side(options, stage, words):
    failure = check_port(Linen(), nnx_model(**options), IMAGES).report.failures[0]
    assert failure.stage == stage
    assert words in f"{failure.layer} {failure.diagnosis} {failure.jax_line}"
    assert "Linen has" in failure.diagnosis
    assert ", NNX " in failure.diagnosis
    assert "PyTorch" not in failure.diagnosis
    if stage == "forward":
        assert failure.jax_line is not None
        assert "test_jax_reference" in failure.jax_line.file


@pytest.mark.slow
def test_the_command_takes_a_linen_reference(run_parity):
    code, out, err = run_parity("check", "tests.own_flax:plain", "tests.own_flax:plain", "--input", "4,6,6,3")
    assert (code, err) == (0, "")
    assert "gradients, train" in out or "training mode" in out
    assert "PyTorch" not in out


def test_a_pytorch_port_of_a_jax_reference_is_refused(run_parity):
    code, _, err = run_parity("check", "tests.own_flax:plain", "tests.own_torch:plain", "--input", "4,6,6,3")
    assert code == 2  # could not be checked
    assert "give it first" in err
    assert err.count("\n") == 0
