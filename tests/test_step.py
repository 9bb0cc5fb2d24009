"""The lesson: short, free of options, and what runs when every option is off."""

import subprocess
import sys
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch

import jaxnets
import jaxnets.compose
import jaxnets.step
import torchnets
import torchnets.compose
import torchnets.step
from data import Batch
from experiment.config import Config
from parity.copy import flatten, to_flax
from parity.suite import real_batches
from tests.test_regularisation import assert_close
from torchnets.tensors import as_tensors

MODULES = {"jaxnets": jaxnets.step, "torchnets": torchnets.step}
OFF = Config(optimizer="momentum", schedule="constant", lr=0.1, momentum=0.9)


@pytest.mark.parametrize("framework", MODULES)
def test_the_lesson_fits_on_one_screen(framework):
    assert len(Path(MODULES[framework].__file__ or "").read_text().splitlines()) <= 60


@pytest.mark.parametrize("framework", MODULES)
def test_the_lesson_does_not_load_the_command_line(framework):
    check = f"import sys, {framework}.step; print([m for m in ('experiment.config', 'tyro') if m in sys.modules])"
    run = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert run.stdout == "[]\n"


def test_with_every_option_off_the_step_is_the_lesson_s():
    model = jaxnets.MODELS["mlp"].build()
    step = jaxnets.compose.training(model, OFF, 10).step
    assert isinstance(step, partial)
    assert step.func is jaxnets.step.train_step
    assert step.args[0] is model
    assert step.keywords == {"loss": jaxnets.compose.LOSSES["cross-entropy"]}
    net = torchnets.MODELS["mlp"].build()
    (module, optimizer, _, average), torch_step = torchnets.compose.training(net, OFF, 10)
    assert isinstance(torch_step, partial)
    assert torch_step.func is torchnets.step.train_step
    assert module is net
    assert average is None
    assert torch_step.args == (net, optimizer)
    assert torch_step.keywords == {"loss": torchnets.compose.LOSSES["cross-entropy"]}
    assert jaxnets.compose.evaluation(OFF) is jaxnets.step.eval_step
    assert torchnets.compose.evaluation(OFF) is torchnets.step.eval_step


def test_the_two_lessons_take_the_same_steps():
    """Plain functions alone, with optax's and PyTorch's own optimizers: no `compose`, in float64."""
    torch.manual_seed(0)
    net, model = torchnets.MODELS["lenet5_bn"].build().double(), jaxnets.MODELS["lenet5_bn"].build()
    optimizer, tx = torch.optim.SGD(net.parameters(), 0.1, 0.9), optax.sgd(0.1, 0.9)
    with jax.enable_x64(True):
        state = jaxnets.step.init_state(tx, jax.tree.map(jnp.asarray, to_flax(net.state_dict())), seed=0)
        step = jax.jit(partial(jaxnets.step.train_step, model, tx))
        batches = [Batch(b.inputs.astype(np.float64), b.labels) for b in real_batches((32, 32, 1), 3, 0)]
        for wide in batches:
            state, ours = step(state, wide)
            theirs = torchnets.step.train_step(net, optimizer, as_tensors(wide))
            assert ours.keys() == theirs.keys() == {"loss", "correct", "grad_norm"}
            for name, value in ours.items():
                np.testing.assert_allclose(value, theirs[name], rtol=1e-10, err_msg=name)
            assert_close(flatten(state.variables), flatten(to_flax(net.state_dict())))
        logits = jax.jit(partial(jaxnets.step.eval_step, model))(state.variables, batches[0].inputs)
    other = torchnets.step.eval_step(net, net.state_dict(), as_tensors(batches[0])[0])
    np.testing.assert_allclose(logits, other, rtol=0, atol=1e-10)
