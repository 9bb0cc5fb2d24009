"""Right ports raise no alarm, whatever they are made of; what differs in training mode alone is seen."""

import functools
import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import linen as nn
from torch import nn as tn

import jaxnets.convolution
import jaxnets.models.vgg
import parity
import torchnets.models.vgg
from parity.ports import check_port

RNG = np.random.default_rng(0)
X, IDS = RNG.normal(size=(5, 4)), RNG.integers(0, 11, (3, 5))


class Noisy(tn.Module):
    def __init__(self, rate: float = 0.3):
        super().__init__()
        self.fc, self.bn, self.out, self.drop = tn.Linear(4, 6), tn.BatchNorm1d(6), tn.Linear(6, 3), tn.Dropout(rate)

    def forward(self, x):
        return self.out(self.drop(torch.tanh(self.bn(self.fc(x)))))


class Flax(nn.Module):
    rate: float = 0.3
    early: bool = False
    times: int = 1

    @nn.compact
    def __call__(self, x, train: bool = False):
        drop = nn.Dropout(self.rate, deterministic=not train)
        x = nn.BatchNorm(not train, momentum=0.9, epsilon=1e-5)(nn.Dense(6)(x))
        x = jnp.tanh(drop(x)) if self.early else drop(jnp.tanh(x))
        for _ in range(self.times - 1):
            x = drop(x)
        return nn.Dense(3)(x)


def test_training_mode_is_compared_with_the_same_masks():
    report = parity.check(Noisy(), Flax(), X, accept=["trap-1"])
    assert report.ok, report.failures
    notes = {result.check: result.note for result in report.results}
    assert notes["dropout"] == "1 mask, the same on both sides"
    assert {"forward, train", "statistics", "gradients, train"} <= notes.keys()


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (Flax(rate=0.5), "PyTorch drops 0.3 at .*JAX 0.5 at .*rates differ"),
        (Flax(times=2), "PyTorch draws 1 mask in training mode, JAX 2 masks"),
        (Flax(early=True), "PyTorch has"),
    ],
    ids=["rate", "twice", "before the activation"],
)
def test_dropout_that_differs_is_seen(model, words):
    (failure,) = parity.check(Noisy(), model, X, accept=["trap-1"]).failures
    assert failure.check in ("dropout", "forward, train")
    assert re.search(words, failure.diagnosis), failure.diagnosis


class Unfinished(Flax):
    @nn.compact
    def __call__(self, x, train: bool = False):
        return super().__call__(x.reshape(-1, 7) if train else x, train)


def test_a_side_that_raises_in_training_mode_alone_fails():
    (failure,) = parity.check(Noisy(), Unfinished(), X, accept=["trap-1"]).failures
    assert failure.check == "training mode"
    assert "JAX raises in training mode, PyTorch does not: TypeError at" in failure.diagnosis
    assert "x.reshape(-1, 7)" in str(failure.jax_line)


@pytest.mark.parametrize(
    ("depths", "purpose"),
    [((1,), "inference"), pytest.param((1, 1, 2), "training", marks=pytest.mark.slow)],
)
def test_networks_of_this_project_are_proved_as_any_other_pair(depths, purpose, tmp_path):
    options: Any = {"depths": depths, "width": 4, "hidden": 8, "num_classes": 10}
    ours, theirs = torchnets.models.vgg.VGG(**options), jaxnets.models.vgg.VGG(**options)
    inputs = np.random.default_rng(0).normal(size=(2, 16, 16, 3))
    report = parity.check(ours, theirs, inputs, purpose=purpose, accept=["trap-1"])  # by operations
    assert report.ok, report.failures
    assert not jaxnets.convolution.DIRECT.get()  # what is run is as quick as before
    if purpose == "training":
        assert report.results[-1].check == "gradients, train"
        parity.record(theirs, inputs, tmp_path / "vgg.parity")
        assert parity.check_record(tmp_path / "vgg.parity", ours, accept=["trap-1"]).ok


class Words(tn.Module):
    def __init__(self):
        super().__init__()
        self.emb, self.out = tn.Embedding(11, 6), tn.Linear(6, 11)
        self.mask_token = tn.Parameter(torch.randn(6))

    def forward(self, ids, masked=None):
        x = self.emb(ids)
        return self.out(torch.tanh(x if masked is None else torch.where(masked[..., None], self.mask_token, x)))


