"""A Flax TrainState with optax.MultiSteps: two batches a step, clipping, warm-up, bfloat16, a moving average."""

from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn
from flax.training import train_state

RATE, WARMUP, STEPS, DECAY, CLIP, EVERY, EMA = 2e-3, 3, 20, 0.1, 0.25, 2, 0.9


class Classifier(nn.Module):
    dtype: Any = jnp.bfloat16

    @nn.compact
    def __call__(self, x):
        x = nn.LayerNorm(epsilon=1e-5, name="norm")(x)
        x = nn.silu(nn.Dense(16, dtype=self.dtype, name="fc1")(x))
        return nn.Dense(5, dtype=self.dtype, name="fc2")(x).astype(jnp.float32)


class TrainState(train_state.TrainState):
    ema: Any


def rate(update):
    warm = (update + 1) / WARMUP
    cosine = 0.5 * (1 + jnp.cos(jnp.pi * (update - WARMUP) / (STEPS - WARMUP)))
    return RATE * jnp.where(update < WARMUP, warm, cosine)


def clip(grads, _params=None):
    norm = optax.tree.norm(grads)
    return jax.tree.map(lambda g: g * jnp.minimum(1.0, CLIP / (norm + 1e-6)), grads)


def kernels(params):
    return jax.tree_util.tree_map_with_path(lambda path, _: path[-1].key == "kernel", params)


tx = optax.MultiSteps(
    optax.chain(optax.stateless(clip), optax.adamw(rate, b1=0.9, b2=0.99, weight_decay=DECAY, mask=kernels)), EVERY
)


@jax.jit
def step(state, x, y):
    def loss_fn(params):
        logits = state.apply_fn({"params": params}, x)
        return optax.softmax_cross_entropy_with_integer_labels(logits, y).mean()

    loss, grads = jax.value_and_grad(loss_fn)(state.params)
    state = state.apply_gradients(grads=grads)
    updated = tx.has_updated(state.opt_state)
    ema = jax.tree.map(lambda e, p: jnp.where(updated, EMA * e + (1 - EMA) * p, e), state.ema, state.params)
    return state.replace(ema=ema), {"loss": loss}


def training():
    model = Classifier()
    params = model.init(jax.random.key(0), jnp.zeros((1, 12)))["params"]
    return TrainState.create(apply_fn=model.apply, params=params, tx=tx, ema=params), step
