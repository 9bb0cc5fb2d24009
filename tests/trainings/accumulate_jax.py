"""A step of four pieces of the batch, whose gradients are added up, then clipped: the JAX side, a scan."""

import jax
import jax.numpy as jnp
import optax

PIECES, CLIP = 4, 0.3


def apply(params, x):
    x = jnp.tanh(x @ params["fc1"]["kernel"] + params["fc1"]["bias"])
    return x @ params["fc2"]["kernel"] + params["fc2"]["bias"]


def loss_fn(params, x, y):
    return optax.softmax_cross_entropy_with_integer_labels(apply(params, x), y).mean()


tx = optax.sgd(0.2, momentum=0.9)


def clipped(grads):
    factor = jnp.minimum(1.0, CLIP / (optax.tree.norm(grads) + 1e-6))
    return jax.tree.map(lambda g: g * factor, grads)


@jax.jit
def step(state, x, y):
    params, opt_state = state

    def piece(total, batch):
        loss, grads = jax.value_and_grad(loss_fn)(params, *batch)
        return jax.tree.map(jnp.add, total, (loss, grads)), None

    zeros = (jnp.zeros(()), jax.tree.map(jnp.zeros_like, params))
    pieces = (x.reshape(PIECES, -1, *x.shape[1:]), y.reshape(PIECES, -1))
    total, _ = jax.lax.scan(piece, zeros, pieces)
    loss, grads = jax.tree.map(lambda a: a / PIECES, total)
    grads = clipped(grads)
    updates, opt_state = tx.update(grads, opt_state)
    return (optax.apply_updates(params, updates), opt_state), loss


def training():
    keys = jax.random.split(jax.random.key(0), 2)
    params = {
        "fc1": {"kernel": jax.random.normal(keys[0], (12, 16)) / 3, "bias": jnp.zeros(16)},
        "fc2": {"kernel": jax.random.normal(keys[1], (16, 5)) / 4, "bias": jnp.zeros(5)},
    }
    return (params, tx.init(params)), step
