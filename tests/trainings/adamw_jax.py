"""A small CNN with BatchNorm, trained by AdamW with clipping and a schedule: the JAX side, Flax and optax."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn

STEPS, WARMUP, CLIP = 12, 4, 0.2


class BatchNorm(nn.Module):
    """Flax's keeps the biased variance; this one keeps PyTorch's."""

    @nn.compact
    def __call__(self, x):
        size = x.shape[-1]
        scale = self.param("scale", nn.initializers.ones, (size,))
        bias = self.param("bias", nn.initializers.zeros, (size,))
        mean = self.variable("batch_stats", "mean", jnp.zeros, (size,))
        var = self.variable("batch_stats", "var", jnp.ones, (size,))
        count = x.size // size
        batch_mean = x.mean((0, 1, 2))
        batch_var = x.var((0, 1, 2))
        if not self.is_initializing():
            mean.value = 0.9 * mean.value + 0.1 * batch_mean
            var.value = 0.9 * var.value + 0.1 * batch_var * count / (count - 1)
        return (x - batch_mean) / jnp.sqrt(batch_var + 1e-5) * scale + bias


class CNN(nn.Module):
    @nn.compact
    def __call__(self, x):
        x = nn.Conv(6, (3, 3), padding=1, use_bias=False, name="conv1")(x)
        x = nn.relu(BatchNorm(name="bn1")(x))
        x = nn.Conv(8, (3, 3), strides=2, padding=1, name="conv2")(x)
        x = nn.relu(BatchNorm(name="bn2")(x))
        return nn.Dense(5, name="fc")(x.mean((1, 2)))


class State(NamedTuple):
    variables: Any
    opt_state: Any


def rate(step):
    warm = 3e-3 * (step + 1) / WARMUP
    decay = 3e-3 * 0.5 * (1 + jnp.cos(jnp.pi * (step - WARMUP) / (STEPS - WARMUP)))
    return jnp.where(step < WARMUP, warm, decay)


def clipped(grads):
    norm = optax.tree.norm(grads)
    factor = jnp.minimum(CLIP / (norm + 1e-6), 1.0)
    return jax.tree.map(lambda g: g * factor, grads)


def weights(params):
    return jax.tree.map(lambda p: p.ndim > 1, params)


tx = optax.adamw(rate, b1=0.9, b2=0.98, eps=1e-6, weight_decay=0.05, mask=weights)
model = CNN()


def step(state, images, labels):
    def loss_fn(params):
        variables = {**state.variables, "params": params}
        logits, changed = model.apply(variables, images, mutable=["batch_stats"])
        losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
        return losses.mean(), changed

    params = state.variables["params"]
    (loss, changed), grads = jax.value_and_grad(loss_fn, has_aux=True)(params)
    grads = clipped(grads)
    updates, opt_state = tx.update(grads, state.opt_state, params)
    params = optax.apply_updates(params, updates)
    return State({"params": params, **changed}, opt_state), {"loss": loss}


def training():
    variables = model.init(jax.random.key(0), jnp.zeros((1, 8, 8, 3)))
    return State(variables, tx.init(variables["params"])), jax.jit(step)
