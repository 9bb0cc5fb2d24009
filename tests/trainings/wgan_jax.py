"""WGAN-GP: a critic with a gradient penalty, a generator every second step. Linen."""

from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn


class G(nn.Module):
    @nn.compact
    def __call__(self, z):
        return nn.Dense(6)(nn.relu(nn.Dense(8)(z)))


class D(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.Dense(1)(nn.tanh(nn.Dense(8)(x)))


gen: Any = G()
disc: Any = D()
tx = optax.adam(1e-3, b1=0.0, b2=0.9)


def d_loss_fn(d_params, g_params, real, z, alpha):
    fake = jax.lax.stop_gradient(gen.apply(g_params, z))
    mixed = alpha * real + (1 - alpha) * fake
    grads = jax.grad(lambda x: disc.apply(d_params, x).sum())(mixed)
    penalty = jnp.mean((jnp.linalg.norm(grads, axis=1) - 1) ** 2)
    return -disc.apply(d_params, real).mean() + disc.apply(d_params, fake).mean() + 10.0 * penalty


def g_loss_fn(g_params, d_params, z):
    return -disc.apply(d_params, gen.apply(g_params, z)).mean()


@jax.jit
def step(state, real, z, alpha):
    d_params, g_params, d_opt, g_opt, n = state
    loss, grads = jax.value_and_grad(d_loss_fn)(d_params, g_params, real, z, alpha)
    updates, d_opt = tx.update(grads, d_opt)
    d_params = optax.apply_updates(d_params, updates)

    def train(args):
        g_params, g_opt = args
        updates, g_opt = tx.update(jax.grad(g_loss_fn)(g_params, d_params, z), g_opt)
        return optax.apply_updates(g_params, updates), g_opt

    n = n + 1
    g_params, g_opt = jax.lax.cond(n % 2 == 0, train, lambda args: args, (g_params, g_opt))
    return (d_params, g_params, d_opt, g_opt, n), loss


def training():
    d, g = disc.init(jax.random.key(0), jnp.zeros((1, 6))), gen.init(jax.random.key(1), jnp.zeros((1, 4)))
    return (d, g, tx.init(d), tx.init(g), jnp.array(0)), step
