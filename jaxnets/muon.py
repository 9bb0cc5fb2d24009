"""Muon: orthogonalised momentum for weights, Adam for biases and norms.

Jordan et al. 2024, https://kellerjordan.github.io/posts/muon/; sizes as in Liu et al. 2025, arXiv 2502.16982.
"""

from typing import Any

import jax
import jax.numpy as jnp
import optax

STEPS, COEFFICIENTS, EPSILON = 5, (3.4445, -4.7750, 2.0315), 1e-7
RMS = 0.2  # close to that of Adam's updates, so that one learning rate suits both


def orthogonal(matrix: jax.Array) -> jax.Array:
    """Return a matrix with the same singular vectors and all singular values near 1 (0.7 to 1.2)."""
    if matrix.shape[0] > matrix.shape[1]:  # so that the Gram matrix is the smaller one
        return orthogonal(matrix.T).T
    a, b, c = COEFFICIENTS
    x = matrix / jnp.maximum(jnp.linalg.norm(matrix), EPSILON)
    for _ in range(STEPS):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x


def follow(update: jax.Array) -> jax.Array:
    """Return the update direction for momentum (..., in, out), as a matrix with a row for each output."""
    matrix = update.reshape(-1, update.shape[-1]).T
    return (orthogonal(matrix) * (RMS * max(matrix.shape) ** 0.5)).T.reshape(update.shape)


def scale_by_muon(momentum: float) -> optax.GradientTransformation:
    """Return the rule without learning rate and weight decay."""

    def labels(params: Any) -> Any:
        return jax.tree.map(lambda p: "muon" if p.ndim > 1 else "adam", params)

    # optax.contrib.scale_by_muon corrects the momentum for its start at zero, which changes the direction of
    # Nesterov's form; PyTorch's does not (trap 33).
    muon = optax.chain(
        optax.trace(momentum, nesterov=True), optax.stateless(lambda updates, _: jax.tree.map(follow, updates))
    )
    return optax.partition({"muon": muon, "adam": optax.scale_by_adam()}, labels)
