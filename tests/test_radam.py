"""Trap 37: where `optax.radam` parts from PyTorch's `RAdam`."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch

FIRST = 5  # the sixth step is the first that is rectified
STEPS = 8


def apart(eps: float, *, wide: bool, corrected: bool = False) -> np.ndarray:
    """How far optax's steps are from PyTorch's, relative; optax given the epsilon that PyTorch's amounts to."""
    dtype, rng = (np.float64 if wide else np.float32), np.random.default_rng(0)
    weights = torch.from_numpy(rng.normal(size=5).astype(dtype)).requires_grad_()
    optimizer, errors = torch.optim.RAdam([weights], lr=0.01, eps=eps), []
    with jax.enable_x64(wide):
        params = jnp.asarray(weights.detach().numpy())
        state = optax.radam(0.01).init(params)
        for step in range(1, STEPS + 1):
            gradient, before = rng.normal(size=5).astype(dtype), weights.detach().numpy().copy()
            weights.grad = torch.from_numpy(gradient)
            optimizer.step()
            rule = optax.radam(0.01, eps=eps / (1 - 0.999**step) ** 0.5 if corrected else eps)
            update, state = rule.update(jnp.asarray(gradient), state, params)
            moved = weights.detach().numpy() - before
            errors.append(np.linalg.norm(np.asarray(update) - moved) / np.linalg.norm(moved))
    return np.array(errors)


def test_epsilon_is_added_before_the_correction_in_pytorch_and_after_it_in_optax() -> None:
    plain, corrected = apart(1e-3, wide=True), apart(1e-3, wide=True, corrected=True)
    assert plain[:FIRST].max() < 1e-13
    assert plain[FIRST:].min() > 5e-3
    assert corrected.max() < 1e-10


def test_optax_computes_the_rectification_in_float32() -> None:
    narrow, wide = (apart(1e-12, wide=wide) for wide in (False, True))
    assert narrow[FIRST] == pytest.approx(0.0115, abs=2e-3)
    assert narrow[:FIRST].max() < 1e-4
    assert wide.max() < 1e-9
