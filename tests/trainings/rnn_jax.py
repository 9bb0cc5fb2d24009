"""A recurrent network whose state is carried from batch to batch, backpropagation truncated: NNX and a scan."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import nnx

RATE, CLIP, LENGTH = 1e-2, 0.5, 4


class Recurrent(nnx.Module):
    def __init__(self, rngs: nnx.Rngs, features: int = 3, width: int = 10):
        self.input = nnx.Linear(features, width, rngs=rngs)
        self.hidden = nnx.Linear(width, width, use_bias=False, rngs=rngs)
        self.head = nnx.Linear(width, 5, rngs=rngs)

    def __call__(self, x, h):
        def cell(h, x):
            h = jnp.tanh(self.input(x) + self.hidden(h))
            return h, None

        h, _ = jax.lax.scan(cell, h, x.swapaxes(0, 1))
        return self.head(h), h


class State(NamedTuple):
    params: Any
    opt_state: optax.OptState
    carried: jax.Array


graph, initial = nnx.split(Recurrent(nnx.Rngs(0)))


def clipped(grads):
    factor = jnp.minimum(1.0, CLIP / (optax.tree.norm(grads) + 1e-6))
    return jax.tree.map(lambda g: g * factor, grads)


tx = optax.chain(
    optax.scale_by_rms(0.9, eps=1e-8, eps_in_sqrt=False),
    optax.trace(0.5),
    optax.scale_by_learning_rate(RATE),
)


@jax.jit
def step(state, x, y):
    def loss_fn(params):
        logits, h = nnx.merge(graph, params)(x.reshape(-1, LENGTH, 3), jax.lax.stop_gradient(state.carried))
        return optax.softmax_cross_entropy_with_integer_labels(logits, y).mean(), h

    (loss, h), grads = jax.value_and_grad(loss_fn, has_aux=True)(state.params)
    updates, opt_state = tx.update(clipped(grads), state.opt_state, state.params)
    return State(optax.apply_updates(state.params, updates), opt_state, h), loss


def training():
    return State(initial, tx.init(initial), jnp.zeros((8, 10))), step
