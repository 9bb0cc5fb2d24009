"""Embeddings and a triplet loss; Adagrad by hand. Haiku."""

import haiku as hk
import jax
import jax.numpy as jnp


def embed(x):
    x = hk.Linear(16)(x)
    a = hk.get_parameter("alpha", (1,), init=hk.initializers.Constant(0.25))
    x = jnp.where(x >= 0, x, a * x)
    x = hk.Linear(4)(x)
    return x / jnp.maximum(jnp.linalg.norm(x, axis=1, keepdims=True), 1e-12)


net = hk.without_apply_rng(hk.transform(embed))


def distance(x, y):
    return jnp.linalg.norm(x - y + 1e-6, axis=-1)


@jax.jit
def step(state, a, p, n):
    params, total = state

    def loss_fn(params):
        x, y, z = (net.apply(params, v) for v in (a, p, n))
        return jnp.maximum(distance(x, y) - distance(x, z) + 0.5, 0).mean()

    loss, grads = jax.value_and_grad(loss_fn)(params)
    total = jax.tree.map(lambda t, g: t + g**2, total, grads)
    params = jax.tree.map(lambda p, g, t: p - 0.05 * g / (jnp.sqrt(t) + 1e-7), params, grads, total)
    return (params, total), loss


def training():
    params = net.init(jax.random.key(0), jnp.zeros((1, 12)))
    return (params, jax.tree.map(lambda p: jnp.full_like(p, 0.1), params)), step
