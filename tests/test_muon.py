"""Muon against PyTorch's own, which takes matrices alone and in bfloat16, and against optax's, in float64."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import optax.contrib
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import jaxnets.muon
import jaxnets.optimizers
import torchnets.muon
import torchnets.optimizers
from experiment.config import Config
from tests.quick import costly


@costly(30)
@given(st.integers(1, 12), st.integers(1, 12), st.integers(1, 3), st.integers(0, 2**16))
def test_all_directions_count_alike_and_both_frameworks_follow_the_same(outputs, inputs, side, seed):
    update = np.random.default_rng(seed).normal(size=(outputs, inputs, side, side))
    found = torchnets.muon.follow(torch.tensor(update)).numpy()
    with jax.enable_x64():
        twin = jaxnets.muon.follow(jnp.asarray(update.transpose(2, 3, 1, 0)))
        ours = np.asarray(twin).transpose(3, 2, 0, 1)
    np.testing.assert_allclose(ours, found, rtol=0, atol=1e-10)
    old, new = (np.linalg.svd(x.reshape(outputs, -1), compute_uv=False) for x in (update, found))
    new /= 0.2 * max(outputs, inputs * side**2) ** 0.5
    assert new.max() < 1.25
    assert new[old > 0.02 * np.linalg.norm(old)].min() > 0.6  # of what is not all but absent


def test_no_gradient_is_no_direction():
    assert not np.any(jaxnets.muon.follow(jnp.zeros((3, 3, 4, 5))))
    assert not torchnets.muon.follow(torch.zeros(5, 4, 3, 3)).any()


@pytest.mark.parametrize("shape", [(5, 9), (9, 5), (7, 7)])
def test_it_is_optax_s_iteration(shape):
    matrix = np.random.default_rng(0).normal(size=shape)
    with jax.enable_x64():
        rule = optax.contrib.scale_by_muon(beta=0.0, eps=0.0, nesterov=False)
        theirs: Any
        theirs, _ = rule.update(jnp.asarray(matrix), rule.init(jnp.asarray(matrix)))
        np.testing.assert_allclose(jaxnets.muon.orthogonal(jnp.asarray(matrix)), theirs, rtol=0, atol=1e-10)


def test_of_a_matrix_it_is_pytorch_s():
    start, grads = (np.random.default_rng(0).normal(size=(*steps, 24, 10)) for steps in ((), (8,)))
    config = Config(optimizer="muon", lr=0.02, momentum=0.8, weight_decay=0.3, schedule="constant")
    ours, theirs = (torch.nn.Parameter(torch.tensor(start)) for _ in range(2))
    rule, _ = torchnets.optimizers.make_optimizer(config, 8, [ours])
    own = torch.optim.Muon([theirs], 0.02, 0.3, 0.8, adjust_lr_fn="match_rms_adamw")
    with jax.enable_x64():
        params: Any
        params, tx = {"kernel": jnp.asarray(start.T)}, jaxnets.optimizers.make_optimizer(config, 8)
        state = tx.init(params)
        for grad in grads:
            ours.grad, theirs.grad = torch.tensor(grad), torch.tensor(grad)
            rule.step()
            own.step()
            updates, state = tx.update({"kernel": jnp.asarray(grad.T)}, state, params)
            params = optax.apply_updates(params, updates)
    moved = torch.linalg.norm(theirs - torch.tensor(start))
    assert torch.linalg.norm(ours - theirs) < 0.02 * moved  # bfloat16 has 8 bits
    np.testing.assert_allclose(np.asarray(params["kernel"]).T, ours.detach(), rtol=1e-10)


def test_vectors_are_adam_s():
    start, grads = (np.random.default_rng(1).normal(size=(*steps, 10)) for steps in ((), (8,)))
    ours, theirs = (torch.nn.Parameter(torch.tensor(start)) for _ in range(2))
    config = Config(optimizer="muon", lr=0.02, weight_decay=0.3, schedule="constant")
    rule, _ = torchnets.optimizers.make_optimizer(config, 8, [ours])
    own = torch.optim.AdamW([theirs], 0.02, weight_decay=0.3)
    for grad in grads:
        ours.grad, theirs.grad = torch.tensor(grad), torch.tensor(grad)
        rule.step()
        own.step()
    np.testing.assert_allclose(ours.detach(), theirs.detach(), rtol=1e-12)
