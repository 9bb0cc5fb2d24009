"""SGD with warm restarts and an equal average from the third step, without optax and without a library of layers."""

from functools import partial

import jax
import jax.numpy as jnp


def init_layer(key, m, n):
    w_key, b_key = jax.random.split(key)
    return 0.1 * jax.random.normal(w_key, (n, m)), 0.1 * jax.random.normal(b_key, (n,))


def predict(params, x):
    for w, b in params[:-1]:
        x = jax.nn.elu(jnp.dot(w, x) + b)
    w, b = params[-1]
    return jnp.dot(w, x) + b


batched_predict = jax.vmap(predict, in_axes=(None, 0))


def loss(params, images, targets):
    logp = jax.nn.log_softmax(batched_predict(params, images))
    targets = 0.9 * jax.nn.one_hot(targets, 5) + 0.1 / 5
    return -jnp.mean(jnp.sum(logp * targets, axis=1))


@partial(jax.jit, donate_argnums=0)
def update(state, x, y):
    params, velocity, swa, count, n = state
    value, grads = jax.value_and_grad(loss)(params, x, y)
    lr = 0.01 + 0.5 * (0.1 - 0.01) * (1 + jnp.cos(jnp.pi * (n % 4) / 4))
    velocity = jax.tree.map(lambda v, g: 0.9 * v + g, velocity, grads)
    params = jax.tree.map(lambda p, v: p - lr * v, params, velocity)
    n = n + 1
    start = n >= 3
    swa = jax.tree.map(lambda s, p: jnp.where(start, s + (p - s) / (count + 1), s), swa, params)
    return (params, velocity, swa, count + start, n), value


def training():
    keys = jax.random.split(jax.random.PRNGKey(0))
    params = [init_layer(keys[0], 12, 16), init_layer(keys[1], 16, 5)]
    zeros = jax.tree.map(jnp.zeros_like, params)
    return (params, zeros, jax.tree.map(jnp.copy, params), jnp.array(0), jnp.array(0)), update
