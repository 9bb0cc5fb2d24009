"""Three pieces of a batch through a network with BatchNorm, whose statistics each piece moves: JAX, a scan."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

PIECES, WARMUP = 3, 4


class State(NamedTuple):
    params: Any
    stats: Any
    opt_state: Any


def apply(params, stats, x):
    numbers = ("NHWC", "HWIO", "NHWC")
    x = jax.lax.conv_general_dilated(x, params["conv"]["kernel"], (1, 1), "VALID", dimension_numbers=numbers)
    x = x + params["conv"]["bias"]
    mean, var = x.mean((0, 1, 2)), x.var((0, 1, 2))
    count = x.size / x.shape[-1]
    new = {"mean": 0.9 * stats["mean"] + 0.1 * mean, "var": 0.9 * stats["var"] + 0.1 * var * count / (count - 1)}
    x = (x - mean) / jnp.sqrt(var + 1e-5) * params["bn"]["scale"] + params["bn"]["bias"]
    x = jax.nn.relu(x).mean((1, 2))
    return x @ params["fc"]["kernel"] + params["fc"]["bias"], new


def rate(step):
    return 0.1 * jnp.minimum(step / WARMUP, 1.0)


tx = optax.chain(optax.add_decayed_weights(1e-3), optax.sgd(rate, momentum=0.9, nesterov=True))


@jax.jit
def step(state, images, labels):
    def loss_fn(params, stats, x, y):
        logits, stats = apply(params, stats, x)
        return optax.softmax_cross_entropy_with_integer_labels(logits, y).mean(), stats

    def piece(carry, batch):
        grads, stats, total = carry
        (loss, stats), new = jax.value_and_grad(loss_fn, has_aux=True)(state.params, stats, *batch)
        return (jax.tree.map(jnp.add, grads, new), stats, total + loss), None

    start = (jax.tree.map(jnp.zeros_like, state.params), state.stats, jnp.zeros(()))
    pieces = (images.reshape(PIECES, -1, *images.shape[1:]), labels.reshape(PIECES, -1))
    (grads, stats, total), _ = jax.lax.scan(piece, start, pieces)
    grads = jax.tree.map(lambda g: g / PIECES, grads)
    updates, opt_state = tx.update(grads, state.opt_state, state.params)
    return State(optax.apply_updates(state.params, updates), stats, opt_state), total / PIECES


def training():
    keys = jax.random.split(jax.random.key(0))
    params = {
        "conv": {"kernel": jax.random.normal(keys[0], (3, 3, 3, 6)) / 5, "bias": jnp.zeros(6)},
        "bn": {"scale": jnp.ones(6), "bias": jnp.zeros(6)},
        "fc": {"kernel": jax.random.normal(keys[1], (6, 5)) / 3, "bias": jnp.zeros(5)},
    }
    stats = {"mean": jnp.zeros(6), "var": jnp.ones(6)}
    return State(params, stats, tx.init(params)), step
