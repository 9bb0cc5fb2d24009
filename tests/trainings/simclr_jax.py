"""SimCLR: NT-Xent with the diagonal masked out. Linen with batch_stats in a TrainState."""

from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn
from flax.training import train_state


class SimCLR(nn.Module):
    @nn.compact
    def __call__(self, x, train=True):
        x = nn.Dense(16)(x)
        x = nn.relu(nn.BatchNorm(use_running_average=not train, momentum=0.9, epsilon=1e-5)(x))
        return nn.Dense(6)(nn.relu(nn.Dense(16)(x)))


class TrainState(train_state.TrainState):
    batch_stats: Any


def info_nce(z, temperature=0.2):
    z = z / jnp.linalg.norm(z, axis=-1, keepdims=True)
    sim = z @ z.T / temperature
    sim = jnp.where(jnp.eye(len(z), dtype=bool), -9e15, sim)
    pos = jnp.roll(jnp.arange(len(z)), len(z) // 2)
    nll = -sim[jnp.arange(len(z)), pos] + jax.nn.logsumexp(sim, axis=-1)
    return nll.mean()


def unbiased(old, new, n):
    def fix(path, o, w):
        return (w - 0.9 * o) * n / (n - 1) + 0.9 * o if path[-1].key == "var" else w

    return jax.tree_util.tree_map_with_path(fix, old, new)


@jax.jit
def train_step(state, a, b):
    x = jnp.concatenate([a, b], axis=0)

    def loss_fn(params):
        z, new = state.apply_fn({"params": params, "batch_stats": state.batch_stats}, x, mutable=["batch_stats"])
        return info_nce(z), new["batch_stats"]

    (loss, stats), grads = jax.value_and_grad(loss_fn, has_aux=True)(state.params)
    return state.apply_gradients(grads=grads, batch_stats=unbiased(state.batch_stats, stats, len(x))), loss


def training():
    model = SimCLR()
    variables = model.init(jax.random.key(0), jnp.zeros((2, 12)))
    tx = optax.chain(optax.add_decayed_weights(1e-4), optax.adam(optax.cosine_decay_schedule(3e-3, 10)))
    return TrainState.create(
        apply_fn=model.apply, params=variables["params"], batch_stats=variables["batch_stats"], tx=tx
    ), train_step
