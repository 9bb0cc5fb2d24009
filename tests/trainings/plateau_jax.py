"""Adam and a rate that falls on a plateau, huber loss on a number. Linen; the plateau is kept in the state."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn


class Net(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.Dense(1)(nn.softplus(nn.Dense(8)(x)))[:, 0]


class State(NamedTuple):
    params: Any
    opt_state: Any
    best: jax.Array
    bad: jax.Array
    scale: jax.Array


net: Any = Net()
tx = optax.scale_by_adam()


@jax.jit
def step(state, x, y):
    loss, grads = jax.value_and_grad(lambda p: optax.huber_loss(net.apply(p, x), y.astype(x.dtype), delta=0.7).mean())(
        state.params
    )
    updates, opt_state = tx.update(grads, state.opt_state)
    params = jax.tree.map(lambda p, u: p - 1e-2 * state.scale * u, state.params, updates)
    better = loss < state.best * (1 - 1e-4)
    bad = jnp.where(better, 0, state.bad + 1)
    drop = bad > 1
    return State(
        params,
        opt_state,
        jnp.where(better, loss, state.best),
        jnp.where(drop, 0, bad),
        state.scale * jnp.where(drop, 0.5, 1.0),
    ), loss


def training():
    params = net.init(jax.random.key(0), jnp.zeros((1, 12)))
    return State(params, tx.init(params), jnp.array(jnp.inf), jnp.array(0), jnp.array(1.0)), step
