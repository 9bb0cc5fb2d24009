"""Solutions of lesson 2."""

import jax
import jax.numpy as jnp
import numpy as np
from exercises import Exercise


def count(params):
    """Return the number of weights in a tree."""
    return sum(leaf.size for leaf in jax.tree.leaves(params))


def count_leaves(params):
    """Count arrays instead of the numbers in them: a mistake."""
    return len(jax.tree.leaves(params))


def check_count(answer):
    """Check two trees."""
    assert answer({"a": np.zeros((3, 4)), "b": np.zeros(4)}) == 16, "3 x 4 weights and 4 biases are 16"
    assert answer([{"a": (np.zeros(2), {"b": np.zeros((2, 2, 2))})}]) == 10, "trees may be nested in any way"


def norms(loss_of_one, params, inputs, labels):
    """Return the length of each example's gradient."""

    def norm(params, x, label):
        grads = jax.grad(loss_of_one)(params, x, label)
        return jnp.sqrt(sum(jnp.sum(g**2) for g in jax.tree.leaves(grads)))

    return jax.vmap(norm, in_axes=(None, 0, 0))(params, inputs, labels)


def norms_of_the_mean(loss_of_one, params, inputs, labels):
    """Return the length of the mean gradient, N times: a mistake."""
    losses = jax.vmap(loss_of_one, in_axes=(None, 0, 0))
    grads = jax.grad(lambda params: losses(params, inputs, labels).mean())(params)
    return jnp.full(len(inputs), jnp.sqrt(sum(jnp.sum(g**2) for g in jax.tree.leaves(grads))))


def check_norms(answer):
    """Check a function whose gradients are known: of (w x + b - y)^2 / 2 they are x e and e, with the error e."""
    x, y = np.array([[1.0, 2.0], [0.0, 1.0], [3.0, 0.0]], np.float32), np.array([1.0, 0.0, 1.0], np.float32)
    params = {"w": jnp.array([1.0, -1.0]), "b": jnp.array(0.5)}
    found = np.asarray(answer(lambda p, x, y: (x @ p["w"] + p["b"] - y) ** 2 / 2, params, x, y))
    assert found.shape == (3,), f"expected one number per example, found shape {found.shape}"
    error = x @ np.array([1.0, -1.0]) + 0.5 - y
    expected = abs(error) * np.sqrt((x**2).sum(axis=1) + 1)
    assert np.allclose(found, expected, atol=1e-5), f"the lengths should be {expected}, found {found}"


def running_mean(state, x):
    """Return the new sum and count, and the mean."""
    total, number = state
    total, number = total + x, number + 1
    return (total, number), total / number


def running_mean_outside():
    """Return a function that keeps its state outside, which a compiled program does not see: a mistake."""
    seen = []

    def mean(state, x):
        seen.append(x)
        total = state[0] + x
        return (total, len(seen)), total / len(seen)

    return mean


def check_running_mean(answer):
    """Check four calls of the compiled function, and that two states do not disturb each other."""
    step, state, means = jax.jit(answer), (0.0, 0), []
    for x in (1.0, 2.0, 6.0, 3.0):
        state, mean = step(state, x)
        means.append(float(mean))
    assert np.allclose(means, [1.0, 1.5, 3.0, 3.0]), f"the means of 1, 2, 6, 3 are 1, 1.5, 3, 3; found {means}"
    assert float(step((0.0, 0), 5.0)[1]) == 5.0, "a fresh state must start again, whatever was computed before"


EXERCISES = [
    Exercise(count, check_count, count_leaves),
    Exercise(norms, check_norms, norms_of_the_mean),
    Exercise(running_mean, check_running_mean, running_mean_outside()),
]
