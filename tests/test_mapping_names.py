"""A mapping that names tensors alone: how a leaf is made of them is told by the values."""

import json

import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import linen
from torch import nn as tn

import parity
from data import UserError
from parity.mapping.rule import Rule
from parity.ports import check_port

X = np.random.default_rng(0).normal(size=(5, 6))


class Torch(tn.Module):
    """Square layers: a kernel's shape does not tell whether it is transposed."""

    def __init__(self):
        super().__init__()
        self.first, self.second = tn.Linear(6, 6), tn.Linear(6, 6)

    def forward(self, x):
        return self.second(torch.relu(self.first(x)))


def transposed(params, x):
    x = jnp.maximum(x @ params["one"]["w"] + params["one"]["b"], 0)
    return x @ params["two"]["w"] + params["two"]["b"]


def as_pytorch(params, x):
    x = jnp.maximum(x @ params["one"]["w"].T + params["one"]["b"], 0)
    return x @ params["two"]["w"].T + params["two"]["b"]


def hardly(params, x):
    """Return what another activation makes of it."""
    x = jnp.maximum(x @ params["one"]["w"] + params["one"]["b"], 0.1)
    return x @ params["two"]["w"] + params["two"]["b"]


PARAMS = {name: {"w": np.zeros((6, 6)), "b": np.zeros(6)} for name in ("one", "two")}
NAMES = {
    "first.weight": "params/one/w",
    "first.bias": "params/one/b",
    "second.weight": "params/two/w",
    "second.bias": "params/two/b",
}
EXCHANGED = NAMES | {"first.weight": "params/two/w", "second.weight": "params/one/w"}


@pytest.mark.parametrize("model", [transposed, as_pytorch])
def test_the_layout_of_a_square_kernel_is_found(model):
    port = check_port(Torch(), (model, PARAMS), X, mapping=NAMES)
    assert port.ok, port.report.failures
    steps = ("o i -> i o",) if model is transposed else ()
    assert port.mapping.rules["params/one/w"] == Rule(("first.weight",), steps)


def test_a_file_of_names_does_the_same(tmp_path):
    file = tmp_path / "names.json"
    file.write_text(json.dumps(NAMES))
    assert parity.check(Torch(), (transposed, PARAMS), X, mapping=file).ok


def test_what_is_named_is_not_looked_for_elsewhere():
    report = parity.check(Torch(), (transposed, PARAMS), X, mapping=EXCHANGED)
    assert report.failures[0].check == "forward, eval"


def test_a_fault_behind_named_tensors_is_located():
    (failure, *_) = parity.check(Torch(), (hardly, PARAMS), X, mapping=NAMES).failures
    assert "torch.relu(self.first(x))" in str(failure.torch_line)
    assert "0.1)" in str(failure.jax_line)


@pytest.mark.parametrize(
    ("mapping", "words"),
    [
        ({"first.wieght": "params/one/w"}, "has no 'first.wieght'. Did you mean 'first.weight'?"),
        ({"first.weight": "one/w"}, "has no 'one/w'. Did you mean 'params/one/w'?"),
        ({"first.bias": "params/one/w"}, "takes first.bias (6,) for params/one/w (6, 6), which cannot be made"),
    ],
)
def test_a_name_that_is_not_there_is_told_with_the_nearest(mapping, words):
    with pytest.raises(UserError) as error:
        check_port(Torch(), (transposed, PARAMS), X, mapping=mapping)
    assert words in str(error.value)


def test_several_tensors_may_be_named_for_one_leaf():
    def joined(params, x):
        one, two = jnp.split(x @ params["both"] + jnp.concatenate([params["b"], params["c"]]), 2, -1)
        return jnp.maximum(one, 0) + two

    class Both(Torch):
        def forward(self, x):
            return torch.relu(self.first(x)) + self.second(x)

    params = {"both": np.zeros((6, 12)), "b": np.zeros(6), "c": np.zeros(6)}
    names = {"first.weight": "params/both", "second.weight": "params/both", "second.bias": "params/c"}
    port = check_port(Both(), (joined, params), X, mapping=names)
    assert port.ok, port.report.failures
    assert set(port.mapping.rules["params/both"].sources) == {"first.weight", "second.weight"}


class Spatial(tn.Module):
    def __init__(self):
        super().__init__()
        self.stem, self.wide, self.narrow = (
            tn.Conv2d(3, 8, 3, padding=1),
            tn.Conv2d(8, 8, 3, padding=1),
            tn.Conv2d(8, 8, 1),
        )
        self.pool, self.head = tn.MaxPool2d(3, 1, 1), tn.Linear(16, 4)

    def forward(self, x):
        x = torch.relu(self.stem(x))
        x = torch.cat([self.wide(x), self.narrow(self.pool(x))], dim=1)
        return self.head(x.mean((2, 3)))


class WithoutPool(linen.Module):
    @linen.compact
    def __call__(self, x):
        x = linen.relu(linen.Conv(8, (3, 3))(x))
        wide = linen.Conv(8, (3, 3))(x)
        narrow = linen.Conv(8, (1, 1))(x)
        return linen.Dense(4)(jnp.concatenate([wide, narrow], -1).mean((1, 2)))


def test_a_pool_that_is_left_out_is_located_with_the_layers_that_shapes_tell(monkeypatch):
    x, given = np.random.default_rng(0).normal(size=(2, 8, 8, 3)), []
    real = check_port
    monkeypatch.setattr("parity.pairs.check_port", lambda *a, **o: given.append(o["mapping"]) or real(*a, **o))
    (failure, *_) = parity.check(Spatial(), WithoutPool(), x).failures
    assert "self.narrow(self.pool(x))" in str(failure.torch_line)
    assert "narrow = linen.Conv" in str(failure.jax_line)
    (mapping,) = given  # once, and not anew without it
    assert mapping["narrow.weight"] == "params/Conv_2/kernel"


def test_layers_of_other_names_are_found_by_values_where_names_mislead():
    """The names are exchanged, and so are the calls: no fault, whatever the check of layers says."""

    class Flax(linen.Module):
        @linen.compact
        def __call__(self, x):
            return linen.Dense(6, name="first")(linen.relu(linen.Dense(6, name="second")(x)))

    report = parity.check(Torch(), Flax(), X)
    assert report.ok, report.failures
