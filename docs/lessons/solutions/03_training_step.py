"""Solutions of lesson 3."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import torch
from exercises import Exercise


def decayed(rate, decay):
    """Return SGD whose gradients have the decay added, as PyTorch's have."""

    def update(updates, state, params=None):
        return jax.tree.map(lambda g, p: -rate * (g + decay * p), updates, params), state

    return optax.GradientTransformation(optax.init_empty_state, update)


def decayed_afterwards(rate, decay):
    """Take the decay off the weights without the rate: a mistake."""

    def update(updates, state, params=None):
        return jax.tree.map(lambda g, p: -rate * g - decay * p, updates, params), state

    return optax.GradientTransformation(optax.init_empty_state, update)


def check_decayed(answer):
    """Check one step against torch.optim.SGD."""
    weights, gradients = {"a": np.array([1.0, -2.0], np.float32)}, {"a": np.array([0.5, 0.0], np.float32)}
    tx = answer(0.1, 0.2)
    updates, _ = tx.update(gradients, tx.init(weights), weights)
    found = weights["a"] + np.asarray(updates["a"])
    theirs = torch.nn.Parameter(torch.tensor(weights["a"]))
    theirs.grad = torch.tensor(gradients["a"])
    torch.optim.SGD([theirs], lr=0.1, weight_decay=0.2).step()
    expected = theirs.detach().numpy()
    assert np.allclose(found, expected, atol=1e-6), f"PyTorch's weights are {expected} after the step, these {found}"


def mask(key, step, shape, rate):
    """Return dropout's mask of a step."""
    kept = jax.random.bernoulli(jax.random.fold_in(key, step), 1 - rate, shape)
    return kept / (1 - rate)


def mask_of_every_step(key, step, shape, rate):
    """Draw from the key itself, so that every step drops the same: a mistake."""
    kept = jax.random.bernoulli(key, 1 - rate, shape)
    return kept / (1 - rate) + 0 * step


def mask_of_the_step_alone(key, step, shape, rate):
    """Make a key of the step, so that every training drops the same: a mistake."""
    del key
    return mask(jax.random.key(0), step, shape, rate)


def check_mask(answer):
    """Check the values, the mean, and what the mask depends on."""
    key, shape = jax.random.key(3), (100, 100)
    first, second, again = (np.asarray(answer(key, step, shape, 0.25)) for step in (0, 1, 0))
    values = np.unique(first)
    assert np.allclose(values, [0, 4 / 3]), f"at rate 0.25 the values are 0 and 4/3; found {values[:5]}"
    assert abs(first.mean() - 1) < 0.03, f"the mean should stay about 1, found {first.mean():.3f}"
    assert (first == again).all(), "the same key and step must give the same mask"
    assert (first != second).any(), "two steps have the same mask: fold the step into the key"
    other = np.asarray(answer(jax.random.key(4), 0, shape, 0.25))
    assert (first != other).any(), "two keys have the same mask: use the key that is given"


def accumulated(loss, params, x, y):
    """Return the gradient of the mean loss, computed on two halves."""
    half = len(x) // 2
    grads = [jax.grad(loss)(params, x[part], y[part]) for part in (slice(half), slice(half, None))]
    return jax.tree.map(lambda a, b: (a + b) / 2, *grads)


def accumulated_sum(loss, params, x, y):
    """Add the gradients of two means, twice the gradient of the whole: a mistake."""
    return jax.tree.map(lambda g: 2 * g, accumulated(loss, params, x, y))


def check_accumulated(answer):
    """Check against the gradient of the whole batch."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(8, 3)).astype(np.float32), rng.normal(size=8).astype(np.float32)
    params, sizes = {"w": jnp.ones(3)}, []

    def loss(params, x, y):
        sizes.append(len(x))
        return ((x @ params["w"] - y) ** 2).mean()

    found = np.asarray(answer(loss, params, x, y)["w"])
    assert max(sizes) <= 4, f"a batch of {max(sizes)} does not fit: compute on halves"
    expected = np.asarray(jax.grad(loss)(params, x, y)["w"])
    assert np.allclose(found, expected, atol=1e-5), f"the whole batch gives {expected}, the halves {found}"


EXERCISES = [
    Exercise(decayed, check_decayed, decayed_afterwards),
    Exercise(mask, check_mask, mask_of_every_step, mask_of_the_step_alone),
    Exercise(accumulated, check_accumulated, accumulated_sum),
]
