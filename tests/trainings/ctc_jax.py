"""Speech frames and CTC: optax.ctc_loss."""

from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn


class Net(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.Dense(7)(nn.relu(nn.Conv(8, (3,))(x)))


net: Any = Net()
tx = optax.adam(1e-2, eps=1e-7)


@jax.jit
def step(state, x, labels, lengths):
    params, opt_state = state

    def loss_fn(params):
        logits = net.apply(params, x)
        pad = (jnp.arange(labels.shape[1])[None] >= lengths[:, None]).astype(logits.dtype)
        each = optax.ctc_loss(logits, jnp.zeros(logits.shape[:2]), labels, pad, log_epsilon=-1e30)
        return jnp.mean(each / lengths)

    loss, grads = jax.value_and_grad(loss_fn)(params)
    updates, opt_state = tx.update(grads, opt_state)
    return (optax.apply_updates(params, updates), opt_state), loss


def training():
    params = net.init(jax.random.key(0), jnp.zeros((1, 12, 5)))
    return (params, tx.init(params)), step