class Padded(nn.Module):
    @nn.compact
    def __call__(self, ids, masked=None):
        x, token = nn.Embed(16, 6)(ids), self.param("mask", nn.initializers.normal(), (6,))
        x = x if masked is None else jnp.where(masked[..., None], token, x)
        return nn.Dense(16)(jnp.tanh(x))[..., :11]


def test_tables_with_more_rows_and_weights_that_no_side_uses():
    found = parity.match(Words(), Padded(), IDS)
    assert found.ok, found.verdict
    rules = {path: str(rule.steps) for path, rule in found.mapping.rules.items()}
    assert rules["params/Embed_0/embedding"] == "('pad 5 along 0',)"
    state = Words().state_dict()
    carried = found.to_flax(state)["params"]
    np.testing.assert_array_equal(carried["Dense_0"]["kernel"][:, :11], state["out.weight"].T)
    np.testing.assert_array_equal(carried["mask"], state["mask_token"])
    assert any("params/mask is taken by its name and shape" in note for note in found.report.notes)
    back = found.to_torch(found.to_flax(state))
    assert all(np.array_equal(back[key], tensor) for key, tensor in state.items())


class Attention(tn.Module):
    def forward(self, q, k):
        return tn.functional.scaled_dot_product_attention(q, k, k)


@pytest.mark.slow
def test_a_function_without_weights():
    inputs = tuple(RNG.normal(size=(2, 3, n, 4)) for n in (5, 6))
    right = lambda q, k: jax.nn.softmax(q @ k.swapaxes(-1, -2) / 2) @ k  # noqa: E731
    report = parity.check(Attention(), right, inputs)
    assert report.ok, report.failures
    assert "gradients" in {result.check for result in report.results}  # of the inputs
    stopped = lambda q, k: right(jax.lax.stop_gradient(q), k)  # noqa: E731
    assert [failure.check for failure in parity.check(Attention(), stopped, inputs).failures] == ["gradients"]
    wrong = lambda q, k: jax.nn.softmax(q @ k.swapaxes(-1, -2)) @ k  # noqa: E731
    assert not parity.check(Attention(), wrong, inputs).ok


class Table(tn.Module):
    """A table in float32 that is kept from call to call, as rotary embeddings are."""

    def __init__(self):
        super().__init__()
        self.fc, self.table = tn.Linear(4, 4), None
        self.register_buffer("frequencies", 1 / 10 ** (torch.arange(4.0) / 4), persistent=False)

    def forward(self, x):
        if self.table is None:
            self.table = torch.cos(torch.outer(torch.arange(5.0), torch.as_tensor(self.frequencies)))
        return self.fc(x) * self.table, x.sum()


def table(params, x):
    return (x @ params["w"] + params["b"]) * jnp.cos(jnp.arange(5.0)[:, None] / 10 ** (jnp.arange(4.0) / 4))


def test_numbers_of_float32_on_pytorchs_side_and_an_output_that_only_it_has():
    report = parity.check(Table(), (table, {"w": np.zeros((4, 4)), "b": np.zeros(4)}), X)
    assert report.ok, report.failures
    notes = " ".join(report.notes)
    assert "PyTorch uses numbers of float32 at" in notes
    assert "only PyTorch returns 1" in notes


@pytest.mark.slow
def test_a_dtype_that_is_a_field_and_a_compiled_module():
    class Narrow(nn.Module):
        dtype: jnp.dtype = jnp.dtype(jnp.bfloat16)

        @nn.compact
        def __call__(self, x):
            dense = functools.partial(nn.Dense, dtype=self.dtype)
            return dense(3)(nn.relu(dense(6)(x)))

    module = tn.Sequential(tn.Linear(4, 6), tn.ReLU(), tn.Linear(6, 3))
    compiled = tn.Module()  # what torch.compile returns holds the module so
    compiled._orig_mod = module
    report = check_port(compiled, Narrow(), X).report
    assert report.ok, report.failures
    assert parity.check(compiled, Narrow(), X).ok
