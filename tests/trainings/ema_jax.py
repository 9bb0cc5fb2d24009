"""A CNN with BatchNorm trained by Nesterov's momentum, with a moving average of it: the JAX side."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

DECAY = 0.95


class State(NamedTuple):
    params: Any
    stats: Any
    opt_state: Any
    ema: Any
    ema_stats: Any
    updates: Any


def batch_norm(params, stats, x):
    mean = x.mean((0, 1, 2))
    var = x.var((0, 1, 2))
    unbiased = var * (x.size // x.shape[-1]) / (x.size // x.shape[-1] - 1)
    new = {"mean": 0.8 * stats["mean"] + 0.2 * mean, "var": 0.8 * stats["var"] + 0.2 * unbiased}
    return (x - mean) / jnp.sqrt(var + 1e-5) * params["scale"] + params["bias"], new


def apply(params, stats, x):
    x = jax.lax.conv_general_dilated(
        x, params["conv"]["w"], (1, 1), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    x, stats = batch_norm(params["bn"], stats, x + params["conv"]["b"])
    x = jax.lax.reduce_window(jax.nn.relu(x), -jnp.inf, jax.lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")
    x = x.reshape(x.shape[0], -1)
    return x @ params["fc"]["w"] + params["fc"]["b"], stats


tx = optax.chain(optax.add_decayed_weights(1e-3), optax.sgd(0.05, momentum=0.9, nesterov=True))


def averaged(old, new, decay):
    return jax.tree.map(lambda a, b: decay * a + (1 - decay) * b, old, new)


@jax.jit
def step(state, images, labels):
    def loss_fn(params):
        logits, stats = apply(params, state.stats, images)
        return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean(), stats

    (loss, stats), grads = jax.value_and_grad(loss_fn, has_aux=True)(state.params)
    updates, opt_state = tx.update(grads, state.opt_state, state.params)
    params = optax.apply_updates(state.params, updates)
    count = state.updates + 1
    decay = jnp.minimum(DECAY, (1 + count) / (10 + count))
    ema = averaged(state.ema, params, decay)
    ema_stats = averaged(state.ema_stats, stats, decay)
    return State(params, stats, opt_state, ema, ema_stats, count), loss


def training():
    keys = jax.random.split(jax.random.key(0), 2)
    params = {
        "conv": {"w": jax.random.normal(keys[0], (3, 3, 3, 8)) / 5, "b": jnp.zeros(8)},
        "bn": {"scale": jnp.ones(8), "bias": jnp.zeros(8)},
        "fc": {"w": jax.random.normal(keys[1], (72, 5)) / 8, "b": jnp.zeros(5)},
    }
    stats = {"mean": jnp.zeros(8), "var": jnp.ones(8)}
    return State(params, stats, tx.init(params), params, stats, jnp.zeros((), jnp.int32)), step
