"""LeNet-5 in Equinox is PyTorch's and Linen's, and so is its training step. Skipped where Equinox is not installed."""

import importlib
import pkgutil
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch

import jaxnets
import jaxnets.eqx
import torchnets
import torchnets.step
from data import Batch
from parity.ports import check_port

eqx = pytest.importorskip("equinox")
IMAGES = np.random.default_rng(0).normal(size=(4, 32, 32, 1))
FOLDER = Path(jaxnets.eqx.__file__).parent
FILES = [file.name for file in pkgutil.iter_modules([str(FOLDER)]) if file.name != "step"]


def build(name: str) -> Any:
    """The module of a file, which is called like Linen's."""
    cls = type(jaxnets.MODELS[name].build()).__name__
    return getattr(importlib.import_module(f"jaxnets.eqx.{name}"), cls)(key=jax.random.key(0))


@pytest.mark.slow
@pytest.mark.parametrize("name", FILES)
def test_equinox_is_the_pytorch_network(name):
    port = check_port(torchnets.MODELS[name].build(), build(name), IMAGES)
    assert port.ok, port.report.failures
    assert {path: rule.sources for path, rule in port.mapping.rules.items()} == {
        f"params/{key.replace('.', '/')}": (key,) for key in torchnets.MODELS[name].build().state_dict()
    }


@pytest.mark.slow
@pytest.mark.parametrize("name", FILES)
def test_equinox_is_the_linen_network(name):
    port = check_port(jaxnets.MODELS[name].build(), build(name), IMAGES)
    assert port.ok, port.report.failures
    assert {r.check for r in port.report.results} >= {"gradients, eval", "forward, train", "gradients, train"}


@pytest.mark.slow
@pytest.mark.parametrize("name", FILES)
def test_a_training_step_is_pytorchs(name):
    lesson = importlib.import_module("jaxnets.eqx.step")
    torch.manual_seed(0)
    metrics: Any = {}
    module, labels = torchnets.MODELS[name].build().double(), np.arange(4)
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1, momentum=0.9)
    with jax.enable_x64(True):
        model, tx = with_weights(build(name), module), optax.sgd(0.1, momentum=0.9)
        opt_state, step = lesson.init_state(tx, model), eqx.filter_jit(lesson.train_step)
        batch = Batch(IMAGES, labels)
        for number in range(2):
            model, opt_state, metrics = step(model, tx, opt_state, jax.random.key(number), batch)
    images, expected = torch.from_numpy(np.moveaxis(IMAGES, -1, 1).copy()), dict[str, Any]()
    for _ in range(2):
        expected = torchnets.step.train_step(module, optimizer, (images, torch.from_numpy(labels)))
    assert float(metrics["loss"]) == pytest.approx(expected["loss"].item(), rel=1e-12)
    assert int(metrics["correct"]) == int(expected["correct"])
    assert len(module.state_dict()) == len(jax.tree.leaves(eqx.filter(model, eqx.is_array)))
    for key, tensor in module.state_dict().items():
        layer, _, leaf = key.partition(".")
        found = np.asarray(getattr(getattr(model, layer), leaf)).reshape(tensor.shape)
        np.testing.assert_allclose(found, tensor.numpy(), rtol=1e-10, atol=1e-12, err_msg=key)


def with_weights(model: Any, module: torch.nn.Module) -> Any:
    """Return the Equinox module with PyTorch's weights; the biases of its convolutions are (C, 1, 1)."""
    for key, tensor in module.state_dict().items():
        layer, _, leaf = key.partition(".")
        shape = getattr(getattr(model, layer), leaf).shape
        array = jnp.asarray(tensor.numpy().copy()).reshape(shape)
        model = eqx.tree_at(lambda m, layer=layer, leaf=leaf: getattr(getattr(m, layer), leaf), model, array)
    return model
