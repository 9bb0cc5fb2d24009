"""A VAE as in Flax's examples: logits and a stable cross-entropy, summed over pixels and examples."""

from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn
from flax.training import train_state


class VAE(nn.Module):
    @nn.compact
    def __call__(self, x, z_rng):
        h = nn.relu(nn.Dense(12, name="fc1")(x))
        mean, logvar = nn.Dense(3, name="fc2_mean")(h), nn.Dense(3, name="fc2_logvar")(h)
        std = jnp.exp(0.5 * logvar)
        z = mean + jax.random.normal(z_rng, logvar.shape) * std
        return nn.Dense(16, name="fc4")(nn.relu(nn.Dense(12, name="fc3")(z))), mean, logvar


@jax.vmap
def kl_divergence(mean, logvar):
    return -0.5 * jnp.sum(1 + logvar - jnp.square(mean) - jnp.exp(logvar))


@jax.vmap
def binary_cross_entropy_with_logits(logits, labels):
    logits = nn.log_sigmoid(logits)
    return -jnp.sum(labels * logits + (1.0 - labels) * jnp.log(-jnp.expm1(logits)))


model: Any = VAE()


@jax.jit
def train_step(states, batch):
    state, key = states
    key, z_rng = jax.random.split(key)

    def loss_fn(params):
        recon, mean, logvar = model.apply({"params": params}, batch, z_rng)
        return (binary_cross_entropy_with_logits(recon, batch) + kl_divergence(mean, logvar)).sum()

    loss, grads = jax.value_and_grad(loss_fn)(state.params)
    return (state.apply_gradients(grads=grads), key), loss / len(batch)


def training():
    params = model.init(jax.random.key(0), jnp.ones((1, 16)), jax.random.key(1))["params"]
    return (
        train_state.TrainState.create(apply_fn=model.apply, params=params, tx=optax.adam(1e-3)),
        jax.random.key(3),
    ), train_step
